"""Files that somebody made up, where ours are read: none runs code, reads other files or fills memory.

Each is a real file of the pipeline with one thing changed, and is refused with a message of ours.
"""

import argparse
import base64
import io
import json
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import joblib
import keras
import mlflow
import numpy as np
import pytest

from commands import checkout
from stages.dataset.prepared import DatasetInfo, load_split, save_info
from stages.learners.checkpoint import load_checkpoint
from stages.learners.forest_file import load_forest, save_forest
from stages.learners.keras_file import load_keras, save_keras
from stages.learners.networks import BUILDERS, averaged, build_mlp
from stages.learners.optimizers import optimizer
from stages.params.schema import Optimizer
from stages.paths import PREPARED
from stages.process.errors import UserError
from tests.conftest import Clone
from tests.learners.test_networks import section
from tests.project import client, runs

pytestmark = pytest.mark.faults

# Every attack would leave this in the current folder.
RAN = "ran"


class Evil:
    def __reduce__(self):
        return (os.system, (f"touch {RAN}",))


@pytest.fixture(autouse=True)
def nothing_ran(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.rglob(RAN))


Members = dict[str, bytes]


def crafted(source: Path, target: Path, change: Callable[[Members], object], compression=zipfile.ZIP_STORED) -> Path:
    """Write the archive `source` to `target` with its members changed."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def lambda_layer() -> dict:
    """Keras' own config of a layer with marshalled code that leaves `RAN`."""
    layer = keras.layers.Lambda(lambda x: (__import__("os").system("touch ran") and None) or x, name="evil")
    return keras.saving.serialize_keras_object(layer)


def part(module: str | None, name: str, config: object, registered: str | None = None) -> dict:
    return {"module": module, "class_name": name, "config": config, "registered_name": registered}


def torch_module() -> dict:
    pickled = base64.b64encode(pickle.dumps(Evil())).decode()
    value = {"class_name": "__bytes__", "config": {"value": pickled}}
    return part("keras.layers", "TorchModuleWrapper", {"module": value, "name": "evil"})


