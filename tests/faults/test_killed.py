"""SIGKILL at random points of the pipeline: the next `dvc repro` ends as if nothing had been."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import SMALL, Clone, make_clone
from tests.faults.refusal import contents
from tests.project import STAGES, client, processes_in, runs

pytestmark = pytest.mark.faults

REPRO = ("dvc", "repro", "train-mlp")
OUTPUTS = ("models/mlp.keras", "models/mlp_history.csv")
# The stages before, without which DVC cannot run one alone.
NEEDS = {
    "preprocess": ("download",),
    "explore": ("preprocess",),
    "train-mlp": ("preprocess",),
    "train-cnn": ("preprocess",),
    "train-random-forest": ("preprocess",),
    "evaluate": ("train-mlp", "train-cnn", "train-random-forest"),
}
TREES = ("data", "models", "reports", ".checkpoints")


def files(folder: Path) -> dict[str, bytes]:
    """Every file that the pipeline may have left in the folder, half-written and temporary ones included."""
    found = {f"{tree}/{name}": content for tree in TREES for name, content in contents(folder / tree).items()}
    return {**found, "dvc.lock": (folder / "dvc.lock").read_bytes()}


def stage_of(repro: psutil.Popen, module: str) -> psutil.Process | None:
    """Return the stage of that module, if it runs now."""
    for child in repro.children(recursive=True):
        try:
            if module in child.cmdline():
                return child
        except psutil.NoSuchProcess:
            continue
    return None


def kill(clone: Clone, random: random.Random, stage: str, seconds: float, **environment: str) -> bool:
    """Run `stage`, which takes `seconds`, and kill DVC, the stage or both at a random point; return whether one ran."""
    victim = random.choice(("all", "dvc", "stage"))
    module = f"stages.{stage.replace('-', '_')}"
    command = ("dvc", "repro", "--force", "--single-item", stage)
    repro = clone.start(*command, stdout=subprocess.DEVNULL, **environment)
    while repro.poll() is None:
        found = stage_of(repro, module)
        if found:
            time.sleep(random.uniform(0, seconds))
            break
        time.sleep(0.01)
    if repro.poll() is not None:
        return False
    with suppress(psutil.NoSuchProcess):
        # The stage may be over by now, and DVC keep what it has made.
        if victim == "all":
            os.killpg(repro.pid, signal.SIGKILL)
        else:
            (repro if victim == "dvc" else found).send_signal(signal.SIGKILL)
    if victim == "stage":
        repro.wait(timeout=60)
    with suppress(psutil.NoSuchProcess):
        repro.kill()
    repro.wait()
    return True


def kill_and_go_on(
    clone: Clone, undisturbed: Path, kills: dict[str, int], seconds: dict[str, float], seed: int
) -> None:
    """Kill each stage so often, then let the pipeline end, and check all that it promises."""
    chance = random.Random(seed)
    temporary = clone.folder.with_name(f"{clone.folder.name}-tmp")
    temporary.mkdir()
    for stage, times in kills.items():
        if stage in NEEDS:
            clone.run("dvc", "repro", *NEEDS[stage], TMPDIR=str(temporary))
        for _ in range(times):
            # It may be over before.
            while not kill(clone, chance, stage, seconds[stage], TMPDIR=str(temporary)):
                pass
        assert "Traceback" not in clone.run("dvc", "repro", stage, TMPDIR=str(temporary)).stdout
        if (clone.folder / ".checkpoints").exists():
            # One of those before was not killed in time, and DVC took its model: it is the next training that goes on.
            clone.run("dvc", "repro", "--force", "--single-item", stage, TMPDIR=str(temporary))
    assert "Traceback" not in clone.run("dvc", "repro", TMPDIR=str(temporary)).stdout
    assert "up to date" in clone.run("dvc", "status").stdout
    # If no stage had to run again, none could publish, or remove, the rest of the last one.
    clone.run("mnist", "publish", TMPDIR=str(temporary))

    assert processes_in(clone.folder) == []
    expected = files(undisturbed)
    found = files(clone.folder)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
    assert list(temporary.iterdir()) == []
    for folder in ("stages", "mlflow-outbox", "processes"):
        assert list((clone.folder / ".dvc/tmp" / folder).iterdir()) == []
    for name, of_name in runs(clone, clone_experiment(clone)).items():
        assert {run.info.status for run in of_name} <= {"FINISHED", "KILLED"}
        assert len([run for run in of_name if "dvc.model_md5" in run.data.tags]) == 1, name


def clone_experiment(clone: Clone) -> str:
    (name,) = (found.name for found in client(clone).search_experiments() if found.name != "Default")
    return name


def seconds_of(output: list[tuple[float, str]]) -> dict[str, float]:
    """Return how long each stage took, from lines with their times."""
    starts = [(when, match[1]) for when, line in output if (match := re.search(r"Running stage '([\w-]+)'", line))]
    ends = [when for when, _ in starts[1:]] + [output[-1][0]]
    return {stage: end - start for (start, stage), end in zip(starts, ends, strict=True)}


def run_undisturbed(clone: Clone) -> dict[str, float]:
    """Run the whole pipeline, and return how long each stage took."""
    repro = clone.start("dvc", "repro")
    output = [(time.monotonic(), line) for line in repro.stdout]
    assert repro.wait() == 0, output
    return seconds_of(output)


@pytest.mark.long
def test_a_killed_training_ends_with_the_bytes_of_an_unbroken_one(checked_out):
    checked_out.set_params({"train.mlp.epochs": 40})
    repro = checked_out.start(*REPRO, stdout=subprocess.DEVNULL)
    while not list(checked_out.folder.glob(".checkpoints/mlp-*.npz")):
        assert repro.poll() is None
        time.sleep(0.02)
    # DVC and the stage, both at once.
    os.killpg(repro.pid, signal.SIGKILL)
    repro.wait()
    assert not any((checked_out.folder / name).exists() for name in OUTPUTS)

    mistyped = checked_out.run(*REPRO, check=False, MLFLOW_TRACKING_URI="htp://mlflow:5000").stdout
    assert "MLFLOW_TRACKING_URI=htp://mlflow:5000: not a tracking server" in mistyped
    output = checked_out.run(*REPRO).stdout
    assert re.search(r"mlp: goes on after epoch \d+ of 40, where it was interrupted", output), output
    resumed = [(checked_out.folder / name).read_bytes() for name in OUTPUTS]
    assert not (checked_out.folder / ".checkpoints").exists()
    finished, killed = runs(checked_out)["mlp"]
    assert (finished.info.status, killed.info.status) == ("FINISHED", "KILLED")
    assert finished.data.tags["runtime.resumed"] == "true"
    epochs = client(checked_out).get_metric_history(finished.info.run_id, "val_accuracy")
    assert [point.step for point in epochs] == list(range(1, 41))

    assert "goes on" not in checked_out.run(*REPRO, "--force").stdout
    assert [(checked_out.folder / name).read_bytes() for name in OUTPUTS] == resumed


@pytest.mark.long
def test_a_preparation_and_a_training_that_are_killed_end_as_if_nothing_had_been(without_store, reproduced):
    # Else DVC would take the results from there.
    shutil.rmtree(without_store.folder / ".dvc/cache/runs")
    seconds = {"preprocess": 1.0, "train-cnn": 5.0}
    kill_and_go_on(without_store, reproduced.folder, dict.fromkeys(seconds, 1), seconds, seed=0)


@pytest.mark.long
def test_a_pipeline_that_is_killed_three_times_ends_as_if_nothing_had_been(tmp_path, reproduced):
    clone = make_clone(tmp_path / "killed", SMALL)
    seconds = {"preprocess": 1.0, "train-cnn": 5.0, "evaluate": 5.0}
    kill_and_go_on(clone, reproduced.folder, dict.fromkeys(seconds, 1), seconds, seed=0)


@pytest.mark.long
def test_a_pipeline_that_is_killed_forty_times_ends_as_if_nothing_had_been(tmp_path):
    undisturbed = make_clone(tmp_path / "undisturbed", SMALL)
    seconds = run_undisturbed(undisturbed)
    clone = make_clone(tmp_path / "killed", SMALL)
    kills = dict.fromkeys(STAGES, 5) | {"train-mlp": 7, "train-cnn": 7, "evaluate": 6}
    kill_and_go_on(clone, undisturbed.folder, kills, seconds, seed=1)


@pytest.mark.long
def test_the_pipeline_on_mnist_that_is_killed_six_times_ends_as_if_nothing_had_been(tmp_path):
    undisturbed = make_clone(tmp_path / "undisturbed", {})
    seconds = run_undisturbed(undisturbed)
    clone = make_clone(tmp_path / "killed", {})
    kills = {"preprocess": 1, "train-mlp": 2, "train-cnn": 2, "train-random-forest": 1}
    kill_and_go_on(clone, undisturbed.folder, kills, seconds, seed=2)
