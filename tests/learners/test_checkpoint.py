"""A training that is interrupted and goes on ends as if nothing had happened."""

import os
import shutil
import subprocess
import sys
from contextlib import nullcontext, suppress

import keras
import numpy as np
import pytest

from stages.learners.checkpoint import checkpoint_path, checkpointed, load_checkpoint, remove_checkpoint
from stages.learners.ensemble import train_networks
from stages.learners.models import CNN, MLP
from stages.learners.networks import build_mlp
from stages.learners.optimizers import optimizer
from stages.params.views import TrainMlpParams, load_params
from stages.paths import PREPARED
from stages.process.errors import UserError
from tests.conftest import PROJECT
from tests.learners.test_networks import section
from tests.learners.test_training import TRAINING, VALIDATION

# All that has a state: dropout's random numbers, moving statistics, an optimizer with slots and a schedule.
WITH_STATE = {
    "hidden_units": [8], "epochs": 6, "min_steps": None, "batch_size": 16, "dropout": 0.4, "batch_norm": True,
    "optimizer": {"name": "adam", "learning_rate": 0.02, "schedule": "one_cycle"},
}  # fmt: skip


TENSORFLOW = {"KERAS_BACKEND": "tensorflow", "PYTHONPATH": ""}


class KilledError(Exception):
    pass


