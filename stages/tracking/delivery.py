"""Sending what lies in the outbox to MLflow, in order and nothing twice, wherever it was broken off before."""

import base64
import json
import os
import shutil
import tempfile
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from stages.dataset.prepared import DatasetInfo
from stages.fingerprints import file_md5
from stages.process.provenance import cached
from stages.tracking import outbox
from stages.tracking.record import DIFF, MODEL_MD5, NOTE, REPEAT_OF, find_run, logged_model
from stages.tracking.store import connect, experiment_id, search_runs, store_lock

# Tag of a run: the entry that it was made of, by which it is found again where the answer to making it was lost.
ENTRY = "outbox.entry"
# Events in one call: MLflow takes at most 1,000 metrics, and an event has a handful.
BATCH = 100
KILLED = "its process ended without a word: killed, or out of memory"


def deliver_all(*processes: str) -> Exception | None:
    """Send all that the outbox has for the configured store of this process, those named and those gone, oldest first.

    Raises what MLflow raises where it cannot be reached. Where it refuses an entry, the others are sent, and the first
    refusal is returned.
    """
    refusal = None
    for entry in outbox.entries(*processes):
        try:
            deliver(entry)
        except Exception as error:
            if _is_away(error):
                raise
            refusal = refusal or error
    return refusal


def deliver(entry: Path) -> None:
    """Send MLflow what it does not have yet of `entry`, and remove the entry once it has all.

    An entry that another process is sending is left to that one. Raises what MLflow raises.
    """
    try:
        with FileLock(entry.with_suffix(".lock"), timeout=0):
            events = outbox.read(entry)
            if events and events[0]["event"] == outbox.REPORTS:
                _deliver_reports(entry, events)
            elif events:
                _deliver_training(entry, events)
    except Timeout:
        return


def _deliver_reports(entry: Path, events: list[dict[str, Any]]) -> None:
    from stages.tracking.evaluations import record_reports

    last = events[-1]
    if last["event"] == outbox.END:
        record_reports(outbox.files(entry), last["models"], DatasetInfo(**last["info"]), last["seconds"])
    # Without an end they are not whole; `dvc repro` evaluates again.
    if last["event"] == outbox.END or outbox.is_broken_off(events):
        outbox.remove(entry)


def _deliver_training(entry: Path, events: list[dict[str, Any]]) -> None:
    if outbox.is_broken_off(events):
        outbox.add(entry, outbox.END, status="KILLED", reason=KILLED, time=events[-1]["time"])
        events = outbox.read(entry)
    try:
        _send(entry, events)
    except Exception:
        if not _run_is_deleted(entry):
            raise
        print("MLflow: a run was deleted while something was left to send of it, which is dropped", flush=True)
        outbox.remove(entry)
        return
    if events[-1]["event"] == outbox.END:
        outbox.remove(entry)


def _run_is_deleted(entry: Path) -> bool:
    """Return whether the run of the entry was deleted; where the store is another one by now, the entry starts anew."""
    from mlflow.exceptions import MlflowException

    run_id, _ = _sent(entry)
    if run_id is None:
        return False
    client = connect().MlflowClient()
    try:
        run = client.get_run(run_id)
        # With a deleted experiment, which may come back, its runs are deleted too.
        active = client.get_experiment(run.info.experiment_id).lifecycle_stage == "active"
        return active and run.info.lifecycle_stage == "deleted"
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            _note(entry).unlink(missing_ok=True)
        return False


def _note(entry: Path) -> Path:
    """Return the file that says what MLflow has acknowledged of the entry."""
    return entry.with_suffix(".sent")


def _sent(entry: Path) -> tuple[str | None, int]:
    """Return the id of the run and the number of events that MLflow has acknowledged."""
    try:
        run_id, sent = json.loads(_note(entry).read_text())
    except (FileNotFoundError, ValueError):
        # Without the note all is sent again: MLflow knows what it has.
        return None, 0
    return run_id, sent


def _is_away(error: Exception) -> bool:
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.get_http_status_code() >= 500


def _send(entry: Path, events: list[dict[str, Any]]) -> None:
    """Send the events that MLflow has not acknowledged yet."""
    run_id, sent = _sent(entry)
    start = events[0]
    while sent < len(events):
        kind = events[sent]["event"]
        # What came between two calls goes in one.
        same = list(takewhile(lambda event, kind=kind: event["event"] == kind, events[sent : sent + BATCH]))
        if kind == outbox.START:
            run_id = _start(entry.stem, start)
        elif kind == outbox.VALUES:
            _log_values(run_id, same)
        elif kind == outbox.MODEL:
            _log_model(run_id, same[-1], DatasetInfo(**start["about"]))
        elif kind == outbox.END:
            md5 = next((event["md5"] for event in events if event["event"] == outbox.MODEL), None)
            _end(run_id, same[-1], md5)
        sent += len(same)
        part = entry.with_suffix(".sent-part")
        part.write_text(json.dumps([run_id, sent]))
        os.replace(part, _note(entry))


