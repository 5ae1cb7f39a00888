"""A photo or drawing of one digit, as the makers of MNIST would have normalized it.

Y. LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998: "size normalized to fit in a 20x20
pixel box while preserving their aspect ratio", with grey levels "as result of the anti-aliasing", then "centered in a
28x28 image by computing the center of mass of the pixels". All of MNIST is so (measured: the larger side is 20 pixels
in each of 3,000 images, the centre of mass at 14.0 ± 0.3).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from commands.ink import even_ground, find_ink

# Longest side that a photo is worked on with.
WORKED_ON = 450
# Where the digit takes less than this share of the photo, all is done again with the part around it.
CLOSE = 0.5
# Of a smaller picture there is no part that would show more.
SMALL = 100
# Words for the last step of a picture without ink.
NO_INK = "no ink found"


@dataclass(frozen=True)
class Box:
    """The side in pixels that a digit is fitted into, and its strokes' width as a share of it: the limits."""

    side: int
    thinnest: float
    thickest: float


# Measured: in MNIST 90 % of the widths are from 0.09 to 0.20; all of `digits` fill the height of 8 pixels, with strokes
# from 0.15 to 0.30.
BOXES = {"mnist": Box(20, 0.1, 0.2), "mnist-sample": Box(20, 0.1, 0.2), "digits": Box(8, 0.16, 0.28)}