KERAS_PARTS = {
    "a lambda": lambda_layer,
    "a lambda without its module": lambda: {key: lambda_layer()[key] for key in ("class_name", "config")},
    "a lambda under another name": lambda: part("keras.layers", "Dense", lambda_layer()["config"], "Lambda"),
    "a bare lambda": lambda: lambda_layer()["config"]["function"],
    "a function of os": lambda: part("os", "function", "system", "system"),
    "a class of subprocess": lambda: part("subprocess", "Popen", {"args": ["touch", RAN]}),
    "a function of builtins": lambda: part("builtins", "function", "eval", "eval"),
    "a download": lambda: part("keras.utils", "function", "get_file", "get_file"),
    "the end of safe mode": lambda: part("keras.config", "function", "enable_unsafe_deserialization"),
    "an internal of Keras": lambda: part("keras.src.utils.python_utils", "function", "func_load"),
    "a pickled torch module": torch_module,
    "a SavedModel": lambda: part("keras.layers", "TFSMLayer", {"filepath": "/", "name": "evil"}),
    "a vocabulary from a file": lambda: part("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}),
    "a vocabulary from a URL": lambda: part("keras.layers", "TextVectorization", {"vocabulary": "http://127.0.0.1:9"}),
    "a type of TensorFlow": lambda: {**part("os", "__typespec__", []), "spec_name": "system"},
    "a name that is none": lambda: part("keras.layers", ["Dense"], {}),
}


def add_layer(members: Members, layer: dict) -> None:
    """Put it where Keras builds it and calls it: into the layers of the CNN."""
    config = json.loads(members["config.json"])
    config["config"]["layers"].insert(1, layer)
    members["config.json"] = json.dumps(config).encode()


def hide_in_loss(members: Members, found: dict) -> None:
    """Put it where Keras looks although the whole is not compiled: into the network that is averaged."""
    config = json.loads(members["config.json"])
    (network,) = (layer for layer in config["config"]["layers"] if layer["class_name"] == "Sequential")
    network["compile_config"]["loss"] = found
    members["config.json"] = json.dumps(config).encode()


@pytest.mark.parametrize(("name", "place"), [("cnn.keras", add_layer), ("mlp.keras", hide_in_loss)])
@pytest.mark.parametrize("kind", KERAS_PARTS)
def test_a_keras_file_with_a_part_of_no_network_of_ours_is_refused(reproduced, tmp_path, kind, name, place):
    def change(members: Members) -> None:
        place(members, KERAS_PARTS[kind]())

    path = crafted(reproduced.folder / "models" / name, tmp_path / name, change)
    with pytest.raises(UserError, match=rf"{name}: .*(no part of a network|unhashable)"):
        load_keras(path)


def test_the_layer_with_code_would_run_it(reproduced, tmp_path):
    """The attack is one: only what refuses it stands between the file and its code."""
    path = crafted(
        reproduced.folder / "models/cnn.keras",
        tmp_path / "cnn.keras",
        lambda members: add_layer(members, lambda_layer()),
    )
    keras.models.load_model(path, compile=False, safe_mode=False)
    (tmp_path / RAN).unlink()


def compressed_bomb(members: Members) -> None:
    members["config.json"] = b" " * 100_000_000 + members["config.json"]


def nested_bomb(members: Members) -> None:
    members["config.json"] = b"[" * 1_000_000


def pickled_weights(members: Members) -> None:
    file = io.BytesIO()
    np.savez(file, np.array([Evil()], dtype=object), allow_pickle=True)
    del members["model.weights.h5"]
    members["model.weights.npz"] = file.getvalue()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda members: members.update({"assets/../../ran": b""}), "is no part of it"),
        (lambda members: members.update({"/tmp/evil/ran": b""}), "is no part of it"),
        (pickled_weights, "is no part of it"),
        (compressed_bomb, "times as large"),
        (nested_bomb, "recursion"),
        (lambda members: members.pop("config.json"), "config.json"),
    ],
)
def test_a_keras_archive_with_other_members_is_refused(reproduced, tmp_path, change, reason):
    path = crafted(reproduced.folder / "models/cnn.keras", tmp_path / "cnn.keras", change, zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match=rf"cnn\.keras: .*{reason}"):
        load_keras(path)


def test_a_second_config_in_the_archive_is_refused(reproduced, tmp_path):
    path = tmp_path / "cnn.keras"
    shutil.copyfile(reproduced.folder / "models/cnn.keras", path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("config.json", archive.read("config.json"))
    with pytest.raises(UserError, match="'config.json' is no part of it"):
        load_keras(path)


def replace_weights(members: Members, replace: Callable[[h5py.Group, str, h5py.Dataset], None]) -> None:
    """Put something else in the place of the first array of weights."""
    file = io.BytesIO(members["model.weights.h5"])
    with h5py.File(file, "r+") as weights:
        arrays: list[str] = []
        weights.visititems(lambda name, found: arrays.append(name) if isinstance(found, h5py.Dataset) else None)
        group, _, name = next(each for each in arrays if weights[each].size).rpartition("/")
        old = weights[group][name]
        shape, dtype = old.shape, old.dtype
        del weights[group][name]
        replace(weights[group], name, shape, dtype)
    members["model.weights.h5"] = file.getvalue()


def external_link(group, name, shape, dtype):
    with h5py.File("secret.h5", "w") as other:
        other["array"] = np.zeros(shape, dtype)
    group[name] = h5py.ExternalLink("secret.h5", "/array")


def external_data(group, name, shape, dtype):
    size = int(np.prod(shape)) * dtype.itemsize
    Path("secret.bin").write_bytes(bytes(size))
    group.create_dataset(name, shape, dtype, external=[("secret.bin", 0, size)])


def virtual_data(group, name, shape, dtype):
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource("secret.h5", "array", shape)
    group.create_virtual_dataset(name, layout)


def shape_bomb(group, name, shape, dtype):
    group.create_dataset(name, (1 << 40,), dtype, chunks=(1 << 20,), compression="gzip")


@pytest.mark.parametrize("replace", [external_link, external_data, virtual_data, shape_bomb])
def test_weights_that_lie_elsewhere_are_refused(reproduced, tmp_path, replace):
    def change(members: Members) -> None:
        replace_weights(members, replace)

    path = crafted(reproduced.folder / "models/cnn.keras", tmp_path / "cnn.keras", change)
    # Keras' own guard, of which our message has the first line only.
    with pytest.raises(ValueError, match="Not allowed: H5"):
        keras.models.load_model(path, compile=False)
    with pytest.raises(UserError, match=r"cnn\.keras"):
        load_keras(path)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(pickle.dumps(Evil())),
        lambda path: joblib.dump(Evil(), path),
        lambda path: (
            keras.Sequential([keras.Input((2,)), keras.layers.Flatten()]).save(path.with_suffix(".h5"))
            or path.with_suffix(".h5").rename(path)
        ),
    ],
    ids=["pickle", "joblib", "hdf5"],
)
def test_a_file_of_another_kind_under_the_name_of_a_model_is_refused(tmp_path, write):
    for name, load in (("mlp.keras", load_keras), ("random_forest.skops", load_forest)):
        write(tmp_path / name)
        with pytest.raises(UserError, match=name):
            load(tmp_path / name)


