"""The training images that are looked at as a whole: not all of millions, and small ones."""

import numpy as np
import pandas as pd

from stages.dataset.pieces import pieces
from stages.dataset.prepared import Split
from stages.dataset.resize import resized
from stages.dataset.scaling import scaled

# What fits into a small machine's memory with its principal components.
MOST_IMAGES = 60_000
# Pixels of the longer side. The covariance of 224x224 pixels would need 20 GB.
SIDE = 32


def sampled(training: Split, per_class: int, seed: int) -> tuple[np.ndarray, Split]:
    """Return the ascending indices of at most about `MOST_IMAGES` images, and these, shrunk to `SIDE` pixels.

    The images are float32 from 0 to 1. At least `per_class` of each class are among them, or all that there are.
    """
    labels = np.asarray(training.labels)
    if len(labels) > MOST_IMAGES:
        drawn = np.random.default_rng(seed).choice(len(labels), MOST_IMAGES, replace=False)
        first = pd.Series(labels).groupby(labels).head(per_class).index
        chosen = np.union1d(drawn, first)
    else:
        chosen = np.arange(len(labels))
    _, height, width, *channels = training.images.shape
    longer = max(height, width)
    size = tuple(max(1, round(side * SIDE / longer)) if longer > SIDE else side for side in (height, width))
    images = np.empty((len(chosen), *size, *channels), np.float32)
    for piece in pieces(len(chosen), training.images.shape[1:]):
        part = [resized(image, size, "stretch") for image in training.images[chosen[piece]]]
        images[piece] = scaled(np.stack(part))
    return chosen, Split(images, labels[chosen])
