"""A training's history: loss and accuracy of each epoch, as CSV."""

from pathlib import Path

import pandas as pd

# A column of the histories of several networks: which of them (from 1) the epoch trained.
NETWORK = "network"


def save_history(history: dict[str, list[float]], path: Path) -> None:
    """Write a training's `history`, with a value per epoch for each name, as CSV."""
    epochs = pd.RangeIndex(1, len(history["val_loss"]) + 1, name="epoch")
    path.parent.mkdir(parents=True, exist_ok=True)
    # DVC may have made the last one a link into its cache.
    path.unlink(missing_ok=True)
    pd.DataFrame(history, index=epochs).to_csv(path)


def by_network(history: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the epochs of each network, in the order in which they were trained."""
    return [part for _, part in history.groupby(NETWORK)] if NETWORK in history else [history]


def kept_epochs(history: pd.DataFrame, best_weights: bool) -> list[int]:
    """Return the epoch whose weights the model has, for each of its networks: the best of its epochs or the last."""
    rows = [part["val_loss"].idxmin() if best_weights else part.index[-1] for part in by_network(history)]
    return history["epoch"][rows].tolist()