def node(loader: str, name: str, **more: object) -> dict:
    module, _, kind = name.rpartition(".")
    return {"__loader__": loader, "__module__": module, "__class__": kind, "__id__": 10**9, **more}


TEXT = node("JsonNode", "builtins.str", content=f'"touch {RAN}"', is_json=True)
ARGUMENTS = node("TupleNode", "builtins.tuple", content=[TEXT])
SKOPS_PARTS = {
    "a function": node("FunctionNode", "os.system", content="os.system"),
    "a method of something": node("MethodNode", "builtins.str", content={"func": "format", "obj": TEXT}),
    "an operator": node("OperatorFuncNode", "operator.methodcaller", attrs=ARGUMENTS),
    "a partial": node(
        "PartialNode", "functools.partial", content=dict.fromkeys(("func", "args", "kwds", "namespace"), ARGUMENTS)
    ),
    "a type": node("TypeNode", "subprocess.Popen"),
    "a class that skops trusts": node("ObjectNode", "sklearn.model_selection._search.GridSearchCV", content=None),
    "an object": node("ObjectNode", "os._wrap_close", content=None),
    "a loader under a trusted name": node("FunctionNode", "builtins.str", content="os.system"),
    "a type under a trusted loader": node("TreeNode", "os.system", __reduce__={"args": ARGUMENTS}, content=None),
    "an unknown loader": node("EvalNode", "builtins.str"),
}


@pytest.mark.parametrize("kind", SKOPS_PARTS)
def test_a_forest_with_a_type_of_no_forest_of_ours_is_refused(reproduced, tmp_path, kind):
    def change(members: Members) -> None:
        schema = json.loads(members["schema.json"])
        schema["content"]["content"]["criterion"] = SKOPS_PARTS[kind]
        members["schema.json"] = json.dumps(schema).encode()

    path = crafted(reproduced.folder / "models/random_forest.skops", tmp_path / "random_forest.skops", change)
    with pytest.raises(UserError, match=r"random_forest\.skops: .*is no part of a forest"):
        load_forest(path)


def pickled_array(members: Members) -> None:
    file = io.BytesIO()
    np.save(file, np.array([Evil()], dtype=object), allow_pickle=True)
    for name in members:
        if name.endswith(".npy"):
            members[name] = file.getvalue()


def endless_array(members: Members) -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (1 << 50,)})
    for name in members:
        if name.endswith(".npy"):
            members[name] = file.getvalue()


