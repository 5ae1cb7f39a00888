"""Publishing a record: MLflow is brought to its state, from whatever it has. Nothing gets there in another way."""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from stages.dataset.prepared import DatasetInfo
from stages.fingerprints import file_md5
from stages.process.provenance import cached
from stages.tracking import record as records
from stages.tracking.champion import APPLIED, EXPERIMENT, MODEL_MD5, all_logged_models, choose_champion, logged_model
from stages.tracking.identity import log_metrics, standing_run, tag_trial
from stages.tracking.notes import NOTE, add_note
from stages.tracking.publish_evaluation import complete_repeats, publish_evaluation
from stages.tracking.store import connect, experiment_id, first_run, store_lock
from stages.tracking.trial import SWEEP

# Tag of a run: the record that it was made of, by which it is found again where the answer to making it was lost.
ENTRY = "outbox.entry"


@dataclass
class _Published:
    """All that MLflow has acknowledged to this process of a run that goes on.

    Where nothing is known all is published again: MLflow drops or overwrites repetitions.
    """

    run_id: str
    state: dict[str, Any] = field(default_factory=dict)
    artifacts: set[str] = field(default_factory=set)
    metrics: int = 0


_published: dict[Path, _Published] = {}


def publish_all(found: list[Path], evaluated: set[tuple[str, str]] | None = None) -> list[Path]:
    """Publish the records, in this order, choose the champions of the evaluated data, and return those that changed.

    `evaluated` has the data sets, by name and md5, that are still without a choice: a caller that tries again gives it
    again. Raises what MLflow raises: at once where it cannot be reached; where it refuses a record, the first refusal,
    once all others are published.
    """
    evaluated = set() if evaluated is None else evaluated
    changed, refusals = [], []
    for record in found:
        state = records.read(record)
        try:
            if publish(record):
                changed.append(record)
            if state and "evaluation" in state and EXPERIMENT not in state["tags"]:
                evaluated.add((state["dataset"]["dataset"], state["tags"]["dvc.data_md5"]))
        except Exception as error:
            # Of MLflow's own exceptions these say that the server is away.
            if getattr(error, "get_http_status_code", int)() >= 500:
                raise
            refusals.append(error)
    for each in sorted(evaluated):
        choose_champion(*each)
        evaluated.remove(each)
    if refusals:
        raise refusals[0]
    return changed


def publish(record: Path) -> bool:
    """Bring MLflow to the state of `record`, remove the record at its end, and return whether anything was missing.

    A record that another process is publishing is left to that one. It may be called at any time, any number of times,
    wherever it was broken off. Raises what MLflow raises.
    """
    try:
        with FileLock(records.lock(record), timeout=0):
            state = records.read(record)
            if state is None:
                if not record.exists():
                    records.lock(record).unlink(missing_ok=True)
                return False
            made = _publish_from_files if records.is_from_files(state) else _publish_training
            changed = made(record, state)
            if state["status"] != records.RUNNING:
                _published.pop(record, None)
                records.remove(record)
            return changed
    except Timeout:
        return False


def _publish_from_files(record: Path, state: dict[str, Any]) -> bool:
    """Make the run unless there is one of the model, and add the evaluation; return whether either was missing."""
    md5 = state["model"]["md5"]
    with store_lock():
        run = standing_run(md5)
        restored = run is None and _find(state["model"]) is not None
        if restored:
            if records.trains(md5):
                # It has not been published, or not in whole: another run would be one too many.
                raise RuntimeError(f"the training of {state['run_name']} is not there yet")
            _publish_training(record, state, entry=f"{records.RESTORED}-{md5}")
            run = standing_run(md5)
        elif run and SWEEP in state["tags"]:
            tag_trial(run, state["tags"])
        # Under the lock too: another clone may be about to give the same tags to the same run.
        # A trial of a sweep has none.
        evaluated = (
            "evaluation" in state
            and run is not None
            and publish_evaluation(run, record, state["evaluation"], state["start_time"])
        )
        if "evaluation" in state and EXPERIMENT not in state["tags"] and run and EXPERIMENT in run.data.tags:
            connect().MlflowClient().set_tag(run.info.run_id, APPLIED, "true")
        completed = run is not None and complete_repeats(run.info.run_id)
    return restored or evaluated or completed


def _publish_training(record: Path, state: dict[str, Any], entry: str | None = None) -> bool:
    known = _published.pop(record, None)
    if known is None:
        run_id = _find_or_make(entry or record.name, state)
        if run_id is None:
            print("MLflow: a run was deleted while something was left to publish of it, which is dropped", flush=True)
            records.remove(record)
            return False
        known = _Published(run_id)
    metrics = records.metrics(record)
    log_metrics(known.run_id, metrics[known.metrics :])
    if state != known.state:
        _publish_state(record, state, known)
    known.state, known.metrics = state, len(metrics)
    # Not before all of it is there: what broke off is published again.
    _published[record] = known
    return True


