"""The prepared arrays on disk: what `preprocess` writes and every later stage memory-maps."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from stages.paths import PREPARED
from stages.process.errors import UserError

ABOUT = "dataset.json"


@dataclass(frozen=True)
class DatasetInfo:
    """The facts that later stages know of the data.

    `dataset` is the one really used, `requested` the one of params.yaml; `deskew` tells whether the images were.
    """

    requested: str
    dataset: str
    fallback: bool
    height: int
    width: int
    class_names: list[str]
    deskew: bool


@dataclass(frozen=True)
class Split:
    """`images` float32 (n, height, width) from 0 to 1 and `labels` uint8 (n,)."""

    images: np.ndarray
    labels: np.ndarray


def save_info(folder: Path, info: DatasetInfo) -> None:
    (folder / ABOUT).write_text(json.dumps(asdict(info), indent=2) + "\n")


def save_split(folder: Path, name: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Write `images` float32 (n, height, width) and `labels` uint8 (n,) as the split `name`."""
    np.save(folder / f"{name}_images.npy", images)
    np.save(folder / f"{name}_labels.npy", labels)


def load_info() -> DatasetInfo:
    """Raises `UserError` where `preprocess` has not written what the data are."""
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
    if images.dtype != np.float32 or images.shape[1:] != (info.height, info.width):
        size = f"(n, {info.height}, {info.width})"
        raise _unusable(f"{name}_images.npy", f"{images.dtype} of shape {images.shape} instead of float32 {size}")
    if labels.dtype != np.uint8 or labels.shape != images.shape[:1] or not len(labels):
        found = f"{labels.dtype} of shape {labels.shape} for images of shape {images.shape}"
        raise _unusable(f"{name}_labels.npy", found)
    if labels.max() >= len(info.class_names):
        raise _unusable(f"{name}_labels.npy", f"label {labels.max()} is not one of 0 … {len(info.class_names) - 1}")
    low, high = images.min(), images.max()
    # Not the other way round: a comparison with NaN is never true. Deskewing may round.
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise _unusable(f"{name}_images.npy", f"values from {low} to {high} instead of 0 to 1")
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