def no_forest(members: Members) -> None:
    schema = json.loads(members["schema.json"])
    schema["__module__"], schema["__class__"] = "sklearn.tree._classes", "DecisionTreeClassifier"
    members["schema.json"] = json.dumps(schema).encode()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda members: members.update({"../ran": b""}), "is no part of it"),
        (lambda members: members.update({"schema.json": b" " * 100_000_000 + members["schema.json"]}), "as large"),
        (lambda members: members.update({"schema.json": b"[" * 1_000_000}), "recursion"),
        (pickled_array, "allow_pickle=False"),
        (endless_array, "allocate|array is too big|Maximum allowed"),
        (no_forest, "no forest of trees"),
    ],
)
def test_a_forest_with_other_members_is_refused(reproduced, tmp_path, change, reason):
    source = reproduced.folder / "models/random_forest.skops"
    path = crafted(source, tmp_path / "random_forest.skops", change, zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match=rf"random_forest\.skops: .*({reason})"):
        load_forest(path)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("left_child", 0, "lead out of it"),
        ("right_child", 10**6, "lead out of it"),
        ("right_child", -5, "lead out of it"),
        ("feature", 10**6, "features that there are not"),
        ("feature", -7, "features that there are not"),
    ],
)
def test_a_tree_that_would_read_other_memory_or_never_end_is_refused(reproduced, tmp_path, field, value, reason):
    forest, features, temperature = load_forest(reproduced.folder / "models/random_forest.skops")
    tree = forest.estimators_[-1].tree_
    state = tree.__getstate__()
    inner = np.flatnonzero(state["nodes"]["left_child"] != -1)
    state["nodes"][field][inner[-1]] = value
    tree.__setstate__(state)
    save_forest(forest, features, temperature, tmp_path / "random_forest.skops")
    with pytest.raises(UserError, match=reason):
        load_forest(tmp_path / "random_forest.skops")


def test_a_tree_without_nodes_is_refused(reproduced, tmp_path):
    forest, features, temperature = load_forest(reproduced.folder / "models/random_forest.skops")
    tree = forest.estimators_[0].tree_
    state = tree.__getstate__()
    tree.__setstate__({**state, "node_count": 0, "nodes": state["nodes"][:0], "values": state["values"][:0]})
    save_forest(forest, features, temperature, tmp_path / "random_forest.skops")
    with pytest.raises(UserError, match="a tree without nodes"):
        load_forest(tmp_path / "random_forest.skops")


@pytest.mark.parametrize("temperature", [0.0, -0.5, 1e300, float("nan"), float("inf"), "0.5", [0.5]])
def test_a_temperature_that_is_none_is_refused(reproduced, tmp_path, temperature):
    forest, features, _ = load_forest(reproduced.folder / "models/random_forest.skops")
    save_forest(forest, features, temperature, tmp_path / "random_forest.skops")
    with pytest.raises(UserError, match=r"random_forest\.skops"):
        load_forest(tmp_path / "random_forest.skops")


OPTIMIZERS = Optimizer.model_json_schema()["properties"]["name"]["enum"]


