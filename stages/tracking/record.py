"""What MLflow holds of one training: told as events by the stage, or by the files it left."""

import base64
import getpass
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stages.dataset.fallback import fallback_notice
from stages.dataset.prepared import DatasetInfo, Split
from stages.fingerprints import file_md5, folder_md5, versions
from stages.learners.models import Model
from stages.paths import PREPARED
from stages.process.provenance import git_state
from stages.tracking.store import connect, search_runs

MODEL_MD5 = "dvc.model_md5"
REPEAT_OF = "dvc.repeat_of"
DIFF = "git.diff"
# What MLflow shows as the description of a run.
NOTE = "mlflow.note.content"


def start_event(model: Model, params: dict[str, Any], info: DatasetInfo, training: Split) -> dict[str, Any]:
    """Return all that is known before a training with `params`."""
    git, diff = git_state()
    data_md5 = folder_md5(PREPARED)
    tags = {
        "dvc.stage": model.stage,
        "dvc.data_md5": data_md5,
        **git,
        **{f"version.{name}": value for name, value in versions(*model.packages).items()},
        "mlflow.user": _user(),
        "mlflow.source.name": f"stages/{model.stage.replace('-', '_')}.py",
        "mlflow.source.type": "LOCAL",
    }
    if os.environ.get("DVC_EXP_NAME"):
        tags["dvc.experiment"] = os.environ["DVC_EXP_NAME"]
    if info.fallback:
        tags["data.fallback"] = fallback_notice(info.requested, info.dataset)
    return {
        "run_name": model.run_name,
        "about": asdict(info),
        "params": flat(params),
        "tags": tags,
        "diff": base64.b64encode(diff).decode(),
        "arrays": [[array.shape, str(array.dtype)] for array in (training.images, training.labels)],
    }


def kept_epoch(history: Path, best: bool) -> dict[str, Any]:
    """Return which epoch's weights the model has.

    Where it is not the last one, its values follow as one step more, so that the latest are the model's;
    MLflow's own logging of Keras does the same.
    """
    import pandas as pd

    epochs = pd.read_csv(history).set_index("epoch")
    kept = epochs["val_loss"].idxmin() if best else epochs.index[-1]
    values: dict[str, Any] = {"tags": {"weights_of_epoch": str(kept)}}
    if kept != epochs.index[-1]:
        values |= {"metrics": epochs.loc[kept].to_dict(), "step": len(epochs) + 1}
    return values


def model_event(model: Model) -> dict[str, Any]:
    """Return what tells the model's file wherever it lies later, and what goes with it."""
    return {
        "file": str(model.file.resolve()),
        "md5": file_md5(model.file),
        "history": model.history.read_text() if model.history else None,
        "packages": [
            f"{name}=={value}" for name, value in versions("mlflow", *model.packages).items() if name != "python"
        ],
    }


def find_run(model_md5: str) -> Any:
    """Return the run that stands for the model, or None."""
    return next(iter(search_runs(f"tags.`{MODEL_MD5}` = '{model_md5}'", limit=1)), None)


def logged_model(run: Any) -> Any:
    """Return MLflow's model of the run, or None: the outputs of the run also name those that broke off on the way."""
    models = (
        connect().MlflowClient().search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    )
    return next((model for model in models if model.status.value == "READY"), None)


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


def flat(values: Any, prefix: str = "") -> dict[str, str]:
    """Return nested params under dotted names, `optimizer.name`; a list of plain values stays one param."""
    if isinstance(values, list) and any(isinstance(value, dict) for value in values):
        values = dict(enumerate(values))
    if not isinstance(values, dict):
        return {prefix.rstrip("."): "null" if values is None else str(values)}
    found: dict[str, str] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.")
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container whose user has no name.
        return str(os.getuid())
