"""The data sets: each is a folder of data/sets.

Those that come with the project have a `source.yaml` there, which says what they are and where they come from. All
others are the user's own: pictures or arrays.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from stages.params.yaml_file import read_yaml
from stages.process.errors import UserError

SETS = Path("data/sets")
SOURCE = "source.yaml"

TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"

FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)


@dataclass(frozen=True)
class PublishedFile:
    """A gzip-compressed IDX file as published: its length in bytes and its SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """`train_count` + `test_count` uint8 images (0-255) of `height` x `width` pixels, with labels 0 … classes-1."""

    name: str
    height: int
    width: int
    train_count: int
    test_count: int
    class_names: list[str]
    channels: int = 1
    # The published files and the public mirrors, in the order in which these are asked; both empty for a data set that
    # is not published.
    published: dict[str, PublishedFile] = field(default_factory=dict)
    mirrors: list[str] = field(default_factory=list)


DIGITS = list("0123456789")
# They come with an installed package; of the others `source.yaml` has all this.
PACKAGED = {
    "mnist-sample": Dataset("mnist-sample", 28, 28, 4_000, 1_000, DIGITS),
    "digits": Dataset("digits", 8, 8, 1_437, 360, DIGITS),
}


def dataset_names() -> list[str]:
    """Return the names of all data sets, the project's own and the user's; raises `UserError` where there is none."""
    names = sorted(path.name for path in SETS.glob("*") if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise UserError(f"{SETS}: has no data set\nGet them back with git checkout {SETS}")
    return names


def load_dataset(name: str) -> Dataset | None:
    """Return what the data set says of itself; None for one of the user's own.

    Raises `UserError` for a `source.yaml` that is not in order.
    """
    path = SETS / name / SOURCE
    if SOURCE not in os.listdir(SETS / name):
        return None
    if name in PACKAGED:
        return PACKAGED[name]
    content = read_yaml(path)
    try:
        return TypeAdapter(Dataset).validate_json(json.dumps({"name": name, **content}), strict=True)
    except (TypeError, ValidationError) as error:
        first = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else None
        reason = ": ".join([".".join(map(str, first["loc"])), first["msg"]]) if first else "must be a mapping"
        raise UserError(f"{path}: {reason}\nGet it back with git checkout {path}") from None


def images_and_labels(split: str) -> tuple[str, str]:
    """Return the file names of `split`, "train" or "test"."""
    return FILES[:2] if split == "train" else FILES[2:]
