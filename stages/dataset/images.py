"""What every model does to an image first; the logged models do the same to raw images."""

import numpy as np


def scale(images: np.ndarray) -> np.ndarray:
    """Return uint8 images 0-255 of any shape as float32 from 0 to 1."""
    return images.astype(np.float32) / np.float32(255)
