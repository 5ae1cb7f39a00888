"""The prepared arrays on disk: what `preprocess` writes and every later stage memory-maps."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from stages.errors import UserError
from stages.paths import PREPARED

ABOUT = "dataset.json"


@dataclass(frozen=True)
class About:
    """What later stages know of the data.

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


def save_about(folder: Path, about: About) -> None:
    (folder / ABOUT).write_text(json.dumps(asdict(about), indent=2) + "\n")


def save_split(folder: Path, name: str, images: np.ndarray, labels: np.ndarray) -> None:
    np.save(folder / f"{name}_images.npy", images)
    np.save(folder / f"{name}_labels.npy", labels)


def load_about() -> About:
    try:
        return About(**json.loads((PREPARED / ABOUT).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise _unusable(error) from None


def load_split(name: str) -> Split:
    """Memory-map the split `name`: "train", "validation" or "test"."""
    try:
        return Split(
            images=np.load(PREPARED / f"{name}_images.npy", mmap_mode="r", allow_pickle=False),
            labels=np.load(PREPARED / f"{name}_labels.npy", mmap_mode="r", allow_pickle=False),
        )
    except (OSError, EOFError, ValueError) as error:
        raise _unusable(error) from None


def _unusable(error: Exception) -> UserError:
    return UserError(f"{PREPARED}: missing or damaged ({error})\nMake it again: dvc repro --force preprocess")
