"""A photo or drawing of one digit, as the makers of MNIST would have normalized it.

Y. LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998: "size normalized to fit in a 20x20
pixel box while preserving their aspect ratio", with grey levels "as result of the anti-aliasing", then "centered in a
28x28 image by computing the center of mass of the pixels". All of MNIST is so (measured: the larger side is 20 pixels
in each of 3,000 images, the centre of mass 14.0 ± 0.3). The digits of `digits` fill the height of 8 pixels.
"""

import cv2
import numpy as np
from PIL import Image

# The side of the box, in pixels, that a digit is fitted into, by data set.
FITTED = {"mnist": 20, "mnist-sample": 20, "digits": 8}
# Longest side that a photo is worked on with.
WORKED_ON = 800
# A stroke is at least and at most so wide, as a share of the digit's larger side.
THINNEST, THICKEST = 0.09, 0.22


def digit_steps(picture: Image.Image, dataset: str, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return what becomes of the picture, by a few words for each step; the last is uint8 of `size`, height and width.

    Light comes out even, the ground black and the ink white, whichever was the darker one. Where there is no ink the
    last is black.
    """
    colours = _opaque(picture)
    ink = _ink(colours)
    mask = _strokes(ink)
    steps = {"the picture": colours, "light evened out": _bytes(ink), "ink": _bytes(ink * mask)}
    if not mask.any():
        return {**steps, "no ink found": np.zeros(size, np.uint8)}
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    cropped = (ink * mask)[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    cropped = _written(cropped)
    fitted = _fitted(cropped, FITTED[dataset])
    return {**steps, "cropped": _bytes(cropped), "centred by mass": _centred(fitted, size)}


def drawn_digit(ink: np.ndarray, dataset: str, size: tuple[int, int]) -> np.ndarray:
    """Return the image, uint8 of `size`, of a digit drawn on a screen: no light has to be evened out, no ink found.

    `ink` is uint8 (height, width), 0 for none.
    """
    if not ink.any():
        return np.zeros(size, np.uint8)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32) / 255
    return _centred(_fitted(_written(cropped), FITTED[dataset]), size)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _opaque(picture: Image.Image) -> np.ndarray:
    """Return the picture uint8 (height, width, 3), at most `WORKED_ON` large, on a ground where it has none."""
    picture = picture.convert("RGBA" if "A" in picture.getbands() else "RGB")
    picture.thumbnail((WORKED_ON, WORKED_ON), Image.Resampling.BOX, reducing_gap=None)
    if picture.mode == "RGB":
        return np.asarray(picture)
    pixels = np.asarray(picture, np.float32)
    colours, alpha = pixels[..., :3], pixels[..., 3:] / 255
    covered = float(alpha.mean())
    mean = (colours * alpha).sum(axis=(0, 1)) / max(float(alpha.sum()), 1e-6)
    # Ink alone was drawn, or a whole sheet with some transparent rest.
    ground = mean if covered > 0.5 else np.float32(255 if mean.mean() < 128 else 0)
    return np.rint(colours * alpha + ground * (1 - alpha)).astype(np.uint8)


def _ink(colours: np.ndarray) -> np.ndarray:
    """Return how much ink each pixel has: float32 (height, width), about 0 for none to about 1."""
    values = colours.astype(np.float32) / 255
    ground = _ground(values)
    light = float(np.median(ground)) > 0.35
    # On paper light and ink multiply; on a dark ground only what the ink reflects is there.
    difference = (values - ground) / (np.maximum(ground, 0.15) if light else 1)
    strength = np.linalg.norm(difference, axis=2)
    strongest = strength >= np.quantile(strength, 0.98)
    direction = difference[strongest].mean(axis=0)
    ink = difference @ (direction / max(float(np.linalg.norm(direction)), 1e-6))
    return ink / max(float(np.quantile(ink[strongest], 0.5)), 0.02)


def _ground(values: np.ndarray) -> np.ndarray:
    """Return the smooth ground without the ink, as `values` float32 (height, width, 3).

    It is a surface of the third degree, fitted to the pixels that do not stand out from it.
    """
    height, width, _ = values.shape
    small = cv2.resize(values, (min(64, width), min(64, height)), interpolation=cv2.INTER_AREA)
    terms = _terms(*small.shape[:2])
    flat = small.reshape(-1, 3)
    kept = np.ones(len(flat), bool)
    for _ in range(8):
        weights, *_ = np.linalg.lstsq(terms[kept], flat[kept], rcond=None)
        error = np.abs(flat - terms @ weights).max(axis=1)
        kept = error <= max(1.5 * float(np.median(error)), 0.02)
    return (_terms(height, width) @ weights).reshape(values.shape).astype(np.float32)


def _terms(height: int, width: int) -> np.ndarray:
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return np.stack([x**i * y**j for i in range(4) for j in range(4 - i)], axis=-1).reshape(height * width, -1)


def _strokes(ink: np.ndarray) -> np.ndarray:
    """Return which pixels belong to the digit: bool (height, width)."""
    smooth = cv2.GaussianBlur(ink.astype(np.float32), (0, 0), 0.002 * max(ink.shape) + 0.3)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((smooth > 0.35).astype(np.uint8))
    if count < 2:
        return np.zeros(ink.shape, bool)
    areas = stats[:, cv2.CC_STAT_AREA]
    areas[0] = 0
    return np.isin(labels, np.flatnonzero(areas >= 0.05 * areas.max()))


def _written(ink: np.ndarray) -> np.ndarray:
    """Return the digit with strokes as wide as a pen's of its size."""
    return np.clip(ink, 0, 1)


def _fitted(ink: np.ndarray, side: int) -> np.ndarray:
    """Return the digit in a box of `side` pixels, its aspect kept."""
    height, width = ink.shape
    scale = side / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return cv2.resize(ink.astype(np.float32), size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _centred(ink: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the digit on black, uint8 of `size`, its centre of mass in the middle as far as it has room."""
    placed = np.zeros(size, np.float32)
    mass = max(float(ink.sum()), 1e-6)
    starts = []
    for axis in (0, 1):
        centre = float(ink.sum(axis=1 - axis) @ np.arange(ink.shape[axis])) / mass
        start = round(size[axis] / 2 - centre)
        starts.append(min(max(start, 0), size[axis] - ink.shape[axis]))
    placed[starts[0] : starts[0] + ink.shape[0], starts[1] : starts[1] + ink.shape[1]] = ink
    return _bytes(placed / max(float(placed.max()), 1e-6))
