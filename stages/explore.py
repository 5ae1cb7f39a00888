"""Show the data, into reports/explore.

There are counts, examples, means and outliers of the classes, the images as points in the plane (PCA and UMAP), and
measures of how well each of these spaces separates the classes.

python -m stages.explore
"""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.dataset.folders import replaced
from stages.dataset.prepared import DatasetInfo, Split, load_info, load_split
from stages.dataset.scaling import scaled
from stages.exploration.embeddings import (
    COMPONENTS,
    UMAP_NEIGHBORS,
    outliers,
    principal_components,
    purity,
    umap_embedding,
)
from stages.exploration.figures import draw_class_counts, draw_explained_variance, draw_points
from stages.exploration.sample import sampled
from stages.figures import MOST_CLASSES, draw_tiles
from stages.params.schema import Explore
from stages.params.views import ExploreParams, load_params
from stages.paths import EXPLORE
from stages.process.console import warn
from stages.tracking.stage import run_stage

IMAGES_PER_CLASS = 12


def main() -> None:
    params = load_params(ExploreParams).explore
    info = load_info()
    splits = {name: load_split(name) for name in ("train", "validation", "test")}
    chosen, sample = sampled(splits["train"], IMAGES_PER_CLASS, params.seed)
    if len(chosen) < len(splits["train"].labels):
        print(f"explore: a sample of {len(chosen):,} of the training images", flush=True)

    with replaced(EXPLORE) as folder:
        _show_classes(folder, splits, info)
        components, ratio = principal_components(sample.images, COMPONENTS)
        _show_images(folder, splits["train"], chosen, sample, components, info)
        _show_variance(folder, ratio, info)
        _show_points(folder, sample, components, info, params)


def _show_classes(folder: Path, splits: dict[str, Split], info: DatasetInfo) -> None:
    names = info.class_names
    counts = pd.DataFrame(
        {name: np.bincount(split.labels, minlength=len(names)) for name, split in splits.items()},
        index=pd.Index(names, name="class"),
    )
    counts.to_csv(folder / "class_counts.csv")
    draw_class_counts(counts, folder / "class_counts.png", info.dataset)
    print(counts.to_string())


def _show_images(
    folder: Path, training: Split, chosen: np.ndarray, sample: Split, components: np.ndarray, info: DatasetInfo
) -> None:
    """Draw means, examples and outliers of the `sample`, which are the `chosen` of the `training` images."""
    names = info.class_names
    of_class = [np.flatnonzero(sample.labels == label) for label in range(len(names))]
    # Rows of one length.
    columns = min(IMAGES_PER_CLASS, *map(len, of_class))
    far = outliers(components, sample.labels, columns)
    far["index"] = chosen[far["index"]]
    means = np.stack([sample.images[members].mean(axis=0) for members in of_class])
    square = max(5, int(np.sqrt(len(names))))
    draw_tiles(means, names, folder / "mean_images.png", f"{info.dataset}: mean image of each class", square)
    shown = range(min(len(names), MOST_CLASSES))
    first = [chosen[of_class[label][:columns]] for label in shown]
    farthest = [far.loc[far["class"] == label, "index"] for label in shown]
    drawn = (("examples", first, "training images"), ("outliers", farthest, "farthest from their class"))
    for file, rows, words in drawn:
        # A row for each class, whose name stands over its first image.
        captions = [text for label in shown for text in (names[label], *[""] * (columns - 1))]
        images, path = scaled(training.images[np.concatenate(rows)]), folder / f"{file}.png"
        if len(shown) < len(names):
            words += f", the first {len(shown)} of {len(names)} classes"
        draw_tiles(images, captions, path, f"{info.dataset}: {words}", columns)
    far["class"] = far["class"].map(dict(enumerate(names)))
    far.round(4).to_csv(folder / "outliers.csv", index=False)


def _show_variance(folder: Path, ratio: np.ndarray, info: DatasetInfo) -> None:
    components = pd.RangeIndex(1, len(ratio) + 1, name="component")
    table = pd.DataFrame({"explained_variance": ratio.round(6)}, index=components)
    table.to_csv(folder / "explained_variance.csv")
    title = f"{info.dataset}: {len(ratio)} components explain {100 * ratio.sum():.1f} %"
    draw_explained_variance(ratio, folder / "explained_variance.png", title)


def _show_points(folder: Path, images: Split, components: np.ndarray, info: DatasetInfo, params: Explore) -> None:
    """Draw the images in the plane, and measure on some of them how well each space separates the classes."""
    names, count = info.class_names, len(images.labels)
    plane = components[:, :2]
    if plane.shape[1] < 2:
        # Images of one pixel have one component.
        plane = np.column_stack([plane, np.zeros(len(plane))])
    title = f"{info.dataset}: two principal components of {count:,} images"
    draw_points(plane, images.labels, names, folder / "pca.png", title, params.seed)

    random = np.random.default_rng(params.seed)
    sample = np.sort(random.choice(count, min(params.sample_size, count), replace=False))
    labels = images.labels[sample]
    spaces = {
        "pixels": images.images[sample].reshape(len(sample), -1),
        f"{components.shape[1]} principal components": components[sample],
        "2 principal components": plane[sample],
    }
    if params.umap and len(sample) <= UMAP_NEIGHBORS + 1:
        warn(f"explore: no UMAP of {len(sample)} images: it compares each with {UMAP_NEIGHBORS} others")
    elif params.umap:
        print(f"explore: UMAP of {len(sample):,} images …", flush=True)
        spaces["UMAP"] = umap_embedding(images.images[sample], params.seed)
        title = f"{info.dataset}: UMAP of {len(sample):,} images"
        draw_points(spaces["UMAP"], labels, names, folder / "umap.png", title, params.seed)
    table = pd.DataFrame({space: purity(points, labels) for space, points in spaces.items()}).T.round(4)
    table.rename_axis("space").to_csv(folder / "purity.csv")
    print(table.to_string())


if __name__ == "__main__":
    run_stage(main, __doc__)
