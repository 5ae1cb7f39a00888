"""A training that was killed goes on from its last finished epoch.

Until it is done, its state lies outside of DVC's outputs, which DVC removes before it runs a stage again. A training
that differs in anything that decides on its result has another file, and so never goes on from this one.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from stages.fingerprints import file_md5, folder_md5, versions
from stages.learners.models import Model
from stages.params.views import check_unchanged
from stages.paths import PREPARED
from stages.process.console import warn
from stages.process.errors import UserError
from stages.process.locks import is_gone, process_name
from stages.process.provenance import main_repository

FOLDER = ".checkpoints"
HISTORY = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
# A checkpoint is removed when no training has come back to it for so long.
OUTDATED_SECONDS = 7 * 24 * 3600
# Environment variables that decide in which order numbers are added.
COMPUTING = ("DNNL_", "JAX_", "KERAS_", "NVIDIA_", "OMP_", "ONEDNN_", "OPENBLAS_", "TF_", "XLA_")


@dataclass
class Progress:
    """How far a training is.

    `history` has a value per epoch for each of `HISTORY`; the weights of the best epoch are there where they are kept.
    """

    history: dict[str, list[float]]
    best_weights: list[np.ndarray] | None = None

    @property
    def epochs(self) -> int:
        return len(self.history["val_loss"])

    @property
    def best(self) -> int:
        """The first epoch (from 1) with the lowest val_loss; 0 before there is one."""
        return 1 + int(np.argmin(self.history["val_loss"])) if self.epochs else 0


def checkpoint_path(model: Model, params: dict[str, Any], machine: dict[str, str]) -> Path:
    """Return the file of this training: its name is made of data, params, code, packages and `machine_tags`."""
    names = [name for name in sys.modules if name == "__main__" or name.startswith("stages.")]
    loaded = {getattr(sys.modules[name], "__file__", None) for name in names} - {None}
    identity = {
        "data": folder_md5(PREPARED),
        "params": params,
        "code": sorted(file_md5(Path(file)) for file in loaded),
        "packages": versions(*model.packages, "jax", "jaxlib"),
        "machine": machine,
        "environment": {name: value for name, value in os.environ.items() if name.startswith(COMPUTING)},
    }
    key = hashlib.md5(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return main_repository() / FOLDER / f"{model.name}-{key}.npz"


def save_checkpoint(path: Path, network: keras.Model, progress: Progress) -> None:
    """Write the network, its optimizer and `progress`, in place of an earlier checkpoint, whole or not at all.

    A training goes on without a checkpoint that cannot be written, and says so.
    """
    arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in _variables(network).items()}
    arrays |= {f"best_{number}": weights for number, weights in enumerate(progress.best_weights or [])}
    arrays |= {f"history_{name}": np.array(values) for name, values in progress.history.items()}
    part = path.with_suffix(f".{process_name()}.part")
    try:
        path.parent.mkdir(exist_ok=True)
        with open(part, "wb") as file:
            np.savez(file, **arrays)
            # Else a power cut could leave the new name without the content.
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        warn(f"{path}: the checkpoint cannot be written: {error.strerror}")


def load_checkpoint(path: Path, network: keras.Model) -> Progress | None:
    """Put the network and its optimizer, which must be built, into the state of the checkpoint.

    Return how far the training was, or None where there is no checkpoint that can be read.
    """
    for part in path.parent.glob("*.part"):
        # Of one that was killed while it wrote.
        if is_gone(part.name.split(".")[-2]):
            part.unlink(missing_ok=True)
    variables = _variables(network)
    try:
        # All of it before anything is changed: each member has its checksum.
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        if any(arrays[name].shape != tuple(variable.shape) for name, variable in variables.items()):
            raise ValueError("other shapes")
        history = {name: arrays[f"history_{name}"].tolist() for name in HISTORY}
        weights = [arrays[f"best_{number}"] for number in range(sum(name.startswith("best_") for name in arrays))]
        progress = Progress(history, weights or None)
        if {len(values) for values in history.values()} != {progress.epochs or 1}:
            raise ValueError("its history is not whole")
    except (FileNotFoundError, NotADirectoryError):
        return None
    # zipfile and NumPy raise exceptions of many kinds for damaged bytes, and advise against their own safeguards.
    except Exception:
        warn(f"{path}: damaged, and not used")
        return None
    for name, variable in variables.items():
        variable.assign(arrays[name])
    return progress


def remove_checkpoint(path: Path) -> None:
    """Remove the checkpoint of a training that is done, with those of its further networks, and outdated ones."""
    # Another training's checkpoint may be in it, or there never was one.
    with suppress(OSError):
        for file in [path, *path.parent.glob(f"{path.stem}-*")]:
            file.unlink(missing_ok=True)
        for other in path.parent.glob("*"):
            if time.time() - other.stat().st_mtime > OUTDATED_SECONDS:
                other.unlink(missing_ok=True)
        path.parent.rmdir()


@contextmanager
def checkpointed(model: Model, params: dict[str, Any], machine: dict[str, str]) -> Iterator[Path]:
    """Yield the file of this training, and remove it at the end, from which on DVC alone keeps the model.

    It goes at a `UserError` too: from there the training would only fail again. An interrupted training finds it, and
    one whose params or code were edited meanwhile, which raises `UserError`, once they are as they were.
    """
    path = checkpoint_path(model, params, machine)
    try:
        yield path
    except UserError:
        remove_checkpoint(path)
        raise
    check_unchanged()
    remove_checkpoint(path)


def _variables(network: keras.Model) -> dict[str, keras.Variable]:
    """Return all that a training changes, with the state of dropout's random numbers, which model files drop."""
    found = {f"network_{number}": each for number, each in enumerate(network.variables)}
    return found | {f"optimizer_{number}": each for number, each in enumerate(network.optimizer.variables)}