def run(checkpoint=None, seed: int = 0, kill_after: int | None = None, **changes):
    # Nothing may depend on the state of the process that goes on.
    keras.utils.set_random_seed(seed)
    params = section("mlp", **WITH_STATE, **changes)
    network = build_mlp(params, 4, 4, 3)
    told = []

    def on_epoch(epoch: int, values: dict[str, float]) -> None:
        told.append((epoch, values))
        # Epoch by epoch: the checkpoint of this one is not written yet.
        if epoch - 1 == kill_after:
            raise KilledError

    model, history, kept = train_networks(
        "mlp", network, params, TRAINING, VALIDATION, seed=3, on_epoch=on_epoch, checkpoint=checkpoint
    )
    return model.get_weights(), history, kept, told


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="last weights", marks=pytest.mark.long),
        pytest.param({"test_time_shift": 1}, id="shifts", marks=pytest.mark.long),
        pytest.param({"weights": "best", "early_stopping_patience": 1}, id="best weights, early stopping"),
    ],
)
def test_it_ends_as_an_unbroken_one(changes, tmp_path):
    weights, history, kept, told = run(**changes)
    path = tmp_path / "folder" / "checkpoint.npz"
    with pytest.raises(KilledError):
        run(path, kill_after=1, **changes)
    resumed = run(path, seed=9, **changes)
    for a, b in zip(weights, resumed[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert resumed[1:] == (history, kept, told)
    # It stands until the caller has written the model: once more, and nothing is trained.
    again = run(path, seed=9, **changes)
    for a, b in zip(weights, again[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert again[1:3] == (history, kept)


def test_a_damaged_checkpoint_is_said_and_not_used(tmp_path, capsys):
    _, history, *_ = run()
    path = tmp_path / "checkpoint.npz"
    with pytest.raises(KilledError):
        run(path, kill_after=2)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:600] + b"\xff" * 40 + whole[640:]):
        path.write_bytes(damaged)
        assert run(path)[1] == history
        assert "damaged, and not used" in capsys.readouterr().err


@pytest.mark.faults
@pytest.mark.parametrize("step", [pytest.param(1, id="all", marks=pytest.mark.long), pytest.param(41, id="some")])
def test_a_checkpoint_with_a_bit_flipped_is_read_whole_or_not_at_all(tmp_path, step):
    path = tmp_path / "checkpoint.npz"
    with pytest.raises(KilledError):
        run(path, kill_after=2)
    whole = path.read_bytes()
    network = build_mlp(section("mlp", **WITH_STATE), 4, 4, 3)
    network.compile(optimizer=optimizer(section("mlp", **WITH_STATE).optimizer, steps=6))
    network.optimizer.build(network.trainable_variables)
    variables = [*network.variables, *network.optimizer.variables]
    before = [np.array(variable) for variable in variables]
    expected = load_checkpoint(path, network)
    loaded = [np.array(variable) for variable in variables]
    # The headers of the members, which have no checksum, are at its start and its end.
    for position in (*range(0, 200, step), *range(len(whole) - 3000, len(whole), step)):
        flipped = whole[position] ^ 1 << position % 8
        path.write_bytes(whole[:position] + bytes([flipped]) + whole[position + 1 :])
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
        found = load_checkpoint(path, network)
        assert found is None or found.history == expected.history, position
        for variable, value in zip(variables, loaded if found else before, strict=True):
            np.testing.assert_array_equal(variable, value, err_msg=str(position))


def test_what_a_kill_left_of_a_checkpoint_is_removed_by_the_next_training(tmp_path):
    left, foreign = tmp_path / "mlp-1.1-1.part", tmp_path / "notes.part"
    for path in (left, foreign):
        path.touch()
    run(tmp_path / "checkpoint.npz")
    assert not left.exists()
    assert foreign.exists()


@pytest.mark.long
def test_a_checkpoint_that_cannot_be_written_stops_no_training(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    _, history, *_ = run(tmp_path / "file" / "checkpoint.npz")
    assert history == run()[1]
    assert "cannot be written" in capsys.readouterr().err


def test_it_stays_where_the_params_were_edited_meanwhile(params_file):
    PREPARED.mkdir(parents=True)
    params = load_params(TrainMlpParams).resolved()
    text = params_file.read_text()
    for edited, stays in ((text, False), (text.replace("epochs: 10", "epochs: 11"), True)):
        ends = pytest.raises(UserError, match=r"train\.mlp was edited") if stays else nullcontext()
        with ends, checkpointed(MLP, params, {}) as path:
            path.parent.mkdir(exist_ok=True)
            path.touch()
            params_file.write_text(edited)
        assert path.exists() == stays


def test_a_training_that_differs_in_anything_has_another_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PREPARED.mkdir(parents=True)
    (PREPARED / "labels.npy").write_bytes(b"1")
    params = {"epochs": 3}
    path = checkpoint_path(MLP, params, {})
    assert checkpoint_path(MLP, params, {}) == path
    others = [
        checkpoint_path(CNN, params, {}),
        checkpoint_path(MLP, {"epochs": 4}, {}),
        checkpoint_path(MLP, params, {"runtime.processor": "GPU A"}),
        checkpoint_path(MLP, params, {"runtime.processor": "GPU B"}),
    ]
    for name, value in (("TF_NUM_INTRAOP_THREADS", "7"), ("JAX_ENABLE_X64", "1")):
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            others.append(checkpoint_path(MLP, params, {}))
    for package in ("keras", "jax"):
        with monkeypatch.context() as changed:
            other = {package: "0"}
            changed.setattr(
                "stages.learners.checkpoint.versions",
                lambda *names, other=other: {name: other.get(name, "1") for name in names},
            )
            others.append(checkpoint_path(MLP, params, {}))
    with monkeypatch.context() as changed:
        (tmp_path / "other.py").write_text("")
        changed.setattr("stages.learners.networks.__file__", str(tmp_path / "other.py"))
        others.append(checkpoint_path(MLP, params, {}))
    (PREPARED / "labels.npy").write_bytes(b"2")
    others.append(checkpoint_path(MLP, params, {}))
    assert len({path, *others}) == 1 + len(others)


CHANGES = """
from stages.learners.ensemble import train_networks
from stages.learners.checkpoint import checkpoint_path
from stages.learners.models import MLP
print(checkpoint_path(MLP, {}, {}).name)
for file in ("stages/learners/augmentation.py", "stages/learners/tensorflow_epochs.py", "train.py"):
    with open(file, "a") as edited:
        edited.write("# edited")
    print(checkpoint_path(MLP, {}, {}).name)
"""


def test_it_is_of_all_the_code_that_trains(tmp_path):
    shutil.copytree(PROJECT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / PREPARED).mkdir(parents=True)
    (tmp_path / "train.py").write_text(CHANGES)
    command, environment = (sys.executable, "-m", "train"), os.environ | TENSORFLOW
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    names = done.stdout.split()
    assert (len(names), len({*names})) == (4, 4)


def test_what_nobody_came_back_to_is_removed_in_the_end(tmp_path):
    done, fresh, outdated = (tmp_path / "folder" / name for name in ("done.npz", "fresh.npz", "outdated.npz"))
    done.parent.mkdir()
    for path in (done, fresh, outdated):
        path.touch()
    os.utime(outdated, (0, 0))
    remove_checkpoint(done)
    assert list(done.parent.iterdir()) == [fresh]
    remove_checkpoint(fresh)
    assert not fresh.parent.exists()
    remove_checkpoint(fresh)


@pytest.mark.parametrize(("error", "left"), [(UserError, False), (KeyboardInterrupt, True), (None, False)])
def test_only_a_training_that_was_interrupted_keeps_its_checkpoint(tmp_path, monkeypatch, error, left):
    monkeypatch.chdir(tmp_path)
    PREPARED.mkdir(parents=True)
    with suppress(UserError, KeyboardInterrupt), checkpointed(MLP, {}, {}) as path:
        path.parent.mkdir()
        path.touch()
        if error:
            raise error
    assert path.exists() is left
