"""A data set that is a folder of arrays: four IDX files, as MNIST's, or `train_images.npy` and so on."""

import gzip
import math
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.dataset.idx import UNSIGNED_BYTE
from stages.dataset.resize import resized
from stages.process.errors import UserError

CLASSES = "classes.txt"
# How the file names of a split begin or end, in each format.
SPLITS = {"train": ("train",), "test": ("test", "t10k")}
IDX_IMAGES, IDX_LABELS = "-images-idx3-ubyte", "-labels-idx1-ubyte"


@dataclass(frozen=True)
class Arrays:
    """`raw` uint8 (n, height, width) or (n, height, width, 3) and `labels` of one split; indexed, resized images."""

    raw: np.ndarray
    labels: np.ndarray
    size: tuple[int, int]
    how: str

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.raw), *self.size, *self.raw.shape[3:])

    def __getitem__(self, chosen: Iterable[int]) -> np.ndarray:
        images = np.asarray(self.raw[chosen])
        if images.shape[1:3] == self.size:
            return images
        return np.stack([resized(each, self.size, self.how) for each in images])


def find_arrays(folder: Path, split: str) -> tuple[Path, Path] | None:
    """Return the files of images and labels of `split`, "train" or "test"; None where there are none.

    Raises `UserError` for images without labels, and for IDX files of several data sets.

    IDX files may have a word before their name (`emnist-letters-train-images-idx3-ubyte.gz`), and be compressed or not.
    """
    for word in SPLITS[split]:
        pairs = [(folder / f"{word}_images.npy", folder / f"{word}_labels.npy")]
        found = sorted(path for path in folder.glob(f"*{word}{IDX_IMAGES}*") if not path.name.startswith("."))
        if len({images.name.removesuffix(".gz") for images in found}) > 1:
            raise UserError(
                f"{found[0]}: is one of {len(found)} files of images for the same split\n"
                "Leave those of one data set there."
            )
        for images in found:
            labels = images.with_name(images.name.removesuffix(".gz").replace(IDX_IMAGES, IDX_LABELS))
            # Either of the two may be compressed.
            packed = labels.with_name(f"{labels.name}.gz")
            pairs.append((images, packed if packed.exists() else labels))
        for images, labels in pairs:
            for there, missing, what in ((images, labels, "labels"), (labels, images, "images")):
                if there.exists() and not missing.exists():
                    raise UserError(f"{missing}: is missing, the {what} of {there.name}\nPut it there.")
            if images.exists():
                return images, labels
    return None


def read_array(path: Path) -> np.ndarray:
    """Return the values of a .npy or IDX file, memory-mapped where it is not compressed; raises `UserError`."""
    try:
        if path.suffix == ".npy":
            return np.lib.format.open_memmap(path, mode="r")
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
            magic = stream.read(4)
            if len(magic) < 4 or magic[:3] != bytes((0, 0, UNSIGNED_BYTE)) or not 1 <= magic[3] <= 4:
                raise ValueError(f"magic number 0x{magic.hex()} instead of that of an IDX file of unsigned bytes")
            header = stream.read(4 * magic[3])
            if len(header) < 4 * magic[3]:
                raise ValueError("the header is cut short")
            shape = struct.unpack(f">{magic[3]}I", header)
            if path.suffix != ".gz":
                if path.stat().st_size != 4 + len(header) + math.prod(shape):
                    raise ValueError(f"not the {math.prod(shape):,} values of its shape {shape}")
                return np.memmap(path, np.uint8, "r", offset=4 + len(header), shape=shape)
            values = stream.read(math.prod(shape) + 1)
            if len(values) != math.prod(shape):
                raise ValueError(f"not the {math.prod(shape):,} values of its shape {shape}")
            return np.frombuffer(values, np.uint8).reshape(shape)
    except OSError as error:
        reason = error.strerror or error
    except (EOFError, ValueError, zlib.error, SyntaxError, MemoryError, OverflowError) as error:
        reason = error
    raise UserError(f"{path}: cannot be read: {reason}\nReplace it, then run dvc repro again.") from None


def read_split(images_file: Path, labels_file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 images (n, height, width) or (n, height, width, 3), and labels integers (n,); raises `UserError`."""
    images, labels = read_array(images_file), read_array(labels_file)
    fits = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    if images.dtype != np.uint8 or not fits or 0 in images.shape[1:]:
        raise UserError(
            f"{images_file}: {images.dtype} of shape {images.shape}\n"
            "It must be uint8 of shape (n, height, width), or (n, height, width, 3) for colour, sides from 1 pixel."
        )
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise UserError(
            f"{labels_file}: {labels.dtype} of shape {labels.shape} for images of shape {images.shape}\n"
            "It must have an integer for each image."
        )
    return images, np.asarray(labels)