def digit_steps(picture: Image.Image, dataset: str, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return what becomes of the picture, by a few words for each step; the last is uint8 of `size`, height and width.

    Light comes out even, the ground black and the ink white, whichever was the darker one. Where there is no ink the
    last is black, and its words are `NO_INK`.
    """
    whole = _opaque(picture)
    small = _thumbnail(whole)
    part = _sheet(whole, small)
    while True:
        colours, paper = _pixels(small if part is whole else _thumbnail(part))
        ink, digit = find_ink(colours, paper)
        around = _around(digit, part.size)
        if max(around[2] - around[0], around[3] - around[1]) > CLOSE * max(part.size) or max(part.size) < SMALL:
            break
        part = part.crop(around)
    steps = {"the picture": np.asarray(small), "the part around the digit": colours, "light evened out": _bytes(ink)}
    if not digit.any():
        return {**steps, NO_INK: np.zeros(size, np.uint8)}
    near = cv2.dilate(digit.astype(np.uint8), np.ones((3, 3), np.uint8))
    cropped = _cropped(np.clip(ink, 0, 1) * near, digit)
    written = _written(cropped, BOXES[dataset])
    fitted = _fitted(written, BOXES[dataset].side)
    return {**steps, "cropped": _bytes(cropped), "strokes": _bytes(written), "fitted, centred": _centred(fitted, size)}


def drawn_digit(ink: np.ndarray, dataset: str, size: tuple[int, int]) -> np.ndarray:
    """Return the image, uint8 of `size`, of a digit drawn on a screen: no light has to be evened out, no ink found.

    `ink` is uint8 (height, width), 0 for none.
    """
    if not ink.any():
        return np.zeros(size, np.uint8)
    written = _written(_cropped(ink.astype(np.float32) / 255, ink > 0), BOXES[dataset])
    return _centred(_fitted(written, BOXES[dataset].side), size)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _opaque(picture: Image.Image) -> Image.Image:
    """Return the picture in RGB, on a ground of one colour where it is transparent."""
    if "A" not in picture.getbands():
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    small = np.asarray(_thumbnail(picture), np.float64)
    alpha = small[..., 3]
    mean = np.average(small[..., :3].reshape(-1, 3), axis=0, weights=alpha.ravel() + 1e-6)
    # Ink alone was drawn, or it is a sheet with a transparent rest.
    ground = mean if alpha.mean() > 127 else [0 if mean.mean() > 127 else 255] * 3
    below = Image.new("RGBA", picture.size, (*(int(value) for value in ground), 255))
    return Image.alpha_composite(below, picture).convert("RGB")


def _sheet(picture: Image.Image, small: Image.Image) -> Image.Image:
    """Return the picture itself, or in RGBA, where transparent is what lies around a light sheet with dark ink.

    It must be one light piece without large dents, and have something dark on it and all around it.
    """
    ground = even_ground(*_pixels(small))
    # An even dark one may be what the sheet lies on.
    if ground is not None and float(ground.mean()) > 0.5:
        return picture
    grey = cv2.GaussianBlur(np.asarray(small.convert("L")), (0, 0), 1.5)
    _, light = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(light)
    if len(stats) < 2:
        return picture
    piece = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    outlines, _ = cv2.findContours(piece.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outline = cv2.convexHull(np.concatenate(outlines))
    hull = cv2.fillConvexPoly(np.zeros_like(grey), outline, 1)
    _, sides, _ = cv2.minAreaRect(outline)
    # A bold light digit is rounder than a sheet.
    if ground is not None and cv2.contourArea(outline) < 0.95 * sides[0] * sides[1]:
        return picture
    rim = max(3, round(0.012 * max(grey.shape)))
    inside = cv2.erode(hull, np.ones((2 * rim + 1, 2 * rim + 1), np.uint8), borderValue=0) > 0
    edge = np.concatenate([piece[0], piece[-1], piece[:, 0], piece[:, -1]])
    dark = 1 - light[inside].mean() if inside.any() else 0
    if edge.mean() > 0.15 or piece.mean() < 0.2 or piece.sum() < 0.88 * hull.sum() or not 0.001 < dark < 0.3:
        return picture
    whole = picture.convert("RGBA")
    whole.putalpha(Image.fromarray(inside.astype(np.uint8) * 255).resize(picture.size))
    return whole


def _thumbnail(picture: Image.Image) -> Image.Image:
    scale = min(1, WORKED_ON / max(picture.size))
    # Not its own `thumbnail`, which would need a copy of the whole photo.
    return picture.resize([max(1, round(scale * side)) for side in picture.size], Image.Resampling.BOX, reducing_gap=2)


def _pixels(picture: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Return the picture, uint8 (height, width, 3), and where it is paper, bool (height, width)."""
    pixels = np.asarray(picture)
    paper = pixels[..., 3] > 250 if pixels.shape[2] == 4 else np.ones(pixels.shape[:2], bool)
    return pixels[..., :3], paper


def _around(digit: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the part, of a picture of `size`, with the digit and as much around it."""
    if not digit.any():
        return 0, 0, *size
    rows, columns = np.flatnonzero(digit.any(axis=1)), np.flatnonzero(digit.any(axis=0))
    side = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    left, top = (columns[0] + columns[-1]) / 2 - side, (rows[0] + rows[-1]) / 2 - side
    scale = size[0] / digit.shape[1]
    ends = min(size[0], int((left + 2 * side) * scale) + 1), min(size[1], int((top + 2 * side) * scale) + 1)
    return max(0, int(left * scale)), max(0, int(top * scale)), *ends


def _cropped(ink: np.ndarray, where: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _written(ink: np.ndarray, box: Box) -> np.ndarray:
    """Return the digit with strokes as wide as those that the models learnt from."""
    padded = np.pad(ink, max(ink.shape) // 4 + 2)
    distance = cv2.distanceTransform((padded > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    ridge = (distance > 0) & (distance >= cv2.dilate(distance, np.ones((3, 3), np.uint8)))
    if not ridge.any():
        return ink
    width = 2 * float(np.median(distance[ridge])) - 1
    wanted = np.clip(width, box.thinnest * max(ink.shape), box.thickest * max(ink.shape))
    change = round(abs(wanted - width))
    if change < 1:
        return ink
    pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (change + 1, change + 1))
    made = (cv2.dilate if wanted > width else cv2.erode)(padded, pen)
    return _cropped(made, made > 0.2) if (made > 0.2).any() else ink


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
