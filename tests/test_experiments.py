"""`dvc exp` in its forms: every run lands in the main repository's store, whole and once."""

import time

from tests.project import metrics, runs


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
    assert "fewer-trees" in checked_out.run("dvc", "exp", "show", "--only-changed", "--no-pager").stdout


def test_an_experiment_in_the_workspace_carries_its_name(checked_out):
    checked_out.run("dvc", "exp", "run", "--name", "three", "--set-param", "train.random_forest.n_estimators=3")
    (run,) = runs(checked_out)["random-forest"]
    assert run.data.tags["dvc.experiment"] == "three"
    # Those that were not trained came from the files, once.
    assert [len(runs(checked_out)[name]) for name in ("mlp", "cnn")] == [1, 1]


def test_three_queued_experiments_at_once_on_a_fresh_store(checked_out):
    checked_out.run("dvc", "exp", "run", "--queue", "--set-param", "train.random_forest.n_estimators=2,3,4")
    checked_out.run("dvc", "queue", "start", "--jobs", "3")
    for _ in range(150):
        status = checked_out.run("dvc", "queue", "status").stdout
        if status.count("Success") + status.count("Failed") == 3:
            break
        time.sleep(2)
    assert status.count("Success") == 3, status
    trained = runs(checked_out)["random-forest"]
    assert {run.info.status for run in trained} == {"FINISHED"}
    assert sorted(run.data.params["n_estimators"] for run in trained) == ["2", "3", "4"]
    assert len({run.data.tags["dvc.model_md5"] for run in trained}) == 3
    assert not [run for run in trained if "dvc.restored" in run.data.tags]
    assert all("test_accuracy" in run.data.metrics for run in trained)
    names = {run.data.tags["dvc.experiment"] for run in trained}
    assert len(names) == 3
    assert names == set(checked_out.run("dvc", "exp", "list", "--names-only").stdout.split())
    # The models that all three share were restored by one of them.
    for model in ("mlp", "cnn"):
        (run,) = runs(checked_out)[model]
        assert run.info.status == "FINISHED"
        assert run.data.metrics["test_accuracy"] == metrics(checked_out)[model]["test_accuracy"]
