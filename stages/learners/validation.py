"""The validation metrics of a model without epochs, under the names that the epochs of a network have for them."""

import numpy as np
from sklearn.metrics import accuracy_score, log_loss


def validation_metrics(y_true: np.ndarray, y_proba: np.ndarray) -> dict[str, float]:
    """Return val_accuracy and val_loss (natural logarithm) for labels (n,) from 0 and probabilities (n, classes)."""
    return {
        "val_accuracy": accuracy_score(y_true, y_proba.argmax(axis=1)),
        "val_loss": log_loss(y_true, y_proba, labels=np.arange(y_proba.shape[1])),
    }
