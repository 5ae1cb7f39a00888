"""The features of an image that the random forest is trained on."""

from collections.abc import Callable

import numpy as np

# The grid that the image is cut into, and the directions that a gradient is sorted into.
CELLS = 4
ORIENTATIONS = 9
# This number stands for 1; no value of a normalized block comes near it.
LEVELS = 64


def pixels(images: np.ndarray) -> np.ndarray:
    """Return float32 images (n, height, width) as rows (n, height * width)."""
    return np.asarray(images).reshape(len(images), -1)


def gradient_histograms(images: np.ndarray) -> np.ndarray:
    """Return the histograms of oriented gradients of float images from 0 to 1: float32 (n, 324).

    The image is cut into 4x4 cells of whole pixels (an image that 4 does not divide is stretched first); each 2x2
    neighbours are normalized together. Whole numbers: a forest finds its splits in a third of the time, with no loss of
    accuracy (measured). (Dalal & Triggs, "Histograms of Oriented Gradients for Human Detection", 2005.)
    """
    import cv2

    _, height, width = images.shape
    # OpenCV names the width first.
    cell = (-(-width // CELLS), -(-height // CELLS))
    size = (CELLS * cell[0], CELLS * cell[1])
    block = (2 * cell[0], 2 * cell[1])
    histograms = cv2.HOGDescriptor(size, block, cell, cell, ORIENTATIONS)
    features = np.empty((len(images), histograms.getDescriptorSize()), np.float32)
    for index, image in enumerate(images):
        grey = np.rint(image * 255).astype(np.uint8)
        if (width, height) != size:
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR)
        features[index] = histograms.compute(grey)
    return np.rint(features * LEVELS)


def feature_count(features: str, height: int, width: int) -> int:
    """Return how many values the `features`, one of `FEATURES`, are for an image of that size."""
    # Overlapping blocks of 2x2 cells.
    return (CELLS - 1) ** 2 * 4 * ORIENTATIONS if features == "gradient_histograms" else height * width


FEATURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"pixels": pixels, "gradient_histograms": gradient_histograms}
