"""A data set that is a folder of pictures, `train/<class>/…` and, where there is one, `test/<class>/…`."""

import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from stages.dataset.resize import resized
from stages.params.views import PreprocessParams
from stages.process.errors import UserError
from stages.process.provenance import cores, leads_into_cache

if TYPE_CHECKING:
    from PIL import Image

# Of Pillow: what has no colour; a palette may have.
GREY = ("1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "I;16N")
# What file managers leave behind.
NO_PICTURES = ("thumbs.db", "desktop.ini")
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)
# More are no picture for a classifier, but an attack on the memory: 90 megapixels, as Pillow has it.
MOST_PIXELS = 89_478_485


@dataclass(frozen=True)
class Pictures:
    """`paths` and `labels` uint8 (n,) of one split; indexed, uint8 images (k, height, width) or (k, height, width, 3).

    They become images of `size`, height and width, with `channels`, 1 or 3, resized as `how` says.
    """

    paths: list[Path]
    labels: np.ndarray
    size: tuple[int, int]
    channels: int
    how: str

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.paths), *self.size, *((3,) if self.channels == 3 else ()))

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=cores())

    def __getitem__(self, chosen: Iterable[int]) -> np.ndarray:
        paths = [self.paths[index] for index in chosen]
        return np.stack([*self._pool.map(self._read, paths)])

    def _read(self, path: Path) -> np.ndarray:
        return resized(_decoded(path, self.channels), self.size, self.how)


def class_folders(folder: Path) -> list[str]:
    """Return the class names, which are the folders in `folder`, sorted; raises `UserError` unless they can be."""
    names = []
    for entry in _entries(folder):
        if not entry.is_dir():
            raise UserError(f"{entry}: is no folder\nPut each picture into the folder of its class, {folder}/<class>/.")
        names.append(entry.name)
    by_lower: dict[str, str] = {}
    for name in sorted(names):
        if name.lower() in by_lower:
            other = by_lower[name.lower()]
            raise UserError(
                f"{folder / name}: differs from {other} in upper and lower case only, which some systems take for one\n"
                "Rename or merge one of them."
            )
        by_lower[name.lower()] = name
    return sorted(names)


def find_pictures(folder: Path, names: list[str]) -> tuple[list[Path], np.ndarray]:
    """Return the paths of the pictures in `folder`, and their labels uint8 (n,), the positions of classes in `names`.

    They are ordered by file name, its numbers as numbers, and then by class. Raises `UserError` for a class without
    pictures, and for what is no file.
    """
    found = []
    for label, name in enumerate(names):
        entries = _entries(folder / name)
        for entry in entries:
            _check_inside(entry, folder.parent)
            if not entry.is_file():
                raise UserError(
                    f"{entry}: is no picture, but {'a folder' if entry.is_dir() else 'no file'}\n"
                    "Put the pictures of a class into one folder, without others in it."
                )
            found.append((_natural(entry.name), label, entry.name, entry))
        if not entries:
            raise UserError(f"{folder / name}: has no picture\nAdd some, or delete the folder of the class.")
    found.sort(key=lambda each: each[:3])
    return [path for *_, path in found], np.array([label for _, label, *_ in found], np.uint8)


def looked_at(
    paths: list[Path], params: PreprocessParams, advance: Callable[[], object]
) -> tuple[tuple[int, int], int]:
    """Return size and channels of the images that the pictures become by `params`, after a look at each one's header.

    Raises `UserError` for a file that is no picture, for one of too many pixels, and for pictures of several sizes
    where `data.size` is null.
    """
    first: tuple[Path, tuple[int, int]] | None = None
    channels = 1
    for path in paths:
        size, grey = _header(path)
        channels = channels if grey else 3
        first = first or (path, size)
        if params.size is None and size != first[1]:
            raise UserError(
                f"{path}: is {_words(size)}, and {first[0]} is {_words(first[1])}\n"
                "Set data.size in params.yaml to the height and width that all of them become."
            )
        advance()
    return (tuple(params.size) if params.size else first[1]), params.channels or channels


def _entries(folder: Path) -> list[Path]:
    _check_inside(folder, folder.parent)
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    return [folder / name for name in names if not name.startswith(".") and name.lower() not in NO_PICTURES]


def _check_inside(path: Path, folder: Path) -> None:
    """Raise `UserError` for a link that leads out of `folder`, unless it is one of DVC's own, into its cache."""
    if path.is_symlink() and not (path.resolve().is_relative_to(folder.resolve()) or leads_into_cache(path)):
        raise UserError(f"{path}: is a link that leads out of {folder}\nPut a copy in its place.")


def _natural(name: str) -> list[tuple[int, int | str]]:
    """Return a key that sorts 2.png before 10.png."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]


def _header(path: Path) -> tuple[tuple[int, int], bool]:
    """Return height and width, as one looks at the picture, and whether it is grey."""
    from PIL import Image

    try:
        with opened(path) as image:
            width, height = image.size
            # A TIFF has its size as one looks at it.
            sideways = image.format != "TIFF" and image.getexif().get(ORIENTATION) in SIDEWAYS
            grey = image.mode in GREY
    except Image.DecompressionBombError:
        raise _too_large(path) from None
    except Exception as error:
        raise _unreadable(path, error) from None
    if width * height > MOST_PIXELS:
        raise _too_large(path)
    return ((width, height) if sideways else (height, width)), grey


def _decoded(path: Path, channels: int) -> np.ndarray:
    """Return the picture upright, uint8 (height, width) or (height, width, 3); what is transparent lies on black."""
    from PIL import ImageOps

    try:
        with opened(path) as image:
            return on_black(eight_bits(ImageOps.exif_transpose(image)), channels)
    except Exception as error:
        raise _unreadable(path, error) from None


@contextmanager
def opened(source: Path | BinaryIO, formats: Sequence[str] | None = None) -> Iterator["Image.Image"]:
    """Open a picture, of one of Pillow's `formats`, without its warnings: whoever opens one counts the pixels."""
    from PIL import Image

    # Given a name, Pillow may map the file into memory, and then scrambles a TIFF that a camera has turned.
    with open(source, "rb") if isinstance(source, Path) else nullcontext(source) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(file, formats=formats) as image:
            yield image


def eight_bits(image: "Image.Image") -> "Image.Image":
    """Return the picture with 8 bits for each value; raises `ValueError` for numbers that are not of up to 16 bits."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("floating-point numbers")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image, np.int64)
    if values.min() < 0 or values.max() > 65_535:
        raise ValueError("more than 16 bits for a pixel")
    return Image.fromarray(((values * 255 + 32_767) // 65_535).astype(np.uint8))


def on_black(image: "Image.Image", channels: int) -> np.ndarray:
    """Return the pixels, uint8 (height, width) or (height, width, 3); what is transparent lies on black."""
    from PIL import Image

    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.asarray(image.convert("L" if channels == 1 else "RGB"))


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = {"UnidentifiedImageError": "no picture of a known format"}.get(type(error).__name__, str(error))
    return UserError(f"{path}: cannot be read as a picture: {reason}\nReplace or delete it, then run dvc repro again.")


def _too_large(path: Path) -> UserError:
    return UserError(
        f"{path}: has more than {MOST_PIXELS:,} pixels, too many for a picture to be opened safely\n"
        "Make it smaller, or delete it."
    )


def _words(size: tuple[int, int]) -> str:
    return f"{size[0]} pixels high and {size[1]} wide"
