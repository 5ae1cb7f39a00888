"""The pictures: PNG files whose bytes depend on the data alone."""

from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay

# What a reader sees first is that training and validation differ: blue and orange do so for all eyes.
TRAINING, VALIDATION = "#0072b2", "#e69f00"
plt.rcParams.update(
    {
        "figure.dpi": 110,
        "savefig.bbox": "tight",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)


def draw_class_counts(counts: pd.DataFrame, path: Path, dataset: str) -> None:
    """Draw `counts`, one row per class and one column per split."""
    figure, axes = plt.subplots(1, counts.shape[1], figsize=(10, 3.2), sharey=True, layout="constrained")
    for axis, split in zip(axes, counts, strict=True):
        bars = axis.barh(counts.index, counts[split], color=TRAINING)
        axis.bar_label(bars, padding=2, fontsize=7)
        axis.set_title(f"{split}: {counts[split].sum():,} images")
        axis.margins(x=0.15)
    axes[0].invert_yaxis()
    axes[0].set_ylabel("class")
    figure.suptitle(f"{dataset}: images per class")
    _save(figure, path)


def draw_image_grid(rows: list[np.ndarray], names: list[str], path: Path, title: str) -> None:
    """Draw one row per class: `rows` has an array (n, height, width), 0 to 1, for each."""
    columns = max(len(row) for row in rows)
    figure, axes = plt.subplots(len(rows), columns, figsize=(columns * 0.62 + 1, len(rows) * 0.62 + 0.4), squeeze=False)
    for name, row, row_axes in zip(names, rows, axes, strict=True):
        for axis in row_axes:
            axis.axis("off")
        for image, axis in zip(row, row_axes, strict=False):
            _show(axis, image)
        row_axes[0].text(-0.2, 0.5, name, transform=row_axes[0].transAxes, ha="right", va="center")
    figure.suptitle(title, y=0.95)
    _save(figure, path)


def draw_images(images: np.ndarray, names: list[str], path: Path, title: str) -> None:
    """Draw images (n, height, width), 0 to 1, with a name over each."""
    columns = 5
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(columns * 1.3, rows * 1.5 + 0.3), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, name in zip(axes.flat, images, names, strict=False):
        _show(axis, image)
        axis.set_title(name)
    figure.suptitle(title)
    _save(figure, path)


def draw_confusion_matrix(matrix: np.ndarray, names: list[str], path: Path, title: str) -> None:
    """Draw counts (actual, predicted); the colour is the share of the actual class."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure, axis = plt.subplots(figsize=(6.2, 5.6), layout="constrained")
    display = ConfusionMatrixDisplay(matrix, display_labels=names)
    display.plot(ax=axis, cmap="Blues", colorbar=False, include_values=False)
    # The mistakes are what one looks for: beside thousands of right answers they would all be white.
    display.im_.set_data(np.sqrt(share))
    display.im_.set_clim(0, 1)
    for row, column in np.ndindex(matrix.shape):
        if matrix[row, column]:
            axis.text(
                column,
                row,
                f"{matrix[row, column]}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share[row, column] > 0.25 else "black",
            )
    axis.set(xlabel="predicted", ylabel="actual", title=title)
    axis.spines[:].set_visible(False)
    if max(map(len, names)) > 2:
        axis.tick_params(axis="x", rotation=45)
        plt.setp(axis.get_xticklabels(), ha="right", rotation_mode="anchor")
    _save(figure, path)


def draw_history(history: pd.DataFrame, path: Path, title: str) -> None:
    """Draw loss and accuracy per epoch of a history with the columns of `reports/<model>/history.csv`."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        for split, label, color in (
            ("train", "training", TRAINING),
            ("val", "validation", VALIDATION),
        ):
            axis.plot(
                history["epoch"],
                history[f"{split}_{quantity}"],
                color=color,
                marker="o" if len(history) < 40 else None,
                markersize=3,
                label=label,
            )
        axis.set(xlabel="epoch", title=quantity)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.25)
    axes[0].legend(frameon=False)
    figure.suptitle(title)
    _save(figure, path)


def _show(axis, image: np.ndarray) -> None:
    axis.imshow(image, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")


def _save(figure: Figure, path: Path) -> None:
    # The version of matplotlib would be in the file otherwise.
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