@pytest.mark.parametrize(
    ("kind", "changes", "name", "precision"),
    [
        *(("mlp", {"hidden_units": [4]}, name, "float32") for name in OPTIMIZERS),
        ("cnn", {"hidden_units": [4], "global_pooling": "average"}, "sgd", "mixed_float16"),
        ("cnn", {"hidden_units": [4], "global_pooling": "max"}, "adam", "mixed_bfloat16"),
    ],
)
def test_whatever_params_allow_is_loaded(tmp_path, kind, changes, name, precision):
    """The list of trusted parts is not too short."""
    keras.config.set_dtype_policy(precision)
    try:
        params = section(kind, batch_norm=True, dropout=0.5, l1=0.1, l2=0.1, activation="leaky_relu", **changes)
        network = BUILDERS[kind](params, 16, 16, 10)
        rate = Optimizer(name=name, learning_rate=0.1, schedule="one_cycle")
        network.compile(optimizer(rate, 10), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        save_keras(averaged([network], 1), tmp_path / "model.keras")
        load_keras(tmp_path / "model.keras")
    finally:
        keras.config.set_dtype_policy("float32")


# The forest comes last: the networks are measured first.
@pytest.mark.long
@pytest.mark.parametrize("name", ["cnn.keras", "random_forest.skops"])
def test_evaluate_refuses_a_file_with_code(checked_out, name):
    path = checked_out.folder / "models" / name
    if path.suffix == ".keras":
        crafted(path, path, lambda members: add_layer(members, lambda_layer()))
    else:
        path.write_bytes(pickle.dumps(Evil()))
    done = checked_out.run("python", "-m", "stages.evaluate", check=False)
    assert done.returncode == 1
    assert f"error: models/{name}: missing or not a model of this project" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_pickle_among_the_prepared_data_is_refused(tmp_path):
    PREPARED.mkdir(parents=True)
    save_info(PREPARED, DatasetInfo("digits", "digits", False, 8, 8, ["0"], False))
    np.save(PREPARED / "train_images.npy", np.zeros((1, 8, 8), np.uint8))
    np.save(PREPARED / "train_labels.npy", np.array([Evil()], dtype=object))
    with pytest.raises(UserError, match="train_labels.npy: not a whole .npy file of numbers"):
        load_split("train")


def test_a_python_object_in_params_is_refused(clone):
    (clone.folder / "params.yaml").write_text(f'data: !!python/object/apply:os.system ["touch {RAN}"]\n')
    done = clone.run("python", "-m", "stages.download", check=False)
    assert done.returncode == 1
    assert "error: params.yaml" in done.stdout


def test_a_checkpoint_with_a_pickle_is_not_used(tmp_path, capsys):
    network = build_mlp(section("mlp"), 8, 8, 3)
    network.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    np.savez(tmp_path / "mlp.npz", network_0=np.array([Evil()], dtype=object), allow_pickle=True)
    assert load_checkpoint(tmp_path / "mlp.npz", network) is None
    assert "mlp.npz: damaged, and not used" in capsys.readouterr().err


def logged_model(clone: Clone, name: str) -> Path:
    """Record the models of the clone, and return the folder of the logged one."""
    clone.run("mnist", "publish")
    mlflow.set_tracking_uri(f"sqlite:///{clone.folder}/mlflow.db")
    (run,) = runs(clone)[name]
    return Path(client(clone).get_logged_model(run.outputs.model_outputs[0].model_id).artifact_location)


@pytest.mark.long
def test_a_logged_model_whose_file_has_code_is_not_loaded(checked_out, monkeypatch):
    folder = logged_model(checked_out, "cnn")
    assert mlflow.pyfunc.load_model(str(folder)).predict(np.zeros((1, 8, 8), np.uint8)).shape == (1, 10)
    path = folder / "artifacts/cnn.keras"
    crafted(path, path, lambda members: add_layer(members, lambda_layer()))
    with pytest.raises(UserError, match="no part of a network"):
        mlflow.pyfunc.load_model(str(folder))

    # A setting of MLflow guards the files that MLflow itself loads; ours do not need it.
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    (folder / "python_model.pkl").write_bytes(pickle.dumps(Evil()))
    info = folder / "MLmodel"
    info.write_text(re.sub(r"model_code_path: .*", "python_model: python_model.pkl", info.read_text()))
    with pytest.raises(mlflow.MlflowException, match="pickle is disallowed"):
        mlflow.pyfunc.load_model(str(folder))


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("git.commit", f"--upload-pack=touch {RAN};"),
        ("dvc.stage", f"--cwd={RAN}"),
        ("dvc.data_md5", "../../../../etc/passwd.dir"),
        ("dvc.model_md5", "../../../../etc/passwd"),
    ],
)
def test_checkout_takes_no_options_and_no_paths_from_a_store(reproduced, tmp_path, monkeypatch, tag, value):
    shutil.copyfile(reproduced.folder / "mlflow.db", tmp_path / "mlflow.db")
    store = f"sqlite:///{tmp_path}/mlflow.db"
    (run,) = runs(reproduced)["random-forest"]
    mlflow.MlflowClient(store).set_tag(run.info.run_id, tag, value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.chdir(reproduced.folder)
    with pytest.raises(UserError, match=f"its tag {tag} was not made by this project"):
        checkout.run(argparse.Namespace(run_id=run.info.run_id, folder=tmp_path / "new"))
    assert not (reproduced.folder / RAN).exists()
    assert not (tmp_path / "new").exists()
