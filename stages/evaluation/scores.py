"""The metrics of one model on one split, each with its 95 % confidence interval."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.metrics import (
    brier_score_loss,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

CONFIDENCE_LEVEL = 0.95
RESAMPLES = 1000
# Resamples times images that are in memory at once: 80 MB.
WEIGHTS = 10_000_000
# Equal widths of confidence, from 0 to 1.
CALIBRATION_BINS = 15

Interval = tuple[float, float]


def scores(prefix: str, y_true: np.ndarray, y_proba: np.ndarray) -> dict[str, float]:
    """Return the metrics of one split, named `{prefix}_…`.

    Accuracy, balanced accuracy (the mean recall of the classes that have images), log loss (natural logarithm), Brier
    score (the sum over the classes, 0 to 2), expected calibration error, top-2 accuracy, and macro precision, recall
    and F1. `y_true` are integers (n,), `y_proba` floats (n, classes). A class that is never predicted has precision 0.
    """
    classes = np.arange(y_proba.shape[1])
    normal = normalized(y_proba)
    y_pred = normal.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(y_true, y_pred, labels=classes, zero_division=0)
    found = {
        "accuracy": np.mean(y_pred == y_true),
        "balanced_accuracy": recall[support > 0].mean(),
        "loss": log_loss(y_true, normal, labels=classes),
        "brier": brier_score_loss(y_true, normal, labels=classes, scale_by_half=False),
        "ece": expected_calibration_error(y_true, normal),
        "top2_accuracy": _among_two(y_true, normal, normalize=True),
        "precision": precision.mean(),
        "recall": recall.mean(),
        "f1": f1.mean(),
    }
    return {f"{prefix}_{name}": float(value) for name, value in found.items()}


def intervals(prefix: str, y_true: np.ndarray, y_proba: np.ndarray) -> dict[str, Interval]:
    """Return low and high end for each metric of `scores`.

    Wilson's interval (1927) for accuracy and top-2 accuracy, which are proportions; for the others percentiles of
    `RESAMPLES` bootstrap samples (Efron, "Bootstrap Methods", 1979), the same ones at every call.
    """
    normal = normalized(y_proba)
    count, classes = normal.shape
    y_pred = normal.argmax(axis=1)
    precision, recall, f1, actual, predicted = _resampled_per_class(y_true, y_pred, classes)
    # What a resample lacks says nothing of a class.
    any_actual, any_image = actual > 0, actual + predicted > 0
    resampled = {
        **_resampled_means(y_true, normal),
        "balanced_accuracy": recall.mean(axis=1, where=any_actual),
        "precision": precision.mean(axis=1, where=any_image),
        "recall": recall.mean(axis=1, where=any_actual),
        "f1": f1.mean(axis=1, where=any_image),
    }
    found = {f"{prefix}_{name}": _percentiles(values) for name, values in resampled.items()}
    among_two = _among_two(y_true, normal, normalize=False)
    found[f"{prefix}_accuracy"] = wilson(np.sum(y_pred == y_true), count)
    found[f"{prefix}_top2_accuracy"] = wilson(among_two, count)
    return found


def score_table(y_true: np.ndarray, y_proba: np.ndarray) -> pd.DataFrame:
    """Return `value`, `low` and `high` for each metric of `scores` on the test images."""
    table = pd.DataFrame({"value": scores("test", y_true, y_proba)})
    table[["low", "high"]] = pd.DataFrame(intervals("test", y_true, y_proba), index=["low", "high"]).T
    return table.rename_axis("metric")


def per_class(y_true: np.ndarray, y_pred: np.ndarray, names: list[str]) -> pd.DataFrame:
    """Return precision, recall, F1, each with `_low` and `_high`, and support (number of images) of each class."""
    classes = np.arange(len(names))
    precision, recall, f1, support = precision_recall_fscore_support(y_true, y_pred, labels=classes, zero_division=0)
    _, _, resampled, *_ = _resampled_per_class(y_true, y_pred, len(names))
    right = np.bincount(y_true[y_true == y_pred], minlength=len(names))
    ends = {
        "precision": [wilson(*pair) for pair in zip(right, np.bincount(y_pred, minlength=len(names)), strict=True)],
        "recall": [wilson(*pair) for pair in zip(right, support, strict=True)],
        "f1": [_percentiles(values) for values in resampled.T],
    }
    columns: dict[str, np.ndarray | list[float]] = {}
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        columns[name] = values
        columns[f"{name}_low"], columns[f"{name}_high"] = zip(*ends[name], strict=True)
    return pd.DataFrame({**columns, "support": support}, index=pd.Index(names, name="class"))


def confusion(y_true: np.ndarray, y_pred: np.ndarray, classes: int) -> np.ndarray:
    """Return counts (actual, predicted)."""
    return confusion_matrix(y_true, y_pred, labels=np.arange(classes))


def calibration(y_true: np.ndarray, y_proba: np.ndarray) -> pd.DataFrame:
    """Return mean confidence, accuracy and number of images for each bin of confidence that has any."""
    normal = normalized(y_proba)
    confidence = normal.max(axis=1)
    table = pd.DataFrame(
        {"bin": _bins(confidence), "confidence": confidence, "accuracy": normal.argmax(axis=1) == y_true}
    )
    return table.groupby("bin").agg(
        confidence=("confidence", "mean"), accuracy=("accuracy", "mean"), images=("accuracy", "size")
    )


def expected_calibration_error(y_true: np.ndarray, y_proba: np.ndarray) -> float:
    """Return the mean distance of confidence and accuracy over bins of confidence, weighted by their images.

    (Naeini, Cooper & Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015.)
    """
    bins = calibration(y_true, y_proba)
    return float(np.average((bins["accuracy"] - bins["confidence"]).abs(), weights=bins["images"]))


def normalized(y_proba: np.ndarray) -> np.ndarray:
    """Return probabilities (n, classes) as float64 that add up to 1: float32 rows of a softmax do so only nearly."""
    normal = y_proba.astype(np.float64)
    return normal / normal.sum(axis=1, keepdims=True)


def wilson(successes: int, count: int) -> Interval:
    """Return Wilson's interval of a proportion; of nothing, 0 to 1."""
    if not count:
        return 0.0, 1.0
    interval = binomtest(int(successes), int(count)).proportion_ci(CONFIDENCE_LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def _among_two(y_true: np.ndarray, normal: np.ndarray, normalize: bool) -> float:
    """Return the share, or the number, of images whose class is one of the two most probable."""
    classes = np.arange(normal.shape[1])
    if len(classes) == 2:
        # Scikit-learn takes two classes for a problem of another kind, with one column.
        return 1.0 if normalize else len(y_true)
    return top_k_accuracy_score(y_true, normal, k=2, labels=classes, normalize=normalize)


def _bins(confidence: np.ndarray) -> np.ndarray:
    return np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)