def _publish_state(record: Path, state: dict[str, Any], known: _Published) -> None:
    mlflow = connect()
    client = mlflow.MlflowClient()
    tags = [mlflow.entities.RunTag(*tag) for tag in state["tags"].items() if tag[0] != NOTE]
    client.log_batch(known.run_id, tags=tags)
    if NOTE in state["tags"]:
        # The user may have written something beside it.
        add_note(known.run_id, state["tags"][NOTE])
    for path in sorted((record / "files/artifacts").iterdir()):
        if path.name not in known.artifacts:
            client.log_artifact(known.run_id, str(path))
            known.artifacts.add(path.name)
    if "model" in state:
        _publish_model(known.run_id, record, state)
    if state["status"] != records.RUNNING:
        _end(known.run_id, state)


def _find_or_make(entry: str, state: dict[str, Any]) -> str | None:
    """Return the id of the run that was made of the entry, which is made now if need be; None where it was deleted."""
    mlflow = connect()
    client = mlflow.MlflowClient()
    # Processes that name a new experiment or a new data set at the same time break each other's call.
    with store_lock():
        experiment = experiment_id(state["dataset"]["dataset"])
        run = first_run(f"tags.`{ENTRY}` = '{entry}'", deleted=not records.is_from_files(state))
        if run and run.info.lifecycle_stage == "deleted":
            return None
        run = run or client.create_run(
            experiment, start_time=state["start_time"], tags={ENTRY: entry, **state["tags"]}, run_name=state["run_name"]
        )
        client.log_inputs(run.info.run_id, [_dataset_input(mlflow, state)])
    params = [mlflow.entities.Param(key, value) for key, value in state["params"].items()]
    for start in range(0, len(params), 100):
        client.log_batch(run.info.run_id, params=params[start : start + 100])
    return run.info.run_id


def _dataset_input(mlflow: Any, state: dict[str, Any]) -> Any:
    # MLflow describes arrays; those that were trained on may lie here no more, and their shapes say all it needs.
    images, labels = (np.broadcast_to(np.zeros((), dtype), shape) for shape, dtype in state["arrays"])
    dataset = mlflow.data.from_numpy(
        images,
        targets=labels,
        source="data/prepared",
        name=state["dataset"]["dataset"],
        digest=state["tags"]["dvc.data_md5"].removesuffix(".dir"),
    )
    context = mlflow.entities.InputTag("mlflow.data.context", "training")
    return mlflow.entities.DatasetInput(dataset._to_mlflow_entity(), tags=[context])


def _publish_model(run_id: str, record: Path, state: dict[str, Any]) -> None:
    client = connect().MlflowClient()
    run = client.get_run(run_id)
    if logged_model(run):
        return
    for model in all_logged_models(run):
        # One that was broken off.
        client.delete_logged_model(model.model_id)
    file = _find(state["model"])
    if file is None:
        add_note(run_id, "The model that it made was no longer here when MLflow could take it.")
        return
    with tempfile.TemporaryDirectory() as folder:
        # In DVC's cache it has another name; its own says how to load it.
        model = Path(shutil.copyfile(file, Path(folder) / Path(state["model"]["file"]).name))
        # A model of MLflow belongs to the experiment that is set, whatever that of its run.
        connect().set_experiment(experiment_id=run.info.experiment_id)
        _log_pyfunc(run_id, model, record / "files/code/stages", state)


def _log_pyfunc(run_id: str, file: Path, code: Path, state: dict[str, Any]) -> None:
    mlflow = connect()
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    info = DatasetInfo(**state["dataset"])
    shape = (-1, info.height, info.width, *([3] if info.channels == 3 else []))
    # mlflow.pyfunc.log_model calls this, but knows the active run only.
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
            Schema([TensorSpec(np.dtype(np.uint8), shape)]),
            Schema([TensorSpec(np.dtype(np.float32), (-1, len(info.class_names)))]),
        ),
        pip_requirements=state["model"]["packages"],
        metadata={"class_names": info.class_names, "resize": info.resize},
    )


def _find(model: dict[str, Any]) -> Path | None:
    """Return where the model's file lies now: where it was made, or in DVC's cache."""
    file, md5 = Path(model["file"]), model["md5"]
    if not (file.is_file() and file_md5(file) == md5):
        file = cached(md5)
    return file if file.is_file() and file_md5(file) == md5 else None


def _end(run_id: str, state: dict[str, Any]) -> None:
    """Close the run; a finished one with its model stands for the model, or repeats the run that does."""
    client = connect().MlflowClient()
    if state.get("reason"):
        client.set_tag(run_id, "failure", state["reason"])
    with store_lock():
        client.set_terminated(run_id, state["status"], end_time=state["end_time"])
        # In this order, so that whatever comes between, only a finished run stands for a model.
        if state["status"] == records.FINISHED and logged_model(client.get_run(run_id)):
            client.set_tag(run_id, MODEL_MD5, state["model"]["md5"])
            if stands := standing_run(state["model"]["md5"]):
                complete_repeats(stands.info.run_id)
