"""The folder reports/<model>: tables and figures of one model."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from stages.dataset.prepared import DatasetInfo, Split
from stages.dataset.scaling import scaled
from stages.evaluation.attribution import block_importance, integrated_gradients
from stages.evaluation.figures import draw_confusion_matrix, draw_history, draw_importance, draw_reliability
from stages.evaluation.measurement import Result
from stages.evaluation.scores import calibration, confusion, per_class
from stages.figures import draw_tiles
from stages.learners.classifier import Classifier

MISTAKES = 24
EXPLAINED = 10
FILTERS = 32


def write_model_report(result: Result, classifier: Classifier, test: Split, info: DatasetInfo, folder: Path) -> None:
    """Write the `result` of the `classifier` into the folder, and the evidence that its answers rest on."""
    model = result.model
    test = Split(np.asarray(test.images), np.asarray(test.labels))
    title = f"{model.title} on {info.dataset}"

    _write_scores(result, info, test, title, folder)
    mistakes = _write_mistakes(result, info, test, title, folder)
    if model.history:
        shutil.copyfile(model.history, folder / "history.csv")
        draw_history(pd.read_csv(model.history), folder / "history.png", title)
    if layers := classifier.layers():
        pd.DataFrame(layers).to_csv(folder / "layers.csv", index=False)
    filters = classifier.filters(FILTERS)
    if filters is not None:
        draw_tiles(filters, [], folder / "filters.png", f"{title}: filters of the first layer", 8, signed_from=0)
    if not _write_attributions(result, classifier, info, test, mistakes[:EXPLAINED], title, folder):
        _write_importance(classifier, test, title, folder)


def _write_scores(result: Result, info: DatasetInfo, test: Split, title: str, folder: Path) -> None:
    names, y_true = info.class_names, test.labels
    y_pred = result.y_proba.argmax(axis=1)
    classes = np.array(names)
    pd.DataFrame({"actual": classes[y_true], "predicted": classes[y_pred]}).to_csv(
        folder / "confusion_matrix.csv", index=False
    )
    matrix = confusion(y_true, y_pred, len(names))
    draw_confusion_matrix(matrix, names, folder / "confusion_matrix.png", f"{title}: {len(y_pred):,} test images")
    per_class(y_true, y_pred, names).round(6).to_csv(folder / "per_class.csv")
    result.scores.round(6).to_csv(folder / "scores.csv")
    bins = calibration(y_true, result.y_proba)
    bins.round(6).to_csv(folder / "calibration.csv")
    before = None
    if result.uncalibrated is not None:
        before = calibration(y_true, result.uncalibrated)
        before.round(6).to_csv(folder / "calibration_before.csv")
    draw_reliability(bins, result.metrics["test_ece"], folder / "reliability.png", title, before)


def _write_mistakes(result: Result, info: DatasetInfo, test: Split, title: str, folder: Path) -> np.ndarray:
    """Write the mistakes, and return their positions int64 (n,), the most confident first."""
    names, y_true = np.array(info.class_names), test.labels
    confidence, y_pred = result.y_proba.max(axis=1), result.y_proba.argmax(axis=1)
    wrong = np.flatnonzero(y_pred != y_true)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    pd.DataFrame(
        {
            "image": wrong,
            "actual": names[y_true[wrong]],
            "predicted": names[y_pred[wrong]],
            "probability": confidence[wrong].astype(float).round(4),
        }
    ).to_csv(folder / "mistakes.csv", index=False)
    shown = wrong[:MISTAKES]
    draw_tiles(
        scaled(test.images[shown]),
        [f"{names[y_true[each]]} → {names[y_pred[each]]} {confidence[each]:.0%}" for each in shown],
        folder / "mistakes.png",
        f"{title}: the most confident of {len(wrong)} mistakes (actual → predicted)",
        columns=8,
    )
    return wrong


def _write_attributions(
    result: Result, classifier: Classifier, info: DatasetInfo, test: Split, wrong: np.ndarray, title: str, folder: Path
) -> bool:
    """Draw the integrated gradients of right and wrong answers; return False for a classifier without gradients."""
    names, y_true, y_pred = info.class_names, test.labels, result.y_proba.argmax(axis=1)
    right = np.flatnonzero(y_pred == y_true)
    # The first of each class.
    right = right[np.unique(y_true[right], return_index=True)[1]][:EXPLAINED]
    for kind, chosen in (("right", right), ("wrong", wrong)):
        if not len(chosen):
            continue
        attributions = integrated_gradients(classifier, test.images[chosen], y_pred[chosen])
        if attributions is None:
            return False
        captions = [f"{names[y_true[each]]} → {names[y_pred[each]]}" for each in chosen]
        draw_tiles(
            [*scaled(test.images[chosen]), *attributions],
            [*captions, *[""] * len(chosen)],
            folder / f"attribution_{kind}.png",
            f"{title}: integrated gradients, evidence for (red) and against (blue) {kind} answers",
            columns=len(chosen),
            signed_from=len(chosen),
        )
    return True


def _write_importance(classifier: Classifier, test: Split, title: str, folder: Path) -> None:
    maps = {"permutation importance: rise of the log loss": block_importance(classifier, test.images, test.labels)}
    impurity = classifier.impurity_importance()
    if impurity is not None:
        maps["mean decrease in impurity"] = impurity.reshape(*test.images.shape[1:3], -1).sum(axis=2)
    mean_image = test.images.mean(axis=0, dtype=np.float64) / 255
    if mean_image.ndim == 3:
        mean_image = mean_image.mean(axis=2)
    draw_importance(maps, mean_image, folder / "importance.png", f"{title}: the pixels that answers rest on")
