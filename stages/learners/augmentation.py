"""Random changes of training images that leave their class alone."""

from types import ModuleType
from typing import Any

import cv2
import numpy as np

from stages.params.schema import Augmentation as AugmentationParams

# The elastic field is given by so many points along each side.
GRID = 4
# Black pixels around each image, which stand for all that lies beyond its edge.
MARGIN = 2
# Images that are moved at once: what lies between the steps stays in the processor's cache.
PART = 256
# OpenCV addresses pixels with 16 bits: images are stacked up to that height.
MAX_HEIGHT = 32_000

# The training has the other cores.
cv2.setNumThreads(1)


class Augmentation:
    """Moves the pixels of each image by a random affine map plus a smooth random field.

    All is one displacement of the positions (after Simard, Steinkraus & Platt, "Best Practices for Convolutional Neural
    Networks Applied to Visual Document Analysis", 2003), so that each image is interpolated once.
    """

    def __init__(self, params: AugmentationParams, height: int, width: int):
        self.params = params
        self.height, self.width = height, width
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        self.centre = np.float32([(height - 1) / 2, (width - 1) / 2])
        # Positions (2, height * width), row and column, from the centre.
        self.positions = np.stack([rows.ravel(), columns.ravel()]) - self.centre[:, None]
        self.field = _smooth_field(self.positions, height, width)

    def __call__(self, images: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Return the float32 images (n, height, width) or (n, height, width, 3), each changed in its own way.

        Beyond the edge is 0.
        """
        changed = np.empty(images.shape, np.float32)
        size = min(PART, MAX_HEIGHT // (self.height + 2 * MARGIN))
        for start in range(0, len(images), size):
            part = images[start : start + size]
            changed[start : start + size] = self._moved(part, self.sources(len(part), random))
        return changed

    def sources(self, count: int, random: Any, xp: ModuleType = np) -> Any:
        """Return where each pixel of each image comes from: float32 (count, 2, height * width), row and column.

        `random` has the methods of NumPy's generator that are used here, and gives arrays of `xp`, which may be
        `jax.numpy`.
        """
        params = self.params

        def uniform(limit: float, *shape: int) -> Any:
            return random.uniform(-limit, limit, (count, *shape)).astype(np.float32)

        angle = uniform(np.deg2rad(params.rotation))
        shear = uniform(params.shear)
        cosine, sine = xp.cos(angle), xp.sin(angle)
        maps = (
            xp.stack([xp.stack([cosine, sine], axis=1), xp.stack([shear - sine, cosine], axis=1)], axis=1)
            * xp.exp(uniform(np.log1p(params.zoom), 2))[:, :, None]
        )
        moved = maps.reshape(2 * count, 2) @ self.positions
        if params.elastic:
            weights = random.standard_normal((2 * count, len(self.field)), dtype=np.float32)
            moved += weights * np.float32(params.elastic * self.height) @ self.field
        moved = moved.reshape(count, 2, -1)
        if params.flip:
            side = random.choice(np.float32([-1, 1]), (count, 1))
            moved *= xp.stack([xp.ones_like(side), side], axis=1)
        moved += (self.centre + uniform(params.shift, 2) * np.float32([self.height, self.width]))[:, :, None]
        return moved

    def _moved(self, images: np.ndarray, sources: np.ndarray) -> np.ndarray:
        count, height, width, *channels = images.shape
        padded = np.zeros((count, height + 2 * MARGIN, width + 2 * MARGIN, *channels), np.float32)
        padded[:, MARGIN:-MARGIN, MARGIN:-MARGIN] = images
        # No position leaves the margin of its own image in the stack.
        rows = np.clip(sources[:, 0], -1, height) + MARGIN
        rows += np.arange(count, dtype=np.float32)[:, None] * padded.shape[1]
        columns = np.clip(sources[:, 1], -1, width) + MARGIN
        stack = padded.reshape(-1, *padded.shape[2:])
        stacked = cv2.remap(stack, columns.reshape(-1, width), rows.reshape(-1, width), cv2.INTER_LINEAR)
        return stacked.reshape(images.shape)


def augmentation(params: AugmentationParams, height: int, width: int) -> Augmentation | None:
    """Return what changes images of that size; None where no limit is above 0."""
    return Augmentation(params, height, width) if any(params.model_dump().values()) else None


def _smooth_field(positions: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return float32 (GRID², height * width): weighted by normal numbers, a smooth field of variance 1."""
    rows, columns = np.meshgrid(
        np.linspace(-0.5, 0.5, GRID) * (height - 1), np.linspace(-0.5, 0.5, GRID) * (width - 1), indexing="ij"
    )
    down = (positions[0] - rows.reshape(-1, 1)) / (height / GRID)
    across = (positions[1] - columns.reshape(-1, 1)) / (width / GRID)
    bumps = np.exp(-(down**2 + across**2) / 2)
    return (bumps / np.sqrt((bumps**2).sum(axis=0))).astype(np.float32)
