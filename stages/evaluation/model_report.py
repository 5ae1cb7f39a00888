"""The folder reports/<model>: tables and pictures of one model."""

import shutil

import numpy as np
import pandas as pd

from stages.dataset.prepared import About, Split
from stages.evaluation.attribution import block_importance, first_layer, integrated_gradients
from stages.evaluation.cost import network_layers
from stages.evaluation.figures import (
    draw_confusion_matrix,
    draw_history,
    draw_importance,
    draw_reliability,
)
from stages.evaluation.scores import calibration, confusion, expected_calibration_error, intervals, per_class, scores
from stages.learners.forest_file import load_forest
from stages.learners.keras_file import load_keras
from stages.learners.prediction import Predict
from stages.models import Model
from stages.pictures import draw_tiles

MISTAKES = 24
EXPLAINED = 10
FILTERS = 32


def write_model_report(model: Model, about: About, test: Split, probabilities: np.ndarray, predict: Predict) -> None:
    """Write all of it anew; `probabilities` are those of the test images."""
    if model.reports.exists():
        shutil.rmtree(model.reports)
    model.reports.mkdir(parents=True)
    test = Split(np.asarray(test.images), np.asarray(test.labels))
    predicted = probabilities.argmax(axis=1)
    title = f"{model.title} on {about.dataset}"

    _write_scores(model, about, test, probabilities, title)
    mistakes = _write_mistakes(model, about, test, probabilities, title)
    if model.history:
        shutil.copyfile(model.history, model.reports / "history.csv")
        draw_history(pd.read_csv(model.history), model.reports / "history.png", title)
        _explain_network(model, about, test, predicted, mistakes[:EXPLAINED], title)
    else:
        _explain_forest(model, test, predict, title)


def _write_scores(model: Model, about: About, test: Split, probabilities: np.ndarray, title: str) -> None:
    folder, names = model.reports, about.class_names
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
    ends = intervals("test", test.labels, probabilities)
    pd.DataFrame(
        [(name, value, *ends[name]) for name, value in scores("test", test.labels, probabilities).items()],
        columns=["figure", "value", "low", "high"],
    ).round(6).to_csv(folder / "scores.csv", index=False)
    bins = calibration(test.labels, probabilities)
    bins.round(6).to_csv(folder / "calibration.csv")
    error = expected_calibration_error(test.labels, probabilities)
    draw_reliability(bins, error, folder / "reliability.png", title)


def _write_mistakes(model: Model, about: About, test: Split, probabilities: np.ndarray, title: str) -> np.ndarray:
    """Write the mistakes that the model is surest of, and return their positions, surest first."""
    confidence, predicted = probabilities.max(axis=1), probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != test.labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    names = np.array(about.class_names)
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
    model: Model, about: About, test: Split, predicted: np.ndarray, wrong: np.ndarray, title: str
) -> None:
    network = load_keras(model.file)
    network_layers(network).to_csv(model.reports / "layers.csv")
    names = about.class_names
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


def _explain_forest(model: Model, test: Split, predict: Predict, title: str) -> None:
    maps = {"log loss added when a block is exchanged": block_importance(predict, test.images, test.labels)}
    forest, features = load_forest(model.file)
    if features == "pixels":
        maps["impurity taken away by a pixel"] = forest.feature_importances_.reshape(test.images.shape[1:])
    draw_importance(maps, test.images.mean(axis=0), model.reports / "importance.png", f"{title}: where it looks")
