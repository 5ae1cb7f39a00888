"""The Keras models on disk: without pickle, and with stable bytes."""

import json
import re
import tempfile
import zipfile
from pathlib import Path

import keras

from stages.learners.archive import rewrite, unusable


def save_keras(model: keras.Model, path: Path) -> None:
    """Write `model` without the optimizer's state; equal weights and layers give equal bytes."""
    # A copy made from the config alone is not compiled: it has no optimizer.
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
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


def load_keras(path: Path) -> keras.Model:
    """Load a Keras model in safe mode: no code in the file is run."""
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise unusable(path, error) from None
