"""The figures of the models' results."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import ConfusionMatrixDisplay

from stages.figures import BLUE, MOST_CLASSES, ORANGE, plain, save
from stages.learners.history import by_network


def draw_confusion_matrix(matrix: np.ndarray, names: list[str], path: Path, title: str) -> None:
    """Draw counts (actual, predicted); the colour is the share of the actual class.

    Of more than `MOST_CLASSES` classes there are no numbers: confusion_matrix.csv has them.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure, axis = plt.subplots(figsize=(6.2, 5.6), layout="constrained")
    display = ConfusionMatrixDisplay(matrix, display_labels=plain(names))
    display.plot(ax=axis, cmap="Blues", colorbar=False, include_values=False)
    # One looks for the mistakes: beside thousands of right answers they would all be white.
    display.im_.set_data(np.sqrt(share))
    display.im_.set_clim(0, 1)
    for row, column in np.ndindex(matrix.shape):
        if matrix[row, column] and len(names) <= MOST_CLASSES:
            style = {"fontsize": 8, "color": "white" if share[row, column] > 0.25 else "black"}
            axis.text(column, row, f"{matrix[row, column]}", ha="center", va="center", **style)
    axis.set(xlabel="predicted", ylabel="actual", title=title)
    axis.spines[:].set_visible(False)
    if len(names) > MOST_CLASSES:
        axis.set(xticks=[], yticks=[], xlabel=f"predicted: {len(names)} classes in the order of their names")
    elif max(map(len, names)) > 2:
        axis.tick_params(axis="x", rotation=45)
        plt.setp(axis.get_xticklabels(), ha="right", rotation_mode="anchor")
    save(figure, path)


def draw_history(history: pd.DataFrame, path: Path, title: str) -> None:
    """Draw loss and accuracy per epoch of a history with the columns of `reports/<model>/history.csv`.

    Several networks have a line each, one after the other.
    """
    networks = by_network(history)
    if len(networks) > 1:
        title = f"{title}: {len(networks)} networks, one after the other"
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        for split, label, color in (("train", "training", BLUE), ("val", "validation", ORANGE)):
            marker = {"marker": "o" if len(history) < 40 else None, "markersize": 3}
            for number, part in enumerate(networks):
                # The legend names the first line alone.
                name = None if number else label
                axis.plot(part["epoch"], part[f"{split}_{quantity}"], color=color, label=name, **marker)
        axis.set(xlabel="epoch", title=quantity)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.25)
    axes[0].legend(frameon=False)
    figure.suptitle(title)
    save(figure, path)


def draw_reliability(
    bins: pd.DataFrame, error: float, path: Path, title: str, before: pd.DataFrame | None = None
) -> None:
    """Draw accuracy over confidence for the bins of `scores.calibration`, and for those `before` a temperature.

    `error` is the expected calibration error of `bins`.
    """
    figure, (axis, below) = plt.subplots(
        2, 1, figsize=(4.6, 5.2), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    axis.plot((0, 1), (0, 1), color="grey", linestyle="--", linewidth=1, label="perfectly calibrated")
    style = {"marker": "o", "markersize": 4}
    if before is not None:
        axis.plot(before["confidence"], before["accuracy"], **style, color=ORANGE, label="uncalibrated")
        below.bar(before["confidence"], before["images"], width=0.03, color=ORANGE)
    label = "model" if before is None else "calibrated"
    axis.plot(bins["confidence"], bins["accuracy"], **style, color=BLUE, label=label)
    axis.set(ylabel="accuracy", title=f"{title}: calibration error {error:.4f}", xlim=(0, 1.02), ylim=(0, 1.02))
    below.bar(bins["confidence"], bins["images"], width=0.03, color=BLUE)
    below.set(xlabel="probability of the predicted class", ylabel="images", yscale="log")
    # Outside of the axes: the lines of some model run through any place within.
    figure.legend(frameon=False, loc="outside lower center", ncols=2 if before is None else 3)
    save(figure, path)


def draw_importance(maps: dict[str, np.ndarray], mean_image: np.ndarray, path: Path, title: str) -> None:
    """Draw heat maps (height, width) by their name, with the outline of the mean image on each."""
    figure, axes = plt.subplots(1, len(maps), figsize=(4.4 * len(maps), 4), squeeze=False, layout="constrained")
    for axis, (name, heat) in zip(axes.flat, maps.items(), strict=True):
        shown = axis.imshow(np.maximum(heat, 0), cmap="viridis", interpolation="nearest")
        if min(mean_image.shape) > 1:
            axis.contour(mean_image, levels=3, colors="white", linewidths=0.6)
        axis.set_title(name)
        axis.axis("off")
        figure.colorbar(shown, ax=axis, shrink=0.8)
    figure.suptitle(title)
    save(figure, path)