def _resampled_means(y_true: np.ndarray, normal: np.ndarray) -> dict[str, np.ndarray]:
    """Return log loss, Brier score and expected calibration error of each bootstrap sample."""
    count, classes = normal.shape
    confidence, hit = normal.max(axis=1), normal.argmax(axis=1) == y_true
    losses = -np.log(normal[np.arange(count), y_true].clip(np.finfo(np.float64).eps))
    brier = ((normal - np.eye(classes)[y_true]) ** 2).sum(axis=1)
    gaps = np.eye(CALIBRATION_BINS)[_bins(confidence)] * (hit - confidence)[:, None]
    columns = np.column_stack([losses, brier, gaps])
    means = np.concatenate([weights @ columns for weights in _resamples(count)]) / count
    return {"loss": means[:, 0], "brier": means[:, 1], "ece": np.abs(means[:, 2:]).sum(axis=1)}


def _resamples(count: int) -> Iterator[np.ndarray]:
    """Yield how often each image is in each bootstrap sample, some samples at a time: float64 (samples, count)."""
    random = np.random.default_rng(0)
    at_once = max(1, WEIGHTS // count)
    for start in range(0, RESAMPLES, at_once):
        weights = np.empty((min(at_once, RESAMPLES - start), count))
        for row in weights:
            row[:] = np.bincount(random.integers(0, count, count), minlength=count)
        yield weights


def _resampled_per_class(y_true: np.ndarray, y_pred: np.ndarray, classes: int) -> tuple[np.ndarray, ...]:
    """Return precision, recall, F1 and the numbers of actual and predicted images of each class in bootstrap samples.

    All five are (resamples, classes).

    They are functions of the confusion matrix, and that of a bootstrap sample has a multinomial distribution.
    """
    matrix = confusion(y_true, y_pred, classes)
    actual, predicted = np.nonzero(matrix)
    shares = matrix[actual, predicted] / len(y_true)
    counts = np.random.default_rng(0).multinomial(len(y_true), shares, RESAMPLES)
    of_class, hit = np.eye(classes), actual == predicted
    right = counts[:, hit] @ of_class[actual[hit]]
    of_actual, of_predicted = counts @ of_class[actual], counts @ of_class[predicted]

    def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        return np.divide(above, below, out=np.zeros_like(above), where=below > 0)

    f1 = ratio(2 * right, of_actual + of_predicted)
    return ratio(right, of_predicted), ratio(right, of_actual), f1, of_actual, of_predicted


def _percentiles(values: np.ndarray) -> Interval:
    outside = 100 * (1 - CONFIDENCE_LEVEL) / 2
    low, high = np.percentile(values, (outside, 100 - outside))
    return float(low), float(high)
