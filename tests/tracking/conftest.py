"""A model and its reports in a folder, and a fresh SQLite store: what publishing needs, without a training."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.dataset.prepared import DatasetInfo, Split, save_info
from stages.learners.models import ALL_MODELS, MLP, Model
from stages.paths import COMPARISON, METRICS, PREPARED
from stages.tracking import record as records
from stages.tracking.runs import begin_record, end_record, record_from_files
from stages.tracking.store import connect
from tests.conftest import PROJECT

INFO = DatasetInfo("digits", "digits", False, 8, 8, list("0123456789"), False)
TRAINING = Split(np.zeros((20, 8, 8), np.uint8), np.arange(20, dtype=np.uint8) % 10)
# Tags in which two runs of the same training differ.
OWN = ("outbox.entry", "mlflow.log-model.history")
PARAMS = {"weights": "last", "optimizer": {"name": "adam"}}


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> Path:
    """A folder with code, params, prepared data, models and reports, which is the current one, and an empty store."""
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "DVC_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(PROJECT / "stages", "stages", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(PROJECT / "params.yaml", "params.yaml")
    shutil.copytree(PROJECT / "data/sets", "data/sets")
    shutil.copyfile(empty_store, "mlflow.db")
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\n    no_scm = true\n")
    PREPARED.mkdir(parents=True)
    save_info(PREPARED, INFO)
    np.save(PREPARED / "train_images.npy", TRAINING.images)
    np.save(PREPARED / "train_labels.npy", TRAINING.labels)
    for model in ALL_MODELS:
        write_model(model, model.name)
        write_reports(model)
    METRICS.write_text(json.dumps({model.name: values(0.9) for model in ALL_MODELS}))
    COMPARISON.write_text("{}")
    return tmp_path


def values(accuracy: float) -> dict[str, float | bool]:
    return {"test_accuracy": accuracy, "val_accuracy": accuracy, "val_loss": 0.3, "gate_passed": True}


def write_model(model: Model, content: str) -> None:
    """Write a file that MLflow takes for a model: it does not look inside."""
    model.file.parent.mkdir(exist_ok=True)
    model.file.write_text(content)
    if model.history:
        columns = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
        rows = [[epoch, 1 / epoch, 0.5, 1 / epoch, 1 - 1 / (1 + epoch)] for epoch in (1, 2, 3)]
        pd.DataFrame(rows, columns=columns).to_csv(model.history, index=False)


def write_reports(model: Model) -> None:
    model.reports.mkdir(parents=True)
    pd.DataFrame({"actual": ["1", "2"], "predicted": ["1", "1"]}).to_csv(
        model.reports / "confusion_matrix.csv", index=False
    )
    for name in ("confusion_matrix", "mistakes", "reliability"):
        Image.new("L", (4, 4), len(name)).save(model.reports / f"{name}.png")


def training(model: Model = MLP, status: str = records.FINISHED, info: DatasetInfo = INFO, **state: object) -> Path:
    """Make the record of a training that ended so."""
    record = begin_record(model, PARAMS, info, TRAINING)
    records.update(record, tags={"runtime.device": "cpu"}, **state)
    for epoch in (1, 2, 3):
        records.append(record, epoch, {"val_accuracy": 1 - 1 / (1 + epoch), "val_loss": 1 / epoch})
    if status == records.FINISHED:
        end_record(record, model, best_weights=False)
    records.update(record, status=status, reason="" if status == records.FINISHED else "why", end_time=records.now())
    return record


def evaluation(model: Model = MLP, info: DatasetInfo = INFO) -> Path:
    """Make the record of the model that lies here and of its evaluation."""
    return record_from_files(model, info, TRAINING, {"predict_1_image_seconds": 0.01})


def published(model_name: str | None = None) -> list[dict]:
    """All that MLflow has of each run, but for ids and times, the oldest first."""
    client = connect().MlflowClient()
    experiment = client.get_experiment_by_name("digits")
    found = []
    for run in client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]) if experiment else []:
        identifier = run.info.run_id
        models = client.search_logged_models([experiment.experiment_id], f"source_run_id = '{identifier}'")
        if model_name in (None, run.info.run_name):
            found.append(
                {
                    "name": run.info.run_name,
                    "status": run.info.status,
                    "params": run.data.params,
                    "tags": {
                        key: value
                        for key, value in run.data.tags.items()
                        if not key.startswith(("outbox.", "mlflow.log-model"))
                    },
                    "metrics": {
                        key: [(point.step, point.value) for point in client.get_metric_history(identifier, key)]
                        for key in run.data.metrics
                    },
                    "inputs": len(run.inputs.dataset_inputs),
                    "artifacts": artifacts(client, identifier),
                    "models": [model.status.value for model in models],
                }
            )
    return found


def artifacts(client: mlflow.MlflowClient, run_id: str, path: str | None = None) -> list[str]:
    found = []
    for file in client.list_artifacts(run_id, path):
        found += artifacts(client, run_id, file.path) if file.is_dir else [file.path]
    return sorted(found)


class BrokenOff(Exception):
    pass


def break_off(monkeypatch: pytest.MonkeyPatch, call: int, after: bool) -> Callable[[], int]:
    """Have the call with that number of MLflow fail, before it has done anything or `after` it; return the counter."""
    calls = 0

    def breaking(function: Callable) -> Callable:
        def attempt(*arguments, **named):
            nonlocal calls
            calls += 1
            if calls == call and not after:
                raise BrokenOff
            result = function(*arguments, **named)
            # A call that made others has counted them: the innermost fails.
            if calls == call and after:
                calls += 1
                raise BrokenOff
            return result

        return attempt

    client = mlflow.MlflowClient
    for name in (
        "create_experiment", "create_run", "log_inputs", "log_batch", "log_artifact", "log_artifacts", "set_tag",
        "delete_tag", "delete_logged_model", "set_terminated", "create_registered_model", "create_model_version",
        "set_registered_model_alias",
    ):  # fmt: skip
        monkeypatch.setattr(client, name, breaking(getattr(client, name)))
    for name in ("create_logged_model", "log_model_artifacts", "finalize_logged_model", "set_logged_model_tags"):
        service = mlflow.tracking._tracking_service.client.TrackingServiceClient
        if hasattr(service, name):
            monkeypatch.setattr(service, name, breaking(getattr(service, name)))
    return lambda: calls
