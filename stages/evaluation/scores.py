"""The figures of one model on one split."""

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support


def scores(prefix: str, labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return accuracy, log loss (natural logarithm) and macro precision, recall and F1, named `{prefix}_…`.

    `labels` are integers (n,), `probabilities` floats (n, classes). A class that is never predicted
    has precision 0.
    """
    classes = np.arange(probabilities.shape[1])
    predicted = probabilities.argmax(axis=1)
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=classes, average="macro", zero_division=0
    )
    # float32 rows of a softmax add up to 1 only nearly; log_loss wants it exactly.
    normal = probabilities.astype(np.float64)
    normal /= normal.sum(axis=1, keepdims=True)
    return {
        f"{prefix}_accuracy": float(np.mean(predicted == labels)),
        f"{prefix}_loss": float(log_loss(labels, normal, labels=classes)),
        f"{prefix}_precision": float(precision),
        f"{prefix}_recall": float(recall),
        f"{prefix}_f1": float(f1),
    }


def per_class(labels: np.ndarray, predicted: np.ndarray, names: list[str]) -> pd.DataFrame:
    """Return precision, recall, F1 and support (number of images), one row per class."""
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(names)), zero_division=0
    )
    return pd.DataFrame(
        {"precision": precision, "recall": recall, "f1": f1, "support": support},
        index=pd.Index(names, name="class"),
    )


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return counts (actual, predicted)."""
    return confusion_matrix(labels, predicted, labels=np.arange(classes))