def _start(name: str, event: dict[str, Any]) -> str:
    """Make the run, unless it was made before the answer got lost, and return its id."""
    mlflow = connect()
    client = mlflow.MlflowClient()
    info = event["about"]
    # Processes that name a new experiment or a new data set at the same time break each other's call.
    with store_lock():
        experiment = experiment_id(info["dataset"])
        run = next(iter(search_runs(f"tags.`{ENTRY}` = '{name}'", limit=1)), None)
        run = run or client.create_run(
            experiment, start_time=event["time"], tags={**event["tags"], ENTRY: name}, run_name=event["run_name"]
        )
        run_id = run.info.run_id
        client.log_inputs(run_id, [_dataset_input(mlflow, event)])
    params = [mlflow.entities.Param(key, value) for key, value in event["params"].items()]
    client.log_batch(run_id, params=params)
    if event["diff"]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / DIFF
            path.write_bytes(base64.b64decode(event["diff"]))
            client.log_artifact(run_id, str(path))
    return run_id


def _dataset_input(mlflow: Any, event: dict[str, Any]) -> Any:
    # MLflow describes arrays; those that were trained on may lie here no more, and their shapes say all it needs.
    images, labels = (np.broadcast_to(np.zeros((), dtype), shape) for shape, dtype in event["arrays"])
    dataset = mlflow.data.from_numpy(
        images,
        targets=labels,
        source="data/prepared",
        name=event["about"]["dataset"],
        digest=event["tags"]["dvc.data_md5"].removesuffix(".dir"),
    )
    context = mlflow.entities.InputTag("mlflow.data.context", "training")
    return mlflow.entities.DatasetInput(dataset._to_mlflow_entity(), tags=[context])


def _log_values(run_id: str, events: list[dict[str, Any]]) -> None:
    """Log metrics and tags; with their own times, by which MLflow knows those that it has already."""
    entities = connect().entities
    metrics = [
        entities.Metric(key, value, event["time"], event["step"])
        for event in events
        for key, value in event.get("metrics", {}).items()
    ]
    tags = {key: value for event in events for key, value in event.get("tags", {}).items()}
    connect().MlflowClient().log_batch(run_id, metrics, tags=[entities.RunTag(*tag) for tag in tags.items()])


def _log_model(run_id: str, event: dict[str, Any], info: DatasetInfo) -> None:
    client = connect().MlflowClient()
    if event["history"]:
        client.log_text(run_id, event["history"], "history.csv")
    run = client.get_run(run_id)
    for model in client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'"):
        if model.status.value == "READY":
            return
        # One that was broken off.
        client.delete_logged_model(model.model_id)
    file = _find(Path(event["file"]), event["md5"])
    if file is None:
        client.set_tag(run_id, NOTE, "The model that it made was no longer here when MLflow could take it.")
        return
    with tempfile.TemporaryDirectory() as folder:
        # In DVC's cache it has another name; what it is called says how to load it.
        model = Path(folder) / Path(event["file"]).name
        shutil.copyfile(file, model)
        # Not what else may lie there.
        code = shutil.copytree("stages", Path(folder) / "stages", ignore=_not_code)
        # A model of MLflow belongs to the experiment that is set, whatever that of its run.
        connect().set_experiment(experiment_id=run.info.experiment_id)
        _log_pyfunc(run_id, model, code, event["packages"], info)


def _not_code(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (Path(folder, name).is_dir() or name.endswith((".py", ".jinja")))]


def _log_pyfunc(run_id: str, file: Path, code: Path, packages: list[str], info: DatasetInfo) -> None:
    mlflow = connect()
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    # What mlflow.pyfunc.log_model calls: that one knows the active run only.
    Model.log(
        artifact_path=None,
        name="model",
        flavor=mlflow.pyfunc,
        run_id=run_id,
        python_model=str(code / "tracking/logged_model.py"),
        artifacts={"model": str(file)},
        model_config={"deskew": info.deskew},
        code_paths=[str(code)],
        signature=ModelSignature(
            Schema([TensorSpec(np.dtype(np.uint8), (-1, info.height, info.width))]),
            Schema([TensorSpec(np.dtype(np.float32), (-1, len(info.class_names)))]),
        ),
        pip_requirements=packages,
        metadata={"class_names": info.class_names},
    )


def _find(file: Path, md5: str) -> Path | None:
    """Return where the file with `md5` lies now: where it was made, or in DVC's cache."""
    if file.is_file() and file_md5(file) == md5:
        return file
    copy = cached(md5)
    return copy if copy.is_file() and file_md5(copy) == md5 else None


def _end(run_id: str, event: dict[str, Any], model_md5: str | None) -> None:
    """Close the run, and tie a finished one to its model: exactly one run has the md5, repeats name that run.

    In this order, so that whatever comes between, only a finished run stands for a model.
    """
    client = connect().MlflowClient()
    if event["reason"]:
        client.set_tag(run_id, "failure", event["reason"])
    with store_lock():
        client.set_terminated(run_id, event["status"], end_time=event["time"])
        run = client.get_run(run_id)
        if event["status"] != "FINISHED" or logged_model(run) is None:
            return
        first = find_run(model_md5)
        if first is None:
            client.set_tag(run_id, MODEL_MD5, model_md5)
        elif first.info.run_id != run_id:
            note = f"A repeat of run {first.info.run_id}: it made the same model, byte for byte."
            client.set_tag(run_id, NOTE, note)
            client.set_tag(run_id, REPEAT_OF, first.info.run_id)
