"""Preparing images, the same for every model; the logged models do it to raw images."""

import numpy as np


def prepare(images: np.ndarray, deskew: bool) -> np.ndarray:
    """Return uint8 images 0-255 (n, height, width) as float32 from 0 to 1, deskewed if so wanted."""
    scaled = images.astype(np.float32) / np.float32(255)
    return _deskewed(scaled) if deskew else scaled


def _deskewed(images: np.ndarray) -> np.ndarray:
    """Return float32 images (n, height, width) sheared along their rows until the drawing stands upright.

    The slant is the regression of column on row over the brightness, from the image's second moments; the
    shear about the centre of mass moves nothing up or down. An image without height stays as it is.
    (LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998, used deskewed digits.)
    """
    import cv2

    _, height, width = images.shape
    rows = np.arange(height, dtype=np.float64)
    columns = np.arange(width, dtype=np.float64)
    upright = np.empty_like(images)
    for index, image in enumerate(images):
        mass = image.sum(dtype=np.float64)
        row = (image.sum(axis=1) @ rows) / max(mass, 1e-9)
        column = (image.sum(axis=0) @ columns) / max(mass, 1e-9)
        variance = image.sum(axis=1) @ (rows - row) ** 2
        covariance = (rows - row) @ image @ (columns - column)
        slant = covariance / variance if variance > 1e-9 else 0.0
        # From each pixel of the result back to where it comes from.
        source = np.array([[1, slant, -slant * row], [0, 1, 0]])
        upright[index] = cv2.warpAffine(image, source, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return upright
