"""Saving and loading the three models: without pickle, and with stable bytes."""

import copy
import io
import json
import re
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.errors import UserError
from stages.learners.archive import rewrite

if TYPE_CHECKING:
    import keras
    from sklearn.ensemble import RandomForestClassifier

# What a forest holds beyond skops' own list of safe types; fixed here, never taken from the file.
TRUSTED = ["sklearn.tree._tree.Tree"]


def save_keras(model: "keras.Model", path: Path) -> None:
    """Write `model` without the optimizer's state; equal weights and layers give equal bytes."""
    # A copy made from the config alone is not compiled: it has no optimizer.
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        saved = Path(folder) / "model.keras"
        bare.save(saved)
        rewrite(saved, path, _without_traces)


def _without_traces(members: dict[str, bytes]) -> dict[str, bytes]:
    metadata = json.loads(members["metadata.json"])
    metadata.pop("date_saved", None)
    config = re.sub(rb',? *"shared_object_id": *\d+', b"", members["config.json"])
    return {
        **members,
        "metadata.json": json.dumps(metadata, sort_keys=True).encode(),
        "config.json": config,
    }


def load_keras(path: Path) -> "keras.Model":
    """Load a Keras model in safe mode: no code in the file is run."""
    import keras

    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise _unusable(path, error) from None


def save_forest(forest: "RandomForestClassifier", path: Path) -> None:
    """Write `forest`; equal trees give equal bytes."""
    import skops.io

    # How many threads trained it is no part of the model; one is fastest for a single image.
    forest = copy.copy(forest).set_params(n_jobs=None)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
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


def load_forest(path: Path) -> "RandomForestClassifier":
    """Load a forest; a file with types beyond `TRUSTED` and skops' own list is refused."""
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return skops.io.load(path, trusted=TRUSTED)
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        zipfile.BadZipFile,
        UntrustedTypesFoundException,
    ) as error:
        raise _unusable(path, error) from None


def _unusable(path: Path, error: Exception) -> UserError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return UserError(f"{path}: missing or not a model of this project ({reason})\nRun: dvc repro")
