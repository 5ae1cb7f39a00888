"""What MLflow holds of one training, recorded as it happens or made from the files afterwards."""

import os
import tempfile
from pathlib import Path
from typing import Any

from stages.dataset.prepared import About, load_split
from stages.fingerprints import file_md5, folder_md5, versions
from stages.models import Model
from stages.notices import fallback_notice
from stages.paths import PREPARED
from stages.provenance import git_state
from stages.tracking.abandoned import process_tags
from stages.tracking.store import connect, experiment_id, search_runs, store_lock

MODEL_MD5 = "dvc.model_md5"
REPEAT_OF = "dvc.repeat_of"
DIFF = "git.diff"
# What MLflow shows as the description of a run.
NOTE = "mlflow.note.content"


def open_record(model: Model, params: dict[str, Any], about: About) -> str:
    """Start the run of a training with all that is known before it, and return its id; the caller ends it."""
    mlflow = connect()
    git, diff = git_state()
    data_md5 = folder_md5(PREPARED)
    tags = {
        "dvc.stage": model.stage,
        "dvc.data_md5": data_md5,
        **git,
        **process_tags(),
        **{f"version.{name}": value for name, value in versions(*model.packages).items()},
    }
    if os.environ.get("DVC_EXP_NAME"):
        tags["dvc.experiment"] = os.environ["DVC_EXP_NAME"]
    if about.fallback:
        tags["data.fallback"] = fallback_notice(about.requested, about.dataset)
    training = load_split("train")
    dataset = mlflow.data.from_numpy(
        training.images,
        targets=training.labels,
        source=PREPARED.as_posix(),
        name=about.dataset,
        digest=data_md5.removesuffix(".dir"),
    )
    # Processes that name a new experiment or a new data set at the same time break each other's call.
    with store_lock():
        experiment = experiment_id(about.dataset)
        run = mlflow.start_run(experiment_id=experiment, run_name=model.run_name, tags=tags)
        mlflow.log_input(dataset, context="training")
    mlflow.log_params(_flat(params))
    if diff:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / DIFF
            path.write_bytes(diff)
            mlflow.log_artifact(str(path))
    return run.info.run_id


def record_files(model: Model, params: dict[str, Any], about: About) -> None:
    """Add the finished files to the open run: the history and the model."""
    mlflow = connect()
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    if model.history:
        mlflow.log_text(model.history.read_text(), "history.csv")
        _record_kept_epoch(model.history, best=params["weights"] == "best")
    mlflow.pyfunc.log_model(
        name="model",
        python_model="stages/logged_model.py",
        artifacts={"model": str(model.file)},
        model_config={"deskew": about.deskew},
        code_paths=["stages"],
        signature=ModelSignature(
            Schema([TensorSpec(np.dtype(np.uint8), (-1, about.height, about.width))]),
            Schema([TensorSpec(np.dtype(np.float32), (-1, len(about.class_names)))]),
        ),
        pip_requirements=[
            f"{name}=={value}" for name, value in versions("mlflow", *model.packages).items() if name != "python"
        ],
        metadata={"class_names": about.class_names},
    )


def close_record(model: Model, run_id: str) -> None:
    """Finish the open run and tie it to its model: exactly one run has the md5, repeats name that run.

    In this order, so that whatever comes between, only a finished run stands for a model.
    """
    md5 = file_md5(model.file)
    mlflow = connect()
    with store_lock():
        first = find_run(md5)
        mlflow.end_run("FINISHED")
        client = mlflow.MlflowClient()
        if first is None:
            client.set_tag(run_id, MODEL_MD5, md5)
        else:
            note = f"A repeat of run {first.info.run_id}: it made the same model, byte for byte."
            client.set_tag(run_id, NOTE, note)
            client.set_tag(run_id, REPEAT_OF, first.info.run_id)


def find_run(model_md5: str) -> Any:
    """Return the run that stands for the model, or None."""
    return next(iter(search_runs(f"tags.`{MODEL_MD5}` = '{model_md5}'", limit=1)), None)


def latest_runs() -> tuple[list[str], str] | None:
    """Return the newest finished run of each model on the data set used last, oldest first, and the experiment.

    All are ids; None where there is no such run.
    """
    finished = f"attributes.status = 'FINISHED' AND tags.`{MODEL_MD5}` LIKE '%'"
    runs = search_runs(finished, order="attributes.start_time DESC")
    if not runs:
        return None
    experiment = runs[0].info.experiment_id
    newest: dict[str, str] = {}
    for run in runs:
        if run.info.experiment_id == experiment:
            newest.setdefault(run.data.tags["dvc.stage"], run.info.run_id)
    return list(newest.values())[::-1], experiment


def _record_kept_epoch(history: Path, best: bool) -> None:
    """Say which epoch's weights the model has.

    Where it is not the last one, its values follow as one step more, so that the latest are the model's;
    MLflow's own logging of Keras does the same.
    """
    import pandas as pd

    mlflow = connect()
    epochs = pd.read_csv(history).set_index("epoch")
    kept = epochs["val_loss"].idxmin() if best else epochs.index[-1]
    mlflow.set_tag("weights_of_epoch", str(kept))
    if kept != epochs.index[-1]:
        mlflow.log_metrics(epochs.loc[kept].to_dict(), step=len(epochs) + 1)


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested params under dotted names, `optimizer.name`; a list of plain values stays one param."""
    if isinstance(values, list) and any(isinstance(value, dict) for value in values):
        values = dict(enumerate(values))
    if not isinstance(values, dict):
        return {prefix.rstrip("."): "null" if values is None else values}
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.")
    return flat
