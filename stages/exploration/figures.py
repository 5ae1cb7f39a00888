"""The figures of the data."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from stages.figures import BLUE, GREY, MOST_CLASSES, plain, save, short


def draw_class_counts(counts: pd.DataFrame, path: Path, dataset: str) -> None:
    """Draw `counts`, one row per class and one column per split."""
    size = (10, max(3.2, 0.16 * len(counts)))
    figure, axes = plt.subplots(1, counts.shape[1], figsize=size, sharey=True, layout="constrained")
    for axis, split in zip(axes, counts, strict=True):
        bars = axis.barh(plain(counts.index), counts[split], color=BLUE)
        axis.bar_label(bars, padding=2, fontsize=7)
        axis.set_title(f"{split}: {counts[split].sum():,} images")
        axis.margins(x=0.15)
    axes[0].invert_yaxis()
    axes[0].set_ylabel("class")
    figure.suptitle(f"{dataset}: images per class")
    save(figure, path)


def draw_explained_variance(ratio: np.ndarray, path: Path, title: str) -> None:
    """Draw the share of the variance that each principal component explains, and their sum."""
    components = np.arange(1, len(ratio) + 1)
    figure, axis = plt.subplots(figsize=(6.2, 3.2), layout="constrained")
    axis.bar(components, ratio, color=BLUE, label="each")
    axis.plot(components, ratio.cumsum(), color="black", marker=".", label="together")
    axis.set(xlabel="principal component", ylabel="share of the variance", ylim=(0, 1), title=title)
    axis.legend(frameon=False)
    save(figure, path)


def draw_points(points: np.ndarray, labels: np.ndarray, names: list[str], path: Path, title: str, seed: int) -> None:
    """Draw points (n, 2): all in one panel in random order, and each class alone before all the others.

    In the order of the classes the last ones would cover the first and look better separated than they are. Of more
    than `MOST_CLASSES` classes there is the one panel alone. Names that would cover another are left out.
    """
    order = np.random.default_rng(seed).permutation(len(points))
    points, labels = points[order], labels[order]
    colors = plt.get_cmap("tab10" if len(names) <= 10 else "tab20")
    size = np.clip(6000 / len(points), 0.3, 6)
    # Hard edges: thousands of soft ones make a file of half a megabyte.
    dots = {"linewidths": 0, "antialiased": False}
    figure = plt.figure(figsize=(12, 5), layout="constrained")
    alone = names if len(names) <= MOST_CLASSES else []
    columns = -(-len(alone) // 2)
    grid = figure.add_gridspec(2, columns + 4)
    together = figure.add_subplot(grid[:, :4])
    together.scatter(*points.T, s=size, c=colors(labels % colors.N), **dots)
    shown = []
    for label, name in enumerate(short(names)):
        if not (labels == label).any():
            continue
        middle = np.median(points[labels == label], axis=0)
        box = {"fc": "white", "ec": "none", "alpha": 0.7, "pad": 1}
        shown.append(together.annotate(name, middle, ha="center", va="center", weight="bold", bbox=box))
    for label, name in enumerate(short(alone)):
        axis = figure.add_subplot(grid[label // columns, 4 + label % columns])
        own = labels == label
        axis.scatter(*points[~own].T, s=size / 2, color=GREY, **dots)
        axis.scatter(*points[own].T, s=size / 2, color=colors(label % colors.N), **dots)
        axis.set_title(name, fontsize=9)
        axis.axis("off")
    together.axis("off")
    figure.suptitle(title)
    _hide_overlapping(shown, figure)
    save(figure, path)


def _hide_overlapping(names: list[Annotation], figure: Figure) -> None:
    """Hide each of the names that would cover one before it."""
    figure.draw_without_rendering()
    visible = []
    for name in names:
        extent = name.get_window_extent()
        if extent.count_overlaps(visible):
            name.set_visible(False)
        else:
            visible.append(extent)
