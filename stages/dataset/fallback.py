"""The sample that stands in for a data set of which no mirror can be reached, and how every place says so."""

# No other data set has one.
SAMPLES = {"mnist": "mnist-sample"}


def fallback_notice(requested: str, used: str) -> str:
    return (
        f"No mirror of {requested} could be reached: everything from here on uses {used}, a small sample. "
        "Back to the full data: dvc repro --force download && dvc repro"
    )
