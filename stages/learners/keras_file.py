"""The Keras models on disk: without pickle, and with stable bytes."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import keras

from stages.learners.archive import check_parts, read_member, rewrite, unusable
from stages.learners.layers import WORDED

MEMBERS = r"config\.json|metadata\.json|model\.weights\.h5"
# All that Keras makes a network of ours from, by module; fixed here, never taken from the file. Safe mode is no
# boundary of its own: holes in it were found again and again, in classes that no network here has.
TRUSTED = {
    None: {"__keras_tensor__"},
    "keras": {"DTypePolicy", "Sequential"},
    "keras.initializers": {"GlorotUniform", "Ones", "Zeros"},
    "keras.layers": {
        "Activation", "Average", "BatchNormalization", "Conv2D", "Cropping2D", "Dense", "Dropout", "Flatten",
        "GlobalAveragePooling2D", "GlobalMaxPooling2D", "InputLayer", "MaxPooling2D", "Reshape", "ZeroPadding2D",
    },
    # In files of before December 2026, in which the networks of an average have their optimizers.
    "keras.optimizers": {
        "Adadelta", "Adagrad", "Adam", "Adamax", "LossScaleOptimizer", "Muon", "Nadam", "RMSprop", "SGD",
    },
    "keras.optimizers.schedules": {"CosineDecay"},
    "keras.regularizers": {"L1L2"},
    "keras.src.models.functional": {"Functional"},
}  # fmt: skip
WORDED_IN = WORDED["Activation"].__module__


def save_keras(model: keras.Model, path: Path) -> None:
    """Write `model` without the optimizer's state; equal weights and layers give equal bytes."""
    # It draws new seeds for dropout, which the file has.
    keras.utils.set_random_seed(0)
    config = model.get_config()
    # Else the networks of an average would be compiled again, with an optimizer for each.
    for layer in config["layers"]:
        layer.pop("compile_config", None)
    with keras.saving.custom_object_scope(WORDED):
        bare = type(model).from_config(config)
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
    # Keras' own layers compute the same, but for the last bit, where this project is not installed.
    config = config.replace(f'"module": "{WORDED_IN}"'.encode(), b'"module": "keras.layers"')
    return {**members, "metadata.json": json.dumps(metadata, sort_keys=True).encode(), "config.json": config}


def load_keras(path: Path) -> keras.Model:
    """Load a Keras model in safe mode, if it has only parts that are `TRUSTED`: no code in the file is run.

    Raises `UserError` for any other file.
    """
    try:
        check_parts(json.loads(read_member(path, "config.json", MEMBERS)), _check_part)
        return keras.models.load_model(path, custom_objects=WORDED, compile=False, safe_mode=True)
    # The exceptions of Keras for a file that somebody made up are not documented.
    except Exception as error:
        raise unusable(path, error) from None


def _check_part(part: dict[str, Any]) -> None:
    if not part.keys().isdisjoint(("class_name", "module", "registered_name")):
        module, name = part.get("module"), part.get("class_name")
        if name not in TRUSTED.get(module, ()) or part.get("registered_name") not in (None, name):
            raise ValueError(f"{module}.{name} is no part of a network of this project")
