"""The measurements of one model, before anything is drawn."""

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stages.dataset.pieces import pieces
from stages.dataset.prepared import DatasetInfo, Split
from stages.dataset.subset import subset
from stages.evaluation.overfitting import verdict
from stages.evaluation.scores import score_table, scores
from stages.learners.classifier import Classifier
from stages.learners.models import Model
from stages.learners.temperature import calibration_words
from stages.params.schema import Params
from stages.runtime import PREDICTED


@dataclass(frozen=True)
class Result:
    """`y_proba` float32 (n, classes) are the probabilities for the test images, `scores` the metrics with intervals.

    `size` is also part of `metrics`. `uncalibrated` are the probabilities before the temperature, None where there is
    none; `calibration` says how it was fitted, None where none was asked for. `minimum` is the test accuracy that the
    gate asks for, None where it asks for none. `seconds` differ each time, and so no file keeps them.
    """

    model: Model
    y_proba: np.ndarray
    uncalibrated: np.ndarray | None
    scores: pd.DataFrame
    metrics: dict[str, float]
    size: dict[str, int]
    seconds: dict[str, float]
    minimum: float | None
    overfitting: str
    calibration: str | None


def measure(
    model: Model, classifier: Classifier, splits: dict[str, Split], info: DatasetInfo, params: Params
) -> Result:
    """Measure the predictions of the trained `classifier` for train, validation and test images."""
    validation, test = splits["validation"], splits["test"]
    section = getattr(params.train, model.name)
    training = subset(splits["train"], getattr(section, "train_samples", None), params.runtime.seed)
    # At most as many as there are validation images, without augmentation. Own images may be sorted by class.
    count, most = len(training.labels), len(validation.labels)
    chosen = np.sort(np.random.default_rng(0).choice(count, min(count, most), replace=False))
    train_right, _ = _right(classifier, training, chosen)
    val_right, val_proba = _right(classifier, validation, np.arange(most))
    seconds = {"predict_1_image_seconds": _seconds_of_one(classifier, test)}
    start = time.perf_counter()
    y_proba = classifier.predict(test.images)
    seconds[f"predict_{len(test.labels)}_images_seconds"] = time.perf_counter() - start

    table = score_table(test.labels, y_proba)
    accuracy = table.loc["test_accuracy"]
    validated = scores("val", validation.labels, val_proba)
    size = classifier.size()
    minimum = getattr(params.gate.minimum_accuracy.get(info.dataset), model.name, None)
    uncalibrated = None if classifier.temperature is None else classifier.uncalibrated(test.images)
    metrics = {
        **table["value"].to_dict(),
        "test_accuracy_low": float(accuracy["low"]),
        "test_accuracy_high": float(accuracy["high"]),
        **{name: validated[name] for name in ("val_accuracy", "val_loss")},
        **({} if uncalibrated is None else _before(classifier, validation, test, uncalibrated)),
        **size,
        "file_bytes": model.file.stat().st_size,
        "gate_passed": minimum is None or bool(accuracy["value"] >= minimum),
    }
    if model.history:
        overfitting = verdict(train_right, val_right, pd.read_csv(model.history), section.weights == "best")
    else:
        overfitting = verdict(train_right, val_right)
    asked = getattr(section, "calibration", "none") == "temperature"
    calibration = calibration_words(classifier.temperature) if asked else None
    return Result(model, y_proba, uncalibrated, table, metrics, size, seconds, minimum, overfitting, calibration)


def _before(classifier: Classifier, validation: Split, test: Split, uncalibrated: np.ndarray) -> dict[str, float]:
    """Return the temperature, that val_loss is the lowest that it could give, and the losses without it."""
    before = scores("test", test.labels, uncalibrated)
    val_before = scores("val", validation.labels, classifier.uncalibrated(validation.images))
    return {
        "val_loss_fitted": True,
        "val_loss_uncalibrated": val_before["val_loss"],
        "test_loss_uncalibrated": before["test_loss"],
        "test_ece_uncalibrated": before["test_ece"],
        "temperature": classifier.temperature,
    }


def _right(classifier: Classifier, split: Split, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the chosen images are right, and their probabilities."""
    parts = pieces(len(chosen), split.images.shape[1:], PREDICTED)
    y_proba = np.concatenate([classifier.predict(split.images[chosen[part]]) for part in parts])
    return y_proba.argmax(axis=1) == split.labels[chosen], y_proba


def _seconds_of_one(classifier: Classifier, test: Split) -> float:
    """Return the median time of a prediction for one image."""
    times = []
    for _ in range(11):
        start = time.perf_counter()
        classifier.predict(test.images[:1])
        times.append(time.perf_counter() - start)
    return float(np.median(times))
