"""The random forest on disk: without pickle, and with stable bytes."""

import copy
import io
import re
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import skops.io
from sklearn.ensemble import RandomForestClassifier
from skops.io.exceptions import UntrustedTypesFoundException

from stages.learners.archive import rewrite, unusable
from stages.learners.features import FEATURES

# What a forest holds beyond skops' own list of safe types; fixed here, never taken from the file.
TRUSTED = ["sklearn.tree._tree.Tree"]


def save_forest(forest: RandomForestClassifier, features: str, path: Path) -> None:
    """Write `forest` and the name of the `features` that it was trained on; equal trees give equal bytes."""
    # How many threads trained it is no part of the model; one is fastest for a single image.
    forest = copy.copy(forest).set_params(n_jobs=None)
    # A forest that is loaded anywhere still tells what it takes.
    forest.image_features = features
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "forest.skops"
        skops.io.dump(forest, saved)
        # Deflated it is a sixth of the size.
        rewrite(saved, path, _renumbered, compression=zipfile.ZIP_DEFLATED)


def _renumbered(members: dict[str, bytes]) -> dict[str, bytes]:
    """Replace the memory addresses that skops uses as names by numbers in the order of appearance."""
    numbers: dict[bytes, int] = {}

    def number(match: re.Match) -> bytes:
        return match[1] + str(numbers.setdefault(match[2], len(numbers))).encode() + match[3]

    schema = re.sub(rb'("__id__": )(\d+)()', number, members["schema.json"])
    schema = re.sub(rb'("file": ")(\d+)(\.npy")', number, schema)
    renumbered = {"schema.json": schema}
    for name, content in members.items():
        stem, _, suffix = name.rpartition(".")
        if suffix == "npy":
            renumbered[f"{numbers[stem.encode()]}.npy"] = _without_padding(content)
    return renumbered


def _without_padding(npy: bytes) -> bytes:
    """Zero the bytes between the fields of a structured array: they hold whatever lay in memory."""
    array = np.load(io.BytesIO(npy), allow_pickle=False)
    if array.dtype.names is None:
        return npy
    # Not zeros_like: it fills the fields only.
    clean = np.zeros(array.shape, array.dtype)
    for name in array.dtype.names:
        clean[name] = array[name]
    file = io.BytesIO()
    np.save(file, clean)
    return file.getvalue()


def load_forest(path: Path) -> tuple[RandomForestClassifier, str]:
    """Load a forest and the name of its features, one of `FEATURES`.

    A file with types beyond `TRUSTED` and skops' own list is refused.
    """
    try:
        forest = skops.io.load(path, trusted=TRUSTED)
        if forest.image_features not in FEATURES:
            raise ValueError(f"unknown features {forest.image_features!r}")
        return forest, forest.image_features
    except (
        AttributeError,
        OSError,
        ValueError,
        TypeError,
        KeyError,
        zipfile.BadZipFile,
        UntrustedTypesFoundException,
    ) as error:
        raise unusable(path, error) from None
