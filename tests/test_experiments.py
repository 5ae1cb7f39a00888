"""`dvc exp` in its forms: every run lands in the main repository's store, whole and once."""

import time

import pytest
from mlflow.entities import Run

from tests.conftest import Clone
from tests.project import metrics, runs


@pytest.mark.long
def test_runs_of_a_temporary_experiment_land_in_the_main_store(checked_out):
    checked_out.run(
        "dvc", "exp", "run", "--temp", "--name", "fewer-trees",
        "--set-param", "train.random_forest.n_estimators=5", "train-random-forest",
        MLFLOW_TRACKING_URI="sqlite:///mlflow.db",
    )  # fmt: skip
    (run, *_) = runs(checked_out)["random-forest"]
    assert run.info.status == "FINISHED"
    assert run.data.tags["dvc.experiment"] == "fewer-trees"
    assert run.data.params["n_estimators"] == "5"
    assert "fewer-trees" in checked_out.run("dvc", "exp", "show", "--only-changed", "--no-pager").stdout


@pytest.mark.long
def test_a_training_in_the_workspace_carries_the_name_of_its_experiment(checked_out):
    trees = "train.random_forest.n_estimators=3"
    checked_out.run("dvc", "exp", "run", "--name", "three", "--set-param", trees, "train-random-forest")
    (run,) = runs(checked_out)["random-forest"]
    assert run.data.tags["dvc.experiment"] == "three"


@pytest.mark.long
def test_an_experiment_in_the_workspace_carries_its_name(checked_out):
    checked_out.run("dvc", "exp", "run", "--name", "three", "--set-param", "train.random_forest.n_estimators=3")
    (run,) = runs(checked_out)["random-forest"]
    assert run.data.tags["dvc.experiment"] == "three"
    # Those that were not trained came from the files, once.
    assert [len(runs(checked_out)[name]) for name in ("mlp", "cnn")] == [1, 1]


def run_three_at_once(clone: Clone, *targets: str) -> list[Run]:
    """Queue forests of 2, 3 and 4 trees, run them with three workers, and return their runs, whole and once."""
    clone.run("dvc", "exp", "run", "--queue", "--set-param", "train.random_forest.n_estimators=2,3,4", *targets)
    clone.run("dvc", "queue", "start", "--jobs", "3")
    for _ in range(150):
        status = clone.run("dvc", "queue", "status").stdout
        if status.count("Success") + status.count("Failed") == 3:
            break
        time.sleep(2)
    assert status.count("Success") == 3, status
    # On a busy machine one may be over before the store has all of its run: the next stage publishes it.
    clone.run("python", "-m", "stages.download")
    trained = runs(clone)["random-forest"]
    assert {run.info.status for run in trained} == {"FINISHED"}
    assert sorted(run.data.params["n_estimators"] for run in trained) == ["2", "3", "4"]
    assert len({run.data.tags["dvc.model_md5"] for run in trained}) == 3
    assert not [run for run in trained if "dvc.restored" in run.data.tags]
    names = {run.data.tags["dvc.experiment"] for run in trained}
    assert len(names) == 3
    assert names == set(clone.run("dvc", "exp", "list", "--names-only").stdout.split())
    return trained


@pytest.mark.long
def test_three_queued_trainings_at_once_on_a_fresh_store(without_store):
    run_three_at_once(without_store, "train-random-forest")


@pytest.mark.long
def test_three_queued_experiments_at_once_on_a_fresh_store(without_store):
    trained = run_three_at_once(without_store)
    assert all("test_accuracy" in run.data.metrics for run in trained)
    # The models that all three share were restored by one of them.
    for model in ("mlp", "cnn"):
        (run,) = runs(without_store)[model]
        assert run.info.status == "FINISHED"
        assert run.data.metrics["test_accuracy"] == metrics(without_store)[model]["test_accuracy"]
