"""Preparing images, the same for every model; the logged models do it to raw images."""

import numpy as np

from stages.dataset.pieces import pieces


def prepare(images: np.ndarray, deskew: bool) -> np.ndarray:
    """Return the images, uint8 (n, height, width) or in colour (n, height, width, 3), deskewed if so wanted."""
    return deskewed(images) if deskew else images


def deskewed(images: np.ndarray) -> np.ndarray:
    """Return the images as `prepare` takes them, sheared along their rows until the drawing stands upright.

    The slant is the regression of column on row over the brightness, from the image's second moments; the
    shear about the centre of mass moves nothing up or down. An image without height stays as it is.
    (LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998, used deskewed digits.)
    """
    import cv2

    height, width = images.shape[1:3]
    upright = np.empty_like(images)
    for piece in pieces(len(images), images.shape[1:]):
        part = images[piece]
        # In colour it is that of the sum of the three.
        grey = part if part.ndim == 3 else part.sum(axis=3, dtype=np.int64)
        for index, source in enumerate(_shears(grey), piece.start):
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            upright[index] = cv2.warpAffine(images[index], source, (width, height), flags=flags)
    return upright


def _shears(images: np.ndarray) -> np.ndarray:
    """Return for each image the map from a pixel of the result back to where it comes from: float64 (n, 2, 3).

    `images` are integers (n, height, width).
    """
    _, height, width = images.shape
    rows, columns = np.arange(height), np.arange(width)
    # Whole numbers: these sums are exact, in whichever order a processor adds.
    by_row, by_column = images.sum(axis=2, dtype=np.int64), images.sum(axis=1, dtype=np.int64)
    mass = np.maximum(by_row.sum(axis=1), 1)
    down, across = by_row @ rows, by_column @ columns
    # Both times the mass.
    variance = by_row @ rows**2 - down * down / mass
    covariance = (images @ columns) @ rows - down * across / mass
    slant = np.divide(covariance, variance, out=np.zeros(len(images)), where=variance > 1e-6 * mass)
    sources = np.zeros((len(images), 2, 3))
    sources[:, 0, 0] = sources[:, 1, 1] = 1
    sources[:, 0, 1], sources[:, 0, 2] = slant, -slant * down / mass
    return sources
