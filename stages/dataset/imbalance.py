"""Classes of unequal size."""

from collections.abc import Sequence

import numpy as np

# A class with less than this share of the images of another one makes accuracy hard to read.
SHARE = 0.5


def imbalance(counts: Sequence[int], names: list[str]) -> str | None:
    """Return a sentence on the largest and the smallest class by their `counts` (classes,), None for balanced data."""
    least, most = int(np.argmin(counts)), int(np.argmax(counts))
    if counts[least] >= SHARE * counts[most]:
        return None
    return (
        f"{names[most]} has {counts[most]:,} training images and {names[least]} has {counts[least]:,}; "
        "balanced accuracy counts each class alike"
    )
