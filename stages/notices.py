"""What must not go unnoticed: said on the console, in the report and in MLflow, in the same words."""

import sys


def fallback_notice(requested: str, used: str) -> str:
    return (
        f"No mirror of {requested} could be reached: everything from here on uses {used}, a small sample. "
        "Back to the full data: dvc repro --force download && dvc repro"
    )


def print_notice(notice: str) -> None:
    """Print `notice` to standard error between rules that stand out in a log."""
    import textwrap

    lines = textwrap.wrap(notice, 96)
    rule = "!" * max(map(len, lines))
    print("\n".join(("", rule, *lines, rule, "")), file=sys.stderr, flush=True)
