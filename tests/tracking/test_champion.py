"""The alias in MLflow's registry."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import mlflow
import numpy as np
import pytest

from stages.dataset.prepared import save_info
from stages.fingerprints import folder_md5
from stages.learners.models import CNN, MLP
from stages.paths import METRICS, PREPARED
from stages.tracking.champion import choose_champion
from stages.tracking.identity import latest_runs
from stages.tracking.publish import publish_all
from stages.tracking.store import connect
from tests.project import MODELS, client, metrics, runs
from tests.tracking.conftest import INFO, evaluation, training, values


@pytest.mark.usefixtures("loaded_tensorflow")
def test_the_champion_is_the_best_on_the_validation_images_and_predicts(reproduced):
    champion = client(reproduced).get_model_version_by_alias("digits", "champion")
    best = max(metrics(reproduced), key=lambda model: metrics(reproduced)[model]["val_accuracy"])
    (run,) = runs(reproduced)[MODELS[best]]
    assert champion.run_id == run.info.run_id
    assert champion.tags["dvc.model_md5"] == run.data.tags["dvc.model_md5"]
    mlflow.set_tracking_uri(f"sqlite:///{reproduced.folder / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model("models:/digits@champion")
    assert model.predict(np.full((2, 8, 8), 200, np.uint8)).shape == (2, 10)


def multiply(database, run_id: str, count: int) -> None:
    """Copy a run so often, with its tags and metrics: by MLflow's calls that takes minutes."""
    with closing(sqlite3.connect(database)) as connection, connection:
        for table in ("runs", "tags", "latest_metrics"):
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            shown = ", ".join("printf('%032x', {0})" if name == "run_uuid" else name for name in columns)
            for number in range(count):
                connection.execute(
                    f"INSERT INTO {table} SELECT {shown.format(number)} FROM {table} WHERE run_uuid = ?", (run_id,)
                )


@pytest.mark.long
def test_the_newest_run_is_seen_behind_a_thousand_others(clone):
    publish_all([training(), evaluation()])
    (run,) = connect().MlflowClient().search_runs(["1"])
    multiply(clone / "mlflow.db", run.info.run_id, 1100)
    METRICS.write_text(json.dumps({CNN.name: values(0.95)}))
    publish_all([training(CNN), evaluation(CNN)])
    champion = connect().MlflowClient().get_model_version_by_alias("digits", "champion")
    assert champion.tags["dvc.stage"] == "train-cnn"
    newest, _ = latest_runs()
    assert champion.run_id in newest
    assert len(newest) == 2


def test_a_model_that_misses_its_minimum_loses_the_alias_until_it_meets_it_again(clone):
    publish_all([training(), evaluation()])
    registry = connect().MlflowClient()
    assert registry.get_model_version_by_alias("digits", "champion")
    METRICS.write_text(json.dumps({MLP.name: {**values(0.9), "gate_passed": False}}))
    publish_all([evaluation()])
    (run,) = registry.search_runs(["1"])
    assert run.data.tags["gate"] == "missed"
    with pytest.raises(mlflow.exceptions.MlflowException, match="champion"):
        registry.get_model_version_by_alias("digits", "champion")
    METRICS.write_text(json.dumps({MLP.name: values(0.9)}))
    publish_all([evaluation()])
    assert registry.get_model_version_by_alias("digits", "champion").run_id == run.info.run_id


def test_a_choice_that_failed_is_made_at_the_next_try(clone, monkeypatch):
    evaluated = set()
    with monkeypatch.context() as broken:
        broken.setattr("stages.tracking.publish.choose_champion", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            publish_all([training(), evaluation()], evaluated)
    publish_all([], evaluated)
    assert connect().MlflowClient().get_model_version_by_alias("digits", "champion")
    assert not evaluated


def test_a_deleted_run_is_no_champion(clone):
    publish_all([training(), evaluation()])
    registry = connect().MlflowClient()
    copied = replace(INFO, requested="copied", dataset="copied")
    save_info(PREPARED, copied)
    publish_all([training(info=copied), evaluation(info=copied)])
    registry.delete_run(registry.get_model_version_by_alias("copied", "champion").run_id)
    choose_champion("copied", folder_md5(PREPARED))
    with pytest.raises(mlflow.exceptions.MlflowException):
        registry.get_model_version_by_alias("copied", "champion")


def test_the_same_images_under_another_name_have_a_champion_of_their_own(clone):
    publish_all([training(), evaluation()])
    registry = connect().MlflowClient()
    copied = replace(INFO, requested="copied", dataset="copied")
    save_info(PREPARED, copied)
    # The second training makes the model of the first: its run is a repeat.
    publish_all([training(info=copied), evaluation(info=copied)])
    first, copy = (registry.get_model_version_by_alias(name, "champion") for name in ("digits", "copied"))
    assert copy.tags["dvc.model_md5"] == first.tags["dvc.model_md5"]
    assert copy.tags["dvc.data_md5"] != first.tags["dvc.data_md5"]
    assert copy.run_id == first.run_id
    METRICS.write_text(json.dumps({MLP.name: {**values(0.9), "gate_passed": False}}))
    publish_all([evaluation(info=copied)])
    with pytest.raises(mlflow.exceptions.MlflowException, match="champion"):
        registry.get_model_version_by_alias("copied", "champion")


def test_the_model_of_an_experiment_takes_part_once_it_was_applied(clone, monkeypatch):
    publish_all([training(), evaluation()])
    CNN.file.write_text("better")
    METRICS.write_text(json.dumps({MLP.name: values(0.9), CNN.name: values(0.95)}))
    with monkeypatch.context() as experiment:
        experiment.setenv("DVC_EXP_NAME", "sweep-0007")
        publish_all([training(CNN), evaluation(CNN)])
    registry = connect().MlflowClient()
    assert registry.get_model_version_by_alias("digits", "champion").tags["dvc.stage"] == "train-mlp"
    # As after `dvc exp apply`: the model lies in the workspace.
    publish_all([evaluation(CNN)])
    assert registry.get_model_version_by_alias("digits", "champion").tags["dvc.stage"] == "train-cnn"
