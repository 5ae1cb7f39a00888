"""Where everything lies, relative to the repository root: stages run there."""

from pathlib import Path

PARAMS = Path("params.yaml")

RAW = Path("data/raw")
PREPARED = Path("data/prepared")

MODELS = Path("models")

REPORTS = Path("reports")
EXPLORE = REPORTS / "explore"
METRICS = REPORTS / "metrics.json"
INDEX = REPORTS / "index.html"


def keras_model(model: str) -> Path:
    return MODELS / f"{model}.keras"


def history(model: str) -> Path:
    """Per-epoch metrics of a Keras model, `epoch,train_loss,train_accuracy,val_loss,val_accuracy`."""
    return MODELS / f"{model}_history.csv"


def random_forest() -> Path:
    return MODELS / "random_forest.skops"
