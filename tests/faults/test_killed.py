"""SIGKILL while a network trains: the next `dvc repro` goes on where it was."""

import os
import re
import signal
import subprocess
import time

import pytest

from tests.conftest import Clone
from tests.test_pipeline import client, runs

pytestmark = pytest.mark.faults

REPRO = ("dvc", "repro", "train-mlp")
OUTPUTS = ("models/mlp.keras", "models/mlp_history.csv")


def kill_after_an_epoch(clone: Clone) -> None:
    repro = clone.start(*REPRO, stdout=subprocess.DEVNULL)
    while not list(clone.folder.glob(".checkpoints/mlp-*.npz")):
        assert repro.poll() is None
        time.sleep(0.02)
    # DVC and the stage, both at once.
    os.killpg(repro.pid, signal.SIGKILL)
    repro.wait()


def test_it_ends_with_the_bytes_of_an_unbroken_training(checked_out):
    checked_out.set_params({"train.mlp.epochs": 40})
    kill_after_an_epoch(checked_out)
    assert not any((checked_out.folder / name).exists() for name in OUTPUTS)

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
