"""Progress bars: they only observe, so no stage depends on this module."""

import sys

from tqdm import tqdm


def progress_bar(total: int, description: str, unit: str, **options) -> tqdm:
    """Return a `tqdm` bar on standard error; where that is a file, it writes every 10 s, not every 0.1 s."""
    interval = 0.1 if sys.stderr.isatty() else 10
    return tqdm(total=total, desc=description, unit=unit, mininterval=interval, dynamic_ncols=True, **options)
