"""Drawing: colours, image tiles, and PNG files whose bytes depend on the data alone."""

import io
import textwrap
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

# All eyes tell blue and orange apart.
BLUE, ORANGE, GREY = "#0072b2", "#e69f00", "#d0d0d0"
# More classes than that have no number, name or panel of their own in a figure.
MOST_CLASSES = 20
# Inches from one image to the next, and the characters of a caption that fit between.
TILE, CAPTION = 0.95, 14
# Inches of the title above images, of each of its characters, and below the images.
TITLE, CHARACTER, FOOT = 0.4, 0.09, 0.1
# No figure is cropped to what is on it: that draws it twice.
plt.rcParams.update({"figure.dpi": 110, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})


def draw_tiles(
    images: Sequence[np.ndarray],
    captions: list[str],
    path: Path,
    title: str,
    columns: int,
    signed_from: int | None = None,
) -> None:
    """Draw images (height, width) or (height, width, 3) in `columns`, each under its caption, if there are any.

    They are 0 to 1, grey ones as ink on paper; those from `signed_from` on are red above 0 and blue below, each on a
    scale of its own. All of them are on one pair of axes: dozens of axes take seconds.
    """
    count, (height, width) = len(images), images.shape[1:3] if isinstance(images, np.ndarray) else images[0].shape[:2]
    columns, captions = max(1, min(columns, count)), plain(captions)
    rows = max(1, -(-count // columns))
    if any(len(caption) > CAPTION for caption in captions):
        captions = [textwrap.fill(caption, CAPTION) for caption in captions]
    lines = 1 + max((caption.count("\n") for caption in captions), default=0)
    gap, head = width / 8, lines * width / 4 if captions else width / 8
    tall = rows * TILE * (height + head) / (width + gap) + TITLE + FOOT
    figure = plt.figure(figsize=(max(columns * TILE, CHARACTER * len(title)), tall))
    axis = figure.add_axes((0, FOOT / tall, 1, 1 - (TITLE + FOOT) / tall))
    axis.axis("off")
    # Large ones are drawn smaller than they are.
    drawn = "nearest" if height <= TILE * plt.rcParams["figure.dpi"] / 2 else "antialiased"
    for index, image in enumerate(images):
        left, top = (index % columns) * (width + gap), (index // columns) * (height + head)
        extent = (left, left + width, top + head + height, top + head)
        if signed_from is not None and index >= signed_from:
            limit = np.abs(image).max() or 1
            axis.imshow(image, "seismic", vmin=-limit, vmax=limit, interpolation=drawn, extent=extent)
        else:
            axis.imshow(image, "gray_r", vmin=0, vmax=1, interpolation=drawn, extent=extent)
        if captions:
            axis.text(
                left + width / 2, top + head - width / 20, captions[index], ha="center", va="bottom", fontsize=7.5
            )
    axis.set(xlim=(-gap / 2, columns * (width + gap) - gap / 2), ylim=(rows * (height + head), 0), aspect="equal")
    if not count:
        axis.text(0.5, 0.5, "none", ha="center", va="center", transform=axis.transAxes)
    axis.set_title(title, fontsize=11)
    save(figure, path)


def short(names: Iterable[str]) -> list[str]:
    """Return the names as `plain` does, cut to what a panel's title has room for."""
    return plain(name if len(name) <= CAPTION else f"{name[: CAPTION - 1]}…" for name in names)


def plain(names: Iterable[str]) -> list[str]:
    """Return the names as Matplotlib writes them as they are: what stands between two "$" is mathematics to it."""
    return [name.replace("$", r"\$") for name in names]


def save(figure: Figure, path: Path) -> None:
    """Write the figure and close it."""
    drawn = io.BytesIO()
    with warnings.catch_warnings():
        # Of the class names of a user's own data: dozens of lines for letters that the font lacks, and for long ones.
        warnings.filterwarnings("ignore", "Glyph .* missing from font|constrained_layout not applied")
        figure.savefig(drawn, format="png")
    plt.close(figure)
    # 256 colours are enough for these figures, and make a file of a third the size: Git keeps each version.
    image = Image.open(drawn).convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
