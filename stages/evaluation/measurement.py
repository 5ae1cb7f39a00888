"""What is measured of one model before anything is drawn."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stages.dataset.prepared import DatasetInfo, Split
from stages.dataset.subset import subset
from stages.evaluation.cost import forest_size, network_size
from stages.evaluation.overfitting import verdict
from stages.evaluation.scores import score_table, scores
from stages.learners.models import RANDOM_FOREST, Model
from stages.learners.prediction import Predict
from stages.params.schema import Params


@dataclass(frozen=True)
class Result:
    """`probabilities` (n, classes) are those of the test images, `scores` has their figures with intervals.

    `minimum` is the test accuracy that the gate asks for. `seconds` are measured, and so no part of what is kept in
    files.
    """

    model: Model
    probabilities: np.ndarray
    scores: pd.DataFrame
    metrics: dict[str, float]
    seconds: dict[str, float]
    minimum: float
    overfitting: str


def measure(
    model: Model, estimator: Any, predict: Predict, splits: dict[str, Split], info: DatasetInfo, params: Params
) -> Result:
    """Measure what `estimator` in the file of `model` predicts for train, validation and test images."""
    validation, test = splits["validation"], splits["test"]
    training = splits["train"]
    if model == RANDOM_FOREST:
        training = subset(training, params.train.random_forest.train_samples, params.runtime.seed)
    # At most as many as there are validation images, and without augmentation.
    count = len(validation.labels)
    training = Split(training.images[:count], training.labels[:count])
    train_right, _ = _right(predict, training)
    val_right, val_probabilities = _right(predict, validation)
    seconds = {"predict_1_image_seconds": _seconds_of_one(predict, test)}
    start = time.perf_counter()
    probabilities = predict(np.asarray(test.images))
    seconds[f"predict_{len(test.labels)}_images_seconds"] = time.perf_counter() - start

    figures = score_table(test.labels, probabilities)
    accuracy = figures.loc["test_accuracy"]
    validated = scores("val", validation.labels, val_probabilities)
    size = network_size(estimator) if model.history else forest_size(estimator)
    minimum = getattr(getattr(params.gate.minimum_accuracy, info.dataset), model.name)
    metrics = {
        **figures["value"].to_dict(),
        "test_accuracy_low": float(accuracy["low"]),
        "test_accuracy_high": float(accuracy["high"]),
        **{name: validated[name] for name in ("val_accuracy", "val_loss")},
        **size,
        "file_bytes": model.file.stat().st_size,
        "gate_passed": bool(accuracy["value"] >= minimum),
    }
    if model.history:
        best_weights = getattr(params.train, model.name).weights == "best"
        overfitting = verdict(train_right, val_right, pd.read_csv(model.history), best_weights)
    else:
        overfitting = verdict(train_right, val_right)
    return Result(model, probabilities, figures, metrics, seconds, minimum, overfitting)


def _right(predict: Predict, split: Split) -> tuple[np.ndarray, np.ndarray]:
    probabilities = predict(np.asarray(split.images))
    return probabilities.argmax(axis=1) == split.labels, probabilities


def _seconds_of_one(predict: Predict, test: Split) -> float:
    """Return the median time of a prediction for one image."""
    times = []
    for _ in range(11):
        start = time.perf_counter()
        predict(np.asarray(test.images[:1]))
        times.append(time.perf_counter() - start)
    return float(np.median(times))
