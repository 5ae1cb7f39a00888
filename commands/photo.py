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

# Longest side that a photo is worked on with.
WORKED_ON = 600
# Where the digit takes less than this share of the photo, all is done again with the part around it.
CLOSE = 0.5
# Of a smaller picture there is no part that would show more.
SMALL = 100
# What is wider than this share of the photo's shorter side is a shadow, and no stroke.
WIDEST = 0.35
# Ink is darker than this share of the strongest.
INK = 0.4
# What has less ink than this share of the largest piece is dirt.
PIECE = 0.03


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
    picture = part = _sheet(whole)
    while True:
        colours, paper = _shrunk(part)
        ink, digit = _found(colours, paper)
        around = _around(digit, part.size)
        if max(around[2] - around[0], around[3] - around[1]) > CLOSE * max(part.size) or max(part.size) < SMALL:
            break
        part = part.crop(around)
    steps = {
        "the picture": np.asarray(_thumbnail(whole)),
        "the part around the digit": colours,
        "light evened out": _bytes(ink),
    }
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


def _sheet(picture: Image.Image) -> Image.Image:
    """Return the picture in RGBA, where transparent is what lies around a light sheet with dark ink, if there is one.

    It must be one light piece without large dents, and have something dark on it and all around it.
    """
    whole = picture.convert("RGBA")
    if _even_ground(*_shrunk(whole)) is not None:
        return whole
    grey = cv2.GaussianBlur(np.asarray(_thumbnail(picture).convert("L")), (0, 0), 1.5)
    _, light = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(light)
    if len(stats) < 2:
        return whole
    piece = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    outlines, _ = cv2.findContours(piece.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    hull = cv2.fillConvexPoly(np.zeros_like(grey), cv2.convexHull(np.concatenate(outlines)), 1)
    rim = max(3, round(0.012 * max(grey.shape)))
    inside = cv2.erode(hull, np.ones((2 * rim + 1, 2 * rim + 1), np.uint8), borderValue=0) > 0
    edge = np.concatenate([piece[0], piece[-1], piece[:, 0], piece[:, -1]])
    dark = 1 - light[inside].mean() if inside.any() else 0
    if edge.mean() > 0.15 or piece.mean() < 0.2 or piece.sum() < 0.88 * hull.sum() or not 0.001 < dark < 0.3:
        return whole
    whole.putalpha(Image.fromarray(inside.astype(np.uint8) * 255).resize(picture.size))
    return whole


def _thumbnail(picture: Image.Image) -> Image.Image:
    small = picture.copy()
    small.thumbnail((WORKED_ON, WORKED_ON), Image.Resampling.BOX)
    return small


def _shrunk(picture: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Return the picture, uint8 (height, width, 3), and where it is paper, bool (height, width)."""
    pixels = np.asarray(_thumbnail(picture))
    return pixels[..., :3], pixels[..., 3] > 250


def _found(colours: np.ndarray, paper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how much ink each pixel has, float32 (height, width), and which of them are the digit, bool.

    0 is no ink, and about 1 that of the digit.
    """
    values, ground = colours.astype(np.float32) / 255, _even_ground(colours, paper)
    even = ground is not None
    if ground is None:
        ground = _ground(values, paper)
    ink = _ink(values, paper, ground)
    if not even:
        ink = _without_shadows(ink, _is_light(ground))
    smooth = _smoothed(ink)
    noise = 0 if even else 1.4826 * float(np.median(np.abs(smooth - np.median(smooth))))
    # Of the piece that is the digit, not of one that is darker.
    level = float(np.quantile(smooth, 0.999))
    for _ in range(2):
        digit = _digit(smooth > max(INK * level, 5 * noise, 0.03), smooth, not even)
        level = max(float(np.quantile(smooth[digit], 0.7)) if digit.any() else level, 0.03)
    return ink / level, digit


def _smoothed(values: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(values, (0, 0), 0.3 + 0.0015 * max(values.shape))


def _ink(values: np.ndarray, paper: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Return how far each pixel is from the `ground` in the direction of the ink: float32 (height, width)."""
    # On paper light and ink multiply; on a dark ground there is only what the ink reflects.
    difference = (values - ground) / (np.maximum(ground, 0.15) if _is_light(ground) else np.float32(1))
    difference[~paper] = 0
    strength = np.abs(_smoothed(difference)).max(axis=2)
    direction = difference[strength >= np.quantile(strength, 0.998)].mean(axis=0)
    return difference @ (direction / max(float(np.linalg.norm(direction)), 1e-6)) / np.float32(3**0.5)


def _is_light(ground: np.ndarray) -> bool:
    return float(np.median(ground)) > 0.35


def _even_ground(colours: np.ndarray, paper: np.ndarray) -> np.ndarray | None:
    """Return the one colour, float32 (1, 1, 3), that the ground has, as in a drawing; None where there is no such.

    A digit may fill such a picture: what its edge has most of is the ground.
    """
    values = colours.astype(np.float32) / 255
    colour = np.median(np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]]), axis=0)
    far = np.abs(values - colour).max(axis=2)[paper]
    # No photo, with its noise, has so many pixels of one colour, but for an overexposed one with its shades.
    if not paper.all() or np.mean(far <= 0.01) < 0.3 or np.mean((far > 0.03) & (far < 0.25)) > 0.2:
        return None
    return colour[None, None].astype(np.float32)


def _ground(values: np.ndarray, paper: np.ndarray) -> np.ndarray:
    """Return the smooth ground without the ink, as `values` float32 (height, width, 3).

    It is a surface of the third degree, fitted to the pixels that do not stand out from it.
    """
    height, width, _ = values.shape
    small = cv2.resize(values, (min(64, width), min(64, height)), interpolation=cv2.INTER_AREA)
    y, x = np.meshgrid(*(np.linspace(-1, 1, side) for side in small.shape[:2]), indexing="ij")
    terms = np.stack([x**i * y**j for i in range(4) for j in range(4 - i)], axis=-1).reshape(x.size, -1)
    flat = small.reshape(-1, 3)
    kept = cv2.resize(paper.astype(np.float32), small.shape[1::-1], interpolation=cv2.INTER_AREA).ravel() > 0.99
    of_paper = kept
    for _ in range(8):
        # By the normal equations: a tenth of the time.
        weights, *_ = np.linalg.lstsq(terms[kept].T @ terms[kept], terms[kept].T @ flat[kept], rcond=None)
        error = np.abs(flat - terms @ weights).max(axis=1)
        kept = of_paper & (error <= max(1.5 * float(np.median(error[of_paper])), 0.02))
    surface = (terms @ weights).reshape(small.shape).astype(np.float32)
    return cv2.resize(surface, (width, height), interpolation=cv2.INTER_LINEAR)


def _without_shadows(ink: np.ndarray, light: bool) -> np.ndarray:
    """Return `ink` without what is wider than a stroke: shadows, also such with sharp edges, and tables."""
    side = max(3, int(WIDEST * min(ink.shape)))
    wide = cv2.morphologyEx(_smoothed(ink), cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    above = ink - wide
    if light:
        above /= np.maximum(1 - wide, 0.2)
    return above - np.float32(np.median(above))


def _digit(mask: np.ndarray, ink: np.ndarray, photo: bool) -> np.ndarray:
    """Return the pieces of `mask` that are the digit: the one with most ink, and those that lie near it.

    In a `photo` a piece that runs along the edge, or into a corner, is none of it: the rest of a table, say.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    sums = np.bincount(labels.ravel(), np.maximum(ink, 0).ravel(), minlength=count)
    sums[0] = 0
    if not sums.any():
        return np.zeros_like(mask)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    along = np.bincount(edge, minlength=count) > 0.08 * len(edge)
    corners = np.isin(np.arange(count), labels[[0, 0, -1, -1], [0, -1, 0, -1]])
    inner = np.where(along | corners, 0, sums)
    if photo and inner.max() > 0.02 * sums.max():
        sums = inner
    main = int(sums.argmax())
    left, top, wide, high = (int(value) for value in stats[main, :4])
    reach = 0.3 * max(wide, high)
    x, y, w, h = (stats[:, column] for column in range(4))
    near = (x < left + wide + reach) & (x + w > left - reach) & (y < top + high + reach) & (y + h > top - reach)
    return np.isin(labels, np.flatnonzero(near & (sums >= PIECE * sums[main]) & (sums > 0)))


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
