"""The ink on a photo of paper or of a board: light evened out, and the piece of it that is the digit."""

import cv2
import numpy as np

# What is wider than this share of the photo's shorter side is a shadow, and no stroke.
WIDEST = 0.35
# Ink is darker than this share of the strongest.
INK = 0.4
# What has less ink than this share of the largest piece is dirt.
PIECE = 0.03


def find_ink(colours: np.ndarray, paper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how much ink each pixel has, float32 (height, width), and which of them are the digit, bool.

    0 is no ink, and about 1 that of the digit.
    """
    values, ground = colours.astype(np.float32) / 255, even_ground(colours, paper)
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


def _largest(values: np.ndarray) -> np.ndarray:
    """Return the largest of three channels; NumPy's own `max` takes ten times as long for so few."""
    return np.maximum(np.maximum(values[..., 0], values[..., 1]), values[..., 2])


def _smoothed(values: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(values, (0, 0), 0.3 + 0.0015 * max(values.shape))


def _ink(values: np.ndarray, paper: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Return how far each pixel is from the `ground` in the direction of the ink: float32 (height, width)."""
    # On paper light and ink multiply; on a dark ground there is only what the ink reflects.
    difference = (values - ground) / (np.maximum(ground, 0.15) if _is_light(ground) else np.float32(1))
    difference[~paper] = 0
    strength = _largest(np.abs(_smoothed(difference)))
    direction = difference[strength >= np.quantile(strength, 0.998)].mean(axis=0)
    return difference @ (direction / max(float(np.linalg.norm(direction)), 1e-6)) / np.float32(3**0.5)


def _is_light(ground: np.ndarray) -> bool:
    # It is smooth: few pixels say as much as all.
    return float(np.median(ground[::8, ::8])) > 0.35


def even_ground(colours: np.ndarray, paper: np.ndarray) -> np.ndarray | None:
    """Return the one colour, float32 (1, 1, 3), that the ground has, as in a drawing; None where there is no such.

    A digit may fill such a picture: what its edge has most of is the ground.
    """
    values = colours.astype(np.float32) / 255
    colour = np.median(np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]]), axis=0)
    far = _largest(np.abs(values - colour))[paper]
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
