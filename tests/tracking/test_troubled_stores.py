"""A store that is locked, full, gone or shared: nothing is lost, and nothing is there twice.

Without trainings and servers; those are in tests/faults/test_tracker.py.
"""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

from stages.fingerprints import file_md5
from stages.learners.models import MLP
from stages.process.provenance import cached
from stages.tracking import record as records
from stages.tracking.publish import publish, publish_all
from stages.tracking.store import connect
from tests.faults.test_full_disk import fill, small_disk
from tests.tracking.conftest import evaluation, published, training, write_model

pytestmark = pytest.mark.faults

PUBLISH = """
import sys
from pathlib import Path
from stages.tracking.publish import publish

publish(Path(sys.argv[1]))
"""


def check_it_is_whole_and_once() -> None:
    for _ in range(2):
        publish_all([*records.waiting(), evaluation()])
        (run,) = published("mlp")
        assert (run["status"], run["models"]) == ("FINISHED", ["READY"])
        assert [step for step, _ in run["metrics"]["val_loss"]] == [1, 2, 3, 4]
        assert run["metrics"]["test_accuracy"] == [(0, 0.9)]
        assert {"history.csv", "confusion_matrix.png"} <= set(run["artifacts"])
        assert records.waiting() == []


def test_a_store_without_a_place_for_artifacts_gets_one_whole_run_once_it_has_one(clone):
    Path("mlartifacts").write_text("in the way")
    training()
    for _ in range(2):
        with pytest.raises((OSError, mlflow.exceptions.MlflowException)):
            publish_all([*records.waiting(), evaluation()])
    Path("mlartifacts").unlink()
    check_it_is_whole_and_once()


def test_a_locked_database_gets_all_of_it_afterwards(clone, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{clone}/mlflow.db?timeout=0.1")
    training()
    with closing(sqlite3.connect("mlflow.db", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Exception, match="database is locked"):
            publish_all(records.waiting())
        connection.execute("ROLLBACK")
    check_it_is_whole_and_once()


def test_a_full_disk_of_the_store_gets_all_of_it_afterwards(clone, monkeypatch, tmp_path_factory):
    with small_disk(tmp_path_factory.mktemp("disk"), "32m") as disk:
        shutil.copy("mlflow.db", disk)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{disk}/mlflow.db")
        training()
        ballast = fill(disk, 0)
        with pytest.raises(Exception, match="disk is full"):
            publish_all(records.waiting())
        ballast.unlink()
        check_it_is_whole_and_once()


@pytest.mark.long
def test_a_store_that_is_removed_in_a_training_gets_all_of_it_once_more(clone, monkeypatch):
    record = training(status=records.RUNNING, end_time=None)
    publish(record)
    Path("mlflow.db").unlink()
    records.update(record, status=records.KILLED, reason="why", end_time=records.now())
    # This process still has the file open that is gone.
    subprocess.run((sys.executable, "-c", PUBLISH, record), check=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{clone}/mlflow.db?timeout=5")
    (run,) = published()
    assert run["status"] == "KILLED"
    assert len(run["metrics"]["val_loss"]) == 3


def test_settings_of_mlflow_lose_nothing(clone, monkeypatch):
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
    training()
    check_it_is_whole_and_once()


def test_an_evaluation_goes_to_the_run_of_the_model_that_it_was_of(clone):
    training()
    evaluation()
    # By the time that the store is back there is another model in its place; DVC keeps the first one.
    cache = cached(file_md5(MLP.file))
    cache.parent.mkdir(parents=True)
    shutil.copyfile(MLP.file, cache)
    write_model(MLP, "another")
    training()
    publish_all(records.waiting())
    first, second = published()
    assert first["metrics"]["test_accuracy"] == [(0, 0.9)]
    assert second["models"] == ["READY"]
    assert "test_accuracy" not in second["metrics"]


def test_the_artifacts_of_another_clone_in_the_same_store_stay_its_own(clone, monkeypatch, tmp_path_factory):
    owner = tmp_path_factory.mktemp("owner")
    (owner / ".dvc").mkdir()
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{owner}/mlflow.db")
        publish(training())
    monkeypatch.chdir(owner)
    client = connect().MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert Path(run.info.artifact_uri).is_relative_to(clone)
    assert Path(run.info.artifact_uri, "history.csv").exists()
