"""The MLflow run of a training while it goes on, on real stores."""

from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import Clone
from tests.project import client, metrics, runs

FOREST = ("python", "-m", "stages.train_random_forest")


def objects(clone: Clone) -> set[Path]:
    return set((clone.folder / ".git/objects").rglob("*"))


def test_the_diff_has_the_code_and_nothing_that_git_does_not_know_elsewhere(checked_out):
    (checked_out.folder / ".env").write_text("secret")
    (checked_out.folder / "notes.txt").write_bytes(b"secret gr\xfc\xdfe")
    (checked_out.folder / "README.md").write_bytes(b"gr\xfc\xdfe")
    (checked_out.folder / "stages/new.py").write_text("x = 1\n")
    before = objects(checked_out)
    # People's settings for reading diffs must not reach the one that is kept.
    settings = checked_out.folder / ".git/test-settings"
    settings.write_text("[diff]\n noprefix = true\n external = false\n context = 0\n[color]\n ui = always\n")
    checked_out.run(*FOREST, GIT_CONFIG_GLOBAL=str(settings))
    assert objects(checked_out) == before
    (run,) = runs(checked_out)["random-forest"]
    assert run.info.status == "FINISHED"
    diff = Path(run.info.artifact_uri, "git.diff").read_bytes()
    assert b"\n+++ b/stages/new.py\n" in diff
    assert b"gr\xfc\xdfe" in diff
    assert b"secret" not in diff
    assert "A  " not in checked_out.run("git", "status", "--porcelain").stdout


@pytest.mark.long
def test_a_run_without_its_model_stands_for_it_once_it_has_it(checked_out):
    # MLflow's folder for models cannot be written: the run breaks off when the model is logged.
    checked_out.run(*FOREST, MLFLOW_TRACKING_URI=f"sqlite:///{checked_out.folder / 'mlflow.db'}")
    experiment = client(checked_out).get_experiment_by_name("digits")
    for run in runs(checked_out)["random-forest"]:
        client(checked_out).delete_run(run.info.run_id)
    models = Path(experiment.artifact_location) / "models"
    models.rename(models.with_name("models.away"))
    models.write_text("in the way")
    assert "did not take the run" in checked_out.run(*FOREST).stdout
    (broken,) = runs(checked_out)["random-forest"]
    assert "dvc.model_md5" not in broken.data.tags
    assert broken.info.status == "RUNNING"
    models.unlink()
    checked_out.run(*FOREST)
    repeat, whole = runs(checked_out)["random-forest"]
    assert whole.info.run_id == broken.info.run_id
    assert whole.info.status == "FINISHED"
    assert "dvc.model_md5" in whole.data.tags
    assert whole.outputs.model_outputs
    assert repeat.data.tags["dvc.repeat_of"] == whole.info.run_id


@pytest.mark.long
def test_with_the_best_weights_the_latest_values_are_the_models(checked_out):
    checked_out.set_params(
        {
            "train.mlp.weights": "best",
            "train.mlp.optimizer.learning_rate": 0.5,
            # Averaged over shifts the model would have other values.
            "train.mlp.test_time_shift": 0,
        }
    )
    checked_out.run("dvc", "repro")
    (run,) = runs(checked_out)["mlp"]
    history = pd.read_csv(checked_out.folder / "reports/mlp/history.csv")
    best = history["val_loss"].idxmin()
    assert run.data.tags["weights_of_epoch"] == str(best + 1)
    assert run.data.metrics["val_accuracy"] == pytest.approx(history["val_accuracy"][best])
    assert run.data.metrics["val_accuracy"] == pytest.approx(metrics(checked_out)["mlp"]["val_accuracy"])


# The interrupt comes when the model is written and noted, and the stage not over: DVC will not keep it.
LATE = """
import os, signal
from stages.dataset.prepared import load_info, load_split
from stages.learners.models import RANDOM_FOREST
from stages.params.views import TrainRandomForestParams, load_params
from stages.process.ending import exit_on_user_error
from stages.tracking.training_run import training_run

with exit_on_user_error():
    params = load_params(TrainRandomForestParams).resolved()
    with training_run(RANDOM_FOREST, params, load_info(), load_split("train")) as run:
        run.finish(1.0)
        os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.long
def test_only_a_finished_run_stands_for_a_model(checked_out):
    assert checked_out.run("python", "-c", LATE, check=False).returncode == 130
    (interrupted,) = runs(checked_out)["random-forest"]
    assert interrupted.info.status == "KILLED"
    assert "dvc.model_md5" not in interrupted.data.tags
    checked_out.run(*FOREST)
    finished, _ = runs(checked_out)["random-forest"]
    assert finished.info.status == "FINISHED"
    assert "dvc.model_md5" in finished.data.tags
