"""What reaches MLflow, and what never does, on real stores."""

import os
import signal
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from stages.errors import UserError
from stages.tracking.store import tracking_uri
from tests.conftest import Clone
from tests.test_pipeline import client, metrics, runs

FOREST = ("python", "-m", "stages.train_random_forest")


@pytest.fixture
def prepared(checked_out: Clone) -> Clone:
    """A clone with prepared data and trained models, and an empty store."""
    return checked_out


def objects(clone: Clone) -> set[Path]:
    return set((clone.folder / ".git/objects").rglob("*"))


def test_the_diff_has_the_code_and_nothing_that_git_does_not_know_elsewhere(prepared):
    (prepared.folder / ".env").write_text("secret")
    (prepared.folder / "notes.txt").write_bytes(b"secret gr\xfc\xdfe")
    (prepared.folder / "README.md").write_bytes(b"gr\xfc\xdfe")
    (prepared.folder / "stages/new.py").write_text("x = 1\n")
    before = objects(prepared)
    prepared.run(*FOREST)
    assert objects(prepared) == before
    (run,) = runs(prepared)["random-forest"]
    assert run.info.status == "FINISHED"
    diff = Path(run.info.artifact_uri, "git.diff").read_bytes()
    assert b"stages/new.py" in diff
    assert b"gr\xfc\xdfe" in diff
    assert b"secret" not in diff
    assert "A  " not in prepared.run("git", "status", "--porcelain").stdout


def test_a_run_without_its_model_never_stands_for_it(prepared):
    # MLflow's folder for models cannot be written: the run breaks off when the model is logged.
    prepared.run(*FOREST, MLFLOW_TRACKING_URI=f"sqlite:///{prepared.folder / 'mlflow.db'}")
    experiment = client(prepared).get_experiment_by_name("digits")
    for run in runs(prepared)["random-forest"]:
        client(prepared).delete_run(run.info.run_id)
    models = Path(experiment.artifact_location) / "models"
    models.rename(models.with_name("models.away"))
    models.write_text("in the way")
    assert "did not take the run" in prepared.run(*FOREST).stdout
    (broken,) = runs(prepared)["random-forest"]
    assert "dvc.model_md5" not in broken.data.tags
    assert broken.info.status == "FAILED"
    models.unlink()
    prepared.run(*FOREST)
    whole, _ = runs(prepared)["random-forest"]
    assert "dvc.model_md5" in whole.data.tags
    assert whole.outputs.model_outputs


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_training_is_killed_and_leaves_no_model(prepared, number):
    prepared.set_params({"train.mlp.epochs": 100_000})
    model = prepared.folder / "models/mlp.keras"
    model.unlink()
    stage = subprocess.Popen(
        ("python", "-m", "stages.train_mlp"),
        cwd=prepared.folder,
        env=prepared.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A test run in the background of a shell hands down that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    # The progress bar's first news of an epoch.
    read = ""
    while "epoch 1/" not in read:
        read += stage.stdout.read(1)
        assert stage.poll() is None, read
    stage.send_signal(number)
    output = stage.communicate(timeout=60)[0]
    assert stage.returncode == 130
    assert "Traceback" not in output
    (run,) = runs(prepared)["mlp"]
    assert run.info.status == "KILLED"
    assert not model.exists()
    assert not list(model.parent.glob("*.part"))


def test_a_deleted_experiment_is_said_with_the_way_back(prepared):
    prepared.run(*FOREST)
    identifier = client(prepared).get_experiment_by_name("digits").experiment_id
    client(prepared).delete_experiment(identifier)
    assert f"mlflow experiments restore -x {identifier}" in prepared.run(*FOREST).stdout


def test_credentials_are_never_shown(prepared):
    uri = "http://user:s3cret@127.0.0.1:9"
    for command, code in ((FOREST, 0), (("mnist", "ui"), 1)):
        done = prepared.run(*command, check=False, MLFLOW_TRACKING_URI=uri)
        assert done.returncode == code
        assert "127.0.0.1:9" in done.stdout
        assert "s3cret" not in done.stdout


def test_runs_of_a_temporary_experiment_land_in_the_main_store(checked_out):
    checked_out.run(
        "dvc", "exp", "run", "--temp", "--name", "fewer-trees",
        "--set-param", "train.random_forest.n_estimators=5",
        MLFLOW_TRACKING_URI="sqlite:///mlflow.db",
    )  # fmt: skip
    (run, *_) = runs(checked_out)["random-forest"]
    assert run.info.status == "FINISHED"
    assert run.data.tags["dvc.experiment"] == "fewer-trees"
    assert run.data.params["n_estimators"] == "5"
    assert "fewer-trees" in checked_out.run("dvc", "exp", "show", "--no-pager").stdout


@pytest.mark.parametrize("uri", ["ftp://host", "http://[", "./mlruns", "file:///tmp/mlruns", "sqlit:///a.db"])
def test_a_uri_that_cannot_be_is_refused(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI="):
        tracking_uri()


def test_without_a_setting_the_store_lies_in_the_repository(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / ".dvc").mkdir()
    inside = tmp_path / "reports"
    inside.mkdir()
    monkeypatch.chdir(inside)
    assert tracking_uri() == f"sqlite:///{os.path.realpath(tmp_path)}/mlflow.db"


def test_with_the_best_weights_the_latest_values_are_the_models(prepared):
    prepared.set_params({"train.mlp.weights": "best", "train.mlp.optimizer.learning_rate": 0.5})
    prepared.run("dvc", "repro")
    (run,) = runs(prepared)["mlp"]
    history = pd.read_csv(prepared.folder / "reports/mlp/history.csv")
    best = history["val_loss"].idxmin()
    assert run.data.tags["weights_of_epoch"] == str(best + 1)
    assert run.data.metrics["val_accuracy"] == pytest.approx(history["val_accuracy"][best])
    assert run.data.metrics["val_accuracy"] == pytest.approx(metrics(prepared)["mlp"]["val_accuracy"])
