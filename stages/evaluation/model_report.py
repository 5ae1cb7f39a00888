"""The folder reports/<model>: tables and pictures of one model."""

import shutil
from typing import Any

import keras
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier

from stages.dataset.prepared import DatasetInfo, Split
from stages.evaluation.attribution import block_importance, first_layer, integrated_gradients
from stages.evaluation.cost import network_layers
from stages.evaluation.figures import (
    draw_confusion_matrix,
    draw_history,
    draw_importance,
    draw_reliability,
)
from stages.evaluation.measurement import Result
from stages.evaluation.scores import calibration, confusion, per_class
from stages.figures import draw_tiles
from stages.learners.models import Model
from stages.learners.prediction import Predict

MISTAKES = 24
EXPLAINED = 10
FILTERS = 32


def write_model_report(result: Result, estimator: Any, predict: Predict, test: Split, info: DatasetInfo) -> None:
    """Write all of it anew; `estimator` is the Keras model or the forest, `predict` its function."""
    model, probabilities = result.model, result.probabilities
    if model.reports.exists():
        shutil.rmtree(model.reports)
    model.reports.mkdir(parents=True)
    test = Split(np.asarray(test.images), np.asarray(test.labels))
    predicted = probabilities.argmax(axis=1)
    title = f"{model.title} on {info.dataset}"

    _write_scores(result, info, test, title)
    mistakes = _write_mistakes(model, info, test, probabilities, title)
    if model.history:
        shutil.copyfile(model.history, model.reports / "history.csv")
        draw_history(pd.read_csv(model.history), model.reports / "history.png", title)
        _explain_network(model, estimator, info, test, predicted, mistakes[:EXPLAINED], title)
    else:
        _explain_forest(model, estimator, predict, test, title)


def _write_scores(result: Result, info: DatasetInfo, test: Split, title: str) -> None:
    folder, names, probabilities = result.model.reports, info.class_names, result.probabilities
    predicted = probabilities.argmax(axis=1)
    classes = np.array(names)
    pd.DataFrame({"actual": classes[test.labels], "predicted": classes[predicted]}).to_csv(
        folder / "confusion_matrix.csv", index=False
    )
    draw_confusion_matrix(
        confusion(test.labels, predicted, len(names)),
        names,
        folder / "confusion_matrix.png",
        f"{title}: {len(predicted):,} test images",
    )
    per_class(test.labels, predicted, names).round(6).to_csv(folder / "per_class.csv")
    result.scores.round(6).to_csv(folder / "scores.csv")
    bins = calibration(test.labels, probabilities)
    bins.round(6).to_csv(folder / "calibration.csv")
    draw_reliability(bins, result.metrics["test_ece"], folder / "reliability.png", title)


def _write_mistakes(model: Model, info: DatasetInfo, test: Split, probabilities: np.ndarray, title: str) -> np.ndarray:
    """Write the mistakes that the model is surest of, and return their positions, surest first."""
    confidence, predicted = probabilities.max(axis=1), probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != test.labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    names = np.array(info.class_names)
    pd.DataFrame(
        {
            "image": wrong,
            "actual": names[test.labels[wrong]],
            "predicted": names[predicted[wrong]],
            "probability": confidence[wrong].astype(float).round(4),
        }
    ).to_csv(model.reports / "mistakes.csv", index=False)
    shown = wrong[:MISTAKES]
    draw_tiles(
        test.images[shown],
        [f"{names[test.labels[each]]} → {names[predicted[each]]} {confidence[each]:.0%}" for each in shown],
        model.reports / "mistakes.png",
        f"{title}: {len(wrong)} mistakes, the surest first (actual → predicted)",
        columns=8,
    )
    return wrong


def _explain_network(
    model: Model,
    network: keras.Model,
    info: DatasetInfo,
    test: Split,
    predicted: np.ndarray,
    wrong: np.ndarray,
    title: str,
) -> None:
    network_layers(network).to_csv(model.reports / "layers.csv")
    names = info.class_names
    right = np.flatnonzero(predicted == test.labels)
    # The first of each class.
    right = right[np.unique(test.labels[right], return_index=True)[1]][:EXPLAINED]
    for kind, chosen in (("right", right), ("wrong", wrong)):
        if len(chosen):
            attributions = integrated_gradients(network, test.images[chosen], predicted[chosen])
            shown = np.concatenate([test.images[chosen], attributions])
            captions = [f"{names[test.labels[each]]} → {names[predicted[each]]}" for each in chosen]
            draw_tiles(
                shown,
                [*captions, *[""] * len(chosen)],
                model.reports / f"attribution_{kind}.png",
                f"{title}: what speaks for (red) and against (blue) the answer, {kind} ones",
                columns=len(chosen),
                signed_from=len(chosen),
            )
    filters = first_layer(network, FILTERS)
    draw_tiles(filters, [], model.reports / "filters.png", f"{title}: what the first layer looks for", 8, signed_from=0)


def _explain_forest(model: Model, forest: RandomForestClassifier, predict: Predict, test: Split, title: str) -> None:
    maps = {"log loss added when a block is exchanged": block_importance(predict, test.images, test.labels)}
    if forest.image_features == "pixels":
        maps["impurity taken away by a pixel"] = forest.feature_importances_.reshape(test.images.shape[1:])
    draw_importance(maps, test.images.mean(axis=0), model.reports / "importance.png", f"{title}: where it looks")
