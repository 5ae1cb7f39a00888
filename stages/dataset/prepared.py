"""The prepared arrays on disk: what `preprocess` writes and every later stage memory-maps."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from stages.paths import PREPARED
from stages.process.errors import UserError

ABOUT = "dataset.json"


@dataclass(frozen=True)
class DatasetInfo:
    """The facts that later stages know of the data.

    `dataset` is the one really used, `requested` the one of params.yaml; `deskew` tells whether the images were, and
    `resize` how pictures got their size.
    """

    requested: str
    dataset: str
    fallback: bool
    height: int
    width: int
    class_names: list[str]
    deskew: bool
    channels: int = 1
    resize: Literal["pad", "crop", "stretch"] = "pad"

    @property
    def name(self) -> str:
        return self.dataset


@dataclass(frozen=True)
class Split:
    """`images` uint8 (n, height, width), in colour (n, height, width, 3), and `labels` uint8 (n,)."""

    images: np.ndarray
    labels: np.ndarray


def save_info(folder: Path, info: DatasetInfo) -> None:
    (folder / ABOUT).write_text(json.dumps(asdict(info), indent=2) + "\n")


@contextmanager
def split_writer(folder: Path, name: str, shape: tuple[int, ...], labels: np.ndarray) -> Iterator[Callable]:
    """Write `labels` uint8 (n,) of the split `name`, and yield a function that appends images uint8 to the others.

    `shape` is that of all of them. They are written as files, not into mapped memory, where a full disk ends a process.
    """
    np.save(folder / f"{name}_labels.npy", labels)
    with open(folder / f"{name}_images.npy", "wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        yield lambda images: file.write(np.ascontiguousarray(images).tobytes())


def load_info() -> DatasetInfo:
    """Raises `UserError` where `preprocess` has not written what the data are."""
    if not PREPARED.is_dir():
        raise UserError(f"{PREPARED}: missing; the pipeline has not run here\nRun it: uv run dvc repro")
    try:
        return TypeAdapter(DatasetInfo).validate_json((PREPARED / ABOUT).read_bytes(), strict=True)
    except OSError as error:
        raise _unusable(ABOUT, error.strerror) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _unusable(ABOUT, ": ".join([*map(str, first["loc"]), first["msg"]])) from None


def load_split(name: str) -> Split:
    """Memory-map the split `name`: "train", "validation" or "test"; raise `UserError` where it cannot be one."""
    info, split = load_info(), Split(_load(f"{name}_images.npy"), _load(f"{name}_labels.npy"))
    images, labels = split.images, split.labels
    shape = (info.height, info.width, *([3] if info.channels == 3 else []))
    if images.dtype != np.uint8 or images.shape[1:] != shape:
        size = f"(n, {', '.join(map(str, shape))})"
        raise _unusable(f"{name}_images.npy", f"{images.dtype} of shape {images.shape} instead of uint8 {size}")
    if labels.dtype != np.uint8 or labels.shape != images.shape[:1] or not len(labels):
        found = f"{labels.dtype} of shape {labels.shape} for images of shape {images.shape}"
        raise _unusable(f"{name}_labels.npy", found)
    if labels.max() >= len(info.class_names):
        raise _unusable(f"{name}_labels.npy", f"label {labels.max()} is not one of 0 … {len(info.class_names) - 1}")
    return split


def _load(file: str) -> np.ndarray:
    try:
        # Not np.load, which takes other kinds of files too.
        return np.lib.format.open_memmap(PREPARED / file, mode="r")
    except OSError as error:
        raise _unusable(file, error.strerror) from None
    except Exception:
        # NumPy evaluates the header as Python code, and lets out what that raises.
        raise _unusable(file, "not a whole .npy file of numbers") from None


def _unusable(file: str, error: object) -> UserError:
    return UserError(f"{PREPARED / file}: {error}\nMake it again: dvc repro --force preprocess")
