"""The features of an image that the random forest is trained on."""

from collections.abc import Callable

import numpy as np

from stages.dataset.images import deskewed
from stages.dataset.pieces import pieces
from stages.dataset.scaling import scaled

# The grid that the image is cut into, and the directions that a gradient is sorted into.
CELLS = 4
ORIENTATIONS = 9
# This number stands for 1; no value of a normalized block comes near it.
LEVELS = 64


def pixels(images: np.ndarray) -> np.ndarray:
    """Return uint8 images, grey or in colour, as rows of float32 from 0 to 1 (n, height * width * channels)."""
    return scaled(images).reshape(len(images), -1)


def gradient_histograms(images: np.ndarray) -> np.ndarray:
    """Return the histograms of oriented gradients of uint8 images, grey or in colour: float32 (n, 324).

    The image is deskewed: then the trees are a quarter smaller, and 0.25 % more of MNIST's validation images are right
    (docs/ladder.md). It is cut into 4x4 cells of whole pixels (an image that 4 does not divide is stretched first);
    each 2x2 neighbours are normalized together. In colour each gradient is that of the strongest channel. Whole
    numbers: a forest finds its splits in a third of the time, with no loss of accuracy (measured). (Dalal & Triggs,
    "Histograms of Oriented Gradients for Human Detection", 2005.)
    """
    import cv2

    height, width = images.shape[1:3]
    # OpenCV names the width first.
    cell = (-(-width // CELLS), -(-height // CELLS))
    size = (CELLS * cell[0], CELLS * cell[1])
    block = (2 * cell[0], 2 * cell[1])
    histograms = cv2.HOGDescriptor(size, block, cell, cell, ORIENTATIONS)
    features = np.empty((len(images), histograms.getDescriptorSize()), np.float32)
    for piece in pieces(len(images), images.shape[1:]):
        for index, image in enumerate(deskewed(images[piece]), piece.start):
            if (width, height) != size:
                image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
            features[index] = histograms.compute(image)
    features *= LEVELS
    return np.rint(features, out=features)


def pixels_and_gradient_histograms(images: np.ndarray) -> np.ndarray:
    """Return both for uint8 images: float32 (n, height * width * channels + 324)."""
    height, width, channels = (*images.shape[1:], 1)[:3]
    count = feature_count("pixels_and_gradient_histograms", height, width, channels)
    features = np.empty((len(images), count), np.float32)
    # All of each would need as much memory once more.
    for piece in pieces(len(images), images.shape[1:]):
        parts = [pixels(images[piece]), gradient_histograms(images[piece])]
        np.concatenate(parts, axis=1, out=features[piece])
    return features


def feature_count(features: str, height: int, width: int, channels: int) -> int:
    """Return how many values the `features`, one of `FEATURES`, are for an image of that size."""
    values = height * width * channels
    # Overlapping blocks of 2x2 cells.
    histograms = (CELLS - 1) ** 2 * 4 * ORIENTATIONS
    counts = {"pixels": values, "gradient_histograms": histograms}
    counts["pixels_and_gradient_histograms"] = values + histograms
    return counts[features]


FEATURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "pixels": pixels,
    "gradient_histograms": gradient_histograms,
    "pixels_and_gradient_histograms": pixels_and_gradient_histograms,
}
