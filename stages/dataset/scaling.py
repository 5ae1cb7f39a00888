"""The way of prepared images into a model."""

import numpy as np


def scaled(images: np.ndarray) -> np.ndarray:
    """Return uint8 images 0-255 as float32 from 0 to 1."""
    return images.astype(np.float32) / np.float32(255)
