"""The state of a run, however its process ended, on real processes and signals."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from tests.conftest import Clone
from tests.faults.test_killed import stage_of
from tests.project import client, runs, wait_until

pytestmark = pytest.mark.faults

STAGE = ("python", "-m", "stages.train_mlp")
REPRO = ("dvc", "repro", "train-mlp")
# A stage that needs no MLflow itself, and seconds.
LIGHT = ("python", "-m", "stages.download")


@contextmanager
def training(clone: Clone, *command: str) -> Iterator[psutil.Popen]:
    """Run `command`, which trains the MLP without end, until the first epoch is over; in a session of its own."""
    clone.set_params({"train.mlp.epochs": 100_000})
    process = clone.start(*command)
    try:
        read = ""
        while "epoch 1/" not in read:
            character = process.stdout.read(1)
            assert character, read
            read += character
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def status(clone: Clone) -> str:
    (run,) = runs(clone)["mlp"]
    return run.info.status


def wait_for_the_run(clone: Clone) -> None:
    """Wait until MLflow shows the training; it is told by a process beside it."""

    def shown() -> bool:
        made = (clone.folder / "mlflow.db").exists() and client(clone).get_experiment_by_name("digits")
        return made and "mlp" in runs(clone)

    wait_until(shown, 60)


# Ctrl-C is below, and all are handled alike.
@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_training_is_killed_and_leaves_no_model(checked_out, number):
    model = checked_out.folder / "models/mlp.keras"
    model.unlink()
    with training(checked_out, *STAGE) as stage:
        stage.send_signal(number)
        output = stage.communicate(timeout=60)[0]
    assert stage.returncode == 130
    assert "Traceback" not in output
    assert status(checked_out) == "KILLED"
    assert not model.exists()
    assert not list(model.parent.glob("*.part"))


@pytest.mark.long
def test_a_killed_stage_has_its_run_closed_at_once_and_leaves_nothing_behind(checked_out):
    with training(checked_out, *STAGE) as stage:
        (courier,) = stage.children()
        stage.kill()
        courier.wait(timeout=30)
    (run,) = runs(checked_out)["mlp"]
    assert run.info.status == "KILLED"
    assert "its process ended without a word" in run.data.tags["failure"]
    assert not list((checked_out.folder / ".dvc/tmp/mlflow-outbox").iterdir())


@pytest.mark.long
def test_a_run_whose_processes_are_all_gone_is_closed_at_the_next_start(checked_out):
    with training(checked_out, *STAGE) as stage:
        wait_for_the_run(checked_out)
        # It is at work, and stays open.
        checked_out.run(*LIGHT)
        assert status(checked_out) == "RUNNING"
        os.killpg(stage.pid, signal.SIGKILL)
        stage.wait()
        assert status(checked_out) == "RUNNING"
        ended = 1000 * time.time()
        (checked_out.folder / ".dvc/tmp/stages/not-of-a-process").mkdir()
        checked_out.run(*LIGHT)
    (run,) = runs(checked_out)["mlp"]
    assert run.info.status == "KILLED"
    assert "its process ended without a word" in run.data.tags["failure"]
    assert run.info.start_time < run.info.end_time <= ended
    assert not list((checked_out.folder / ".dvc/tmp/mlflow-outbox").iterdir())
    # Its temporary folder went too.
    assert [folder.name for folder in (checked_out.folder / ".dvc/tmp/stages").iterdir()] == ["not-of-a-process"]


# Ctrl-C is below, and test_killed.py kills DVC.
@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stage_ends_with_its_dvc_and_the_next_repro_works(checked_out, number):
    with training(checked_out, *REPRO) as dvc:
        stage = stage_of(dvc, "stages.train_mlp")
        os.kill(dvc.pid, number)
        dvc.wait(timeout=30)
        stage.wait(timeout=30)
    assert status(checked_out) == "KILLED"
    checked_out.set_params({"train.mlp.epochs": 12})
    checked_out.run("dvc", "repro")
    assert "up to date" in checked_out.run("dvc", "status").stdout


@pytest.mark.long
def test_a_stage_ends_with_its_dvc_where_nobody_reads_its_output(checked_out):
    with training(checked_out, *REPRO) as dvc:
        stage = stage_of(dvc, "stages.train_mlp")
        dvc.stdout.close()
        dvc.kill()
        stage.wait(timeout=30)
    assert status(checked_out) == "KILLED"


@pytest.mark.long
def test_a_stage_whose_dvc_is_gone_before_it_has_started_does_not_train(without_store):
    without_store.set_params({"train.mlp.epochs": 100_000})
    dvc = psutil.Popen(REPRO, cwd=without_store.folder, env=without_store.environment, stdout=subprocess.DEVNULL)
    try:
        for _ in range(6000):
            stage = stage_of(dvc, "stages.train_mlp")
            if stage or dvc.poll() is not None:
                break
            time.sleep(0.01)
    finally:
        dvc.kill()
        dvc.wait()
    assert stage
    try:
        stage.wait(timeout=30)
    finally:
        if stage.is_running():
            stage.kill()
    assert not (without_store.folder / "mlflow.db").exists()


def test_ctrl_c_at_dvc_repro_ends_the_run_and_the_next_repro_works(checked_out):
    with training(checked_out, *REPRO) as dvc:
        # As a terminal does: to every process in the foreground.
        os.killpg(dvc.pid, signal.SIGINT)
        assert "Traceback" not in dvc.communicate(timeout=60)[0]
    assert status(checked_out) == "KILLED"
    assert not (checked_out.folder / "models/mlp.keras").exists()
    assert not list(checked_out.folder.glob("models/*.part"))
    checked_out.set_params({"train.mlp.epochs": 12})
    checked_out.run("dvc", "repro")
    assert "up to date" in checked_out.run("dvc", "status").stdout
