"""Images piece by piece: those of one's own may be large, and so many that they do not fit into memory."""

import math
from collections.abc import Iterator

# Most images of a piece, and most values in it, where one step does not have more.
IMAGES, VALUES = 4096, 4096 * 32 * 32 * 3


def pieces(count: int, shape: tuple[int, ...], step: int = 1) -> Iterator[slice]:
    """Yield slices of `count` images of that `shape`, each of whole steps of so many, but for the last slice."""
    most = min(IMAGES, VALUES // math.prod(shape))
    size = step * max(1, most // step)
    for start in range(0, count, size):
        yield slice(start, start + size)
