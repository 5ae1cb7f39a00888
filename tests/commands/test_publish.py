"""`mnist publish` sends the checked-out state to a store, once."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest

from tests.conftest import Clone
from tests.project import MODELS, metrics
from tests.servers import mlflow_server

PUBLISH = ("mnist", "publish")


def contents(uri: str) -> dict:
    """All that the store has of each run: tags, the points of each metric, artifacts and models."""
    client = mlflow.MlflowClient(uri)
    (experiment,) = (one for one in client.search_experiments() if one.name == "digits")
    found = {}
    for run in client.search_runs([experiment.experiment_id]):
        identifier = run.info.run_id
        points = {name: len(client.get_metric_history(identifier, name)) for name in run.data.metrics}
        artifacts = sorted(file.path for file in client.list_artifacts(identifier))
        found[run.info.run_name, identifier] = (run.data, points, artifacts, len(run.outputs.model_outputs))
    return found


@contextmanager
def database(store: Path) -> Iterator[str]:
    yield f"sqlite:///{store / 'team.db'}"


@contextmanager
def server(store: Path) -> Iterator[str]:
    with mlflow_server(store) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("store", [database, pytest.param(server, marks=pytest.mark.long)])
def test_a_fresh_store_gets_each_model_once(store, without_store, tmp_path_factory):
    with store(tmp_path_factory.mktemp("store")) as uri:
        # From a folder inside, as a user may.
        done = Clone(without_store.folder / "reports").run(*PUBLISH, MLFLOW_TRACKING_URI=uri)
        assert "3 of 3 runs made or completed" in done.stdout
        first = contents(uri)
        assert sorted(name for name, _ in first) == sorted(MODELS.values())
        for (name, _), (data, points, artifacts, models) in first.items():
            values = metrics(without_store)[name.replace("-", "_")]
            assert data.metrics["test_accuracy"] == pytest.approx(values["test_accuracy"])
            assert points["test_accuracy"] == 1
            assert {"confusion_matrix.csv", "confusion_matrix.png"} <= set(artifacts)
            assert models == 1
        assert "it has everything already" in without_store.run(*PUBLISH, MLFLOW_TRACKING_URI=uri).stdout
        second = contents(uri)
    assert {key: (value[0].tags, *value[1:]) for key, value in first.items()} == {
        key: (value[0].tags, *value[1:]) for key, value in second.items()
    }
    assert not (without_store.folder / "mlflow.db").exists()


def test_a_state_that_dvc_lock_does_not_record_is_refused(without_store):
    without_store.set_params({"train.cnn.epochs": 3})
    done = without_store.run(*PUBLISH, check=False)
    assert done.returncode == 1
    assert "train-cnn: params.yaml train.cnn" in done.stdout
    assert "dvc repro" in done.stdout

    without_store.run("git", "checkout", "--quiet", "params.yaml")
    module = without_store.folder / "stages/dataset/images.py"
    module.write_text(module.read_text() + "\n# upstream of the models\n")
    done = without_store.run(*PUBLISH, check=False)
    assert done.returncode == 1
    assert "stages/dataset/images.py modified" in done.stdout

    without_store.run("git", "checkout", "--quiet", ".")
    (without_store.folder / "models/cnn.keras").unlink()
    done = without_store.run(*PUBLISH, check=False)
    assert done.returncode == 1
    assert "models/cnn.keras deleted" in done.stdout
    assert "dvc checkout" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (without_store.folder / "mlflow.db").exists()


@pytest.mark.long
def test_raw_data_that_are_gone_are_no_reason_to_refuse(without_store):
    shutil.rmtree(without_store.folder / "data/raw")
    assert without_store.run(*PUBLISH).returncode == 0


def test_a_server_that_is_away_is_an_error(checked_out):
    done = checked_out.run(*PUBLISH, check=False, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "http://127.0.0.1:9: MLflow did not take all of it" in done.stdout
    assert "Traceback" not in done.stdout
