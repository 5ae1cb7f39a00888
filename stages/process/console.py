"""Talking to the person at the console, always on standard error: progress, warnings, and what must not be missed."""

import sys
import textwrap

from tqdm import tqdm


def progress_bar(total: int, description: str, unit: str, **options) -> tqdm:
    """Return a `tqdm` bar; where standard error is a file, it writes every 10 s, not every 0.1 s."""
    interval = 0.1 if sys.stderr.isatty() else 10
    return tqdm(total=total, desc=description, unit=unit, mininterval=interval, dynamic_ncols=True, **options)


def warn(message: str) -> None:
    """Print a warning on which the work goes on."""
    print(f"warning: {message}", file=sys.stderr, flush=True)


def print_notice(notice: str) -> None:
    """Print `notice` between rules that stand out in a log."""
    lines = textwrap.wrap(notice, 96)
    rule = "!" * max(map(len, lines))
    print("\n".join(("", rule, *lines, rule, "")), file=sys.stderr, flush=True)
