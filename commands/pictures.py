"""Pictures of any kind and size, as images of the data set in data/prepared."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from commands.photo import BOXES, digit_steps
from stages.dataset.pictures import GREY, MOST_PIXELS, eight_bits, on_black, opened
from stages.dataset.prepared import DatasetInfo
from stages.dataset.resize import resized
from stages.process.errors import UserError, one_line


def open_picture(source: Path | BinaryIO, name: str) -> Image.Image:
    """Return the picture upright, in mode L or RGB, or RGBA where it has transparent parts.

    Raises `UserError` with `name` for what is no picture, and for one of too many pixels, before these are decoded.
    """
    try:
        with opened(source) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            return _plain(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError:
        raise UserError(f"{name}: has more than {MOST_PIXELS:,} pixels; make it smaller") from None
    except Image.UnidentifiedImageError:
        raise UserError(f"{name}: no picture of a known format") from None
    # Pillow's decoders raise all kinds of exceptions for a broken file.
    except Exception as error:
        raise UserError(f"{name}: cannot be read as a picture: {one_line(error)}") from None


def picture_steps(
    picture: Image.Image | np.ndarray, info: DatasetInfo, *, as_is: bool = False
) -> dict[str, np.ndarray]:
    """Return what becomes of a picture, by a few words for each step; the last is the image that the models get.

    That is uint8 (height, width), in colour (height, width, 3). `picture` is one that `open_picture` returned, or a
    uint8 array of its pixels (height, width) or (height, width, 3 or 4). A photo or drawing of a digit becomes like
    those of MNIST; with `as_is`, and for all other data sets, it is resized as these were, what is transparent on
    black.
    """
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    if info.dataset in BOXES and not as_is:
        return digit_steps(picture, info.dataset, (info.height, info.width))
    pixels = on_black(picture, info.channels)
    return {"as it is": pixels, "resized": resized(pixels, (info.height, info.width), info.resize)}


def image_of(picture: Image.Image | np.ndarray, info: DatasetInfo, *, as_is: bool = False) -> np.ndarray:
    """Return the last of `picture_steps`."""
    return [*picture_steps(picture, info, as_is=as_is).values()][-1]


def _plain(image: Image.Image) -> Image.Image:
    """Return the picture with 8 bits for each value, and without a palette."""
    image = eight_bits(image)
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in GREY else "RGB")
