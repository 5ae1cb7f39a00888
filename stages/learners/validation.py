"""The validation metrics of a scikit-learn classifier, under the names that the epochs of a network have for them."""

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score, log_loss


def validation_metrics(classifier: ClassifierMixin, features: np.ndarray, y_true: np.ndarray) -> dict[str, float]:
    """Return val_accuracy and val_loss (natural logarithm) for `features` (n, features) and labels (n,)."""
    y_proba = classifier.predict_proba(features)
    return {
        "val_accuracy": accuracy_score(y_true, classifier.classes_[y_proba.argmax(axis=1)]),
        "val_loss": log_loss(y_true, y_proba, labels=classifier.classes_),
    }
