"""The run of a model as a record: begun by its training, or made from DVC's files."""

import getpass
import hashlib
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stages.dataset.fallback import fallback_notice
from stages.dataset.prepared import DatasetInfo, Split
from stages.fingerprints import file_md5, folder_md5, versions
from stages.learners.models import Model
from stages.learners.temperature import calibration_words
from stages.params.lock import locked_inputs, locked_params
from stages.params.views import load_params
from stages.paths import COMPARISON, METRICS, PREPARED
from stages.process.provenance import commit_with, copy_code, experiment_name, git_state
from stages.tracking.champion import EXPERIMENT
from stages.tracking.notes import NOTE
from stages.tracking.record import FINISHED, RESTORED, append, create, now, update
from stages.tracking.trial import trial_tags

DIFF = "git.diff"
HISTORY = "history.csv"
# Tag of a run whose logged model carries code that may not be the training's.
OTHER_CODE = "dvc.other_code"
FROM_FILES = {
    RESTORED: "true",
    NOTE: "Made from the files that DVC keeps: the model was not trained here, or under another store.",
}


def begin_record(model: Model, params: dict[str, Any], info: DatasetInfo, training: Split) -> Path:
    """Return the record of a training with `params` that begins now."""
    git, diff = git_state()
    state = _state(model, params, info, training, folder_md5(PREPARED), git)

    def fill(files: Path) -> None:
        # Now: when MLflow gets it, other code may stand here.
        _write_origin(files, diff)

    return create(state, fill)


def end_record(record: Path, model: Model, best_weights: bool) -> None:
    """Add the model and its history, as the training has written them."""
    tags = _append_epochs(record, model.history, best_weights, only_kept=True) if model.history else {}
    update(record, tags=tags, model=_model(model, file_md5(model.file)))


def record_from_files(model: Model, info: DatasetInfo, training: Split, seconds: dict[str, float]) -> Path:
    """Return the record of the model that lies here, as DVC's files tell it, with its evaluation in reports/.

    `seconds` are measured times, which no file has. Params, data and code are those that dvc.lock records for the
    model; where it does not know the model, or no commit has that code, today's stand in, and a tag says so.
    """
    md5 = file_md5(model.file)
    view, inputs = locked_params(model.view, model.stage, md5), locked_inputs(model.stage, md5)
    params = (view or load_params(model.view)).resolved()
    commit, git, diff = _code({path: each for path, each in inputs.items() if path.endswith(".py")})
    state = _state(model, params, info, training, inputs.get(str(PREPARED)) or folder_md5(PREPARED), git)
    state["tags"] |= FROM_FILES
    reports = [*sorted(model.reports.iterdir()), COMPARISON]
    metrics = json.loads(METRICS.read_text())[model.name]
    if view and params.get("calibration") == "temperature":
        state["tags"]["calibration"] = calibration_words(metrics.get("temperature"))
    content = [metrics, [file_md5(path) for path in reports]]
    digest = hashlib.md5(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def fill(files: Path) -> None:
        _write_origin(files, diff, commit)
        (files / "evaluation").mkdir()
        for path in reports:
            shutil.copy2(path, files / "evaluation")
        if model.history:
            best_weights = params["weights"] == "best"
            state["tags"] |= _append_epochs(files.parent, model.history, best_weights, only_kept=False)

    evaluation = {"metrics": metrics, "seconds": seconds, "md5": digest}
    ended = {"status": FINISHED, "end_time": now(), "model": _model(model, md5), "evaluation": evaluation}
    return create(state | ended, fill)


def record_from_outputs(
    model: Model, info: DatasetInfo, training: Split, commit: str, values: dict[str, float]
) -> Path:
    """Return the record of the model that lies here in a copy of `commit`, without an evaluation.

    `values` are the metrics of a model that has no history of its epochs.
    """
    md5 = file_md5(model.file)
    params, data_md5 = load_params(model.view).resolved(), locked_inputs(model.stage, md5)[str(PREPARED)]
    state = _state(model, params, info, training, data_md5, {"git.commit": commit, "git.dirty": "false"})
    state["tags"] |= FROM_FILES

    def fill(files: Path) -> None:
        _write_origin(files, b"")
        if model.history:
            best_weights = params["weights"] == "best"
            state["tags"] |= _append_epochs(files.parent, model.history, best_weights, only_kept=False)
        else:
            append(files.parent, 1, values)

    return create(state | {"status": FINISHED, "end_time": now(), "model": _model(model, md5)}, fill)


def _state(
    model: Model, params: dict[str, Any], info: DatasetInfo, training: Split, data_md5: str, git: dict[str, str]
) -> dict[str, Any]:
    tags = {
        "dvc.stage": model.stage,
        "dvc.data_md5": data_md5,
        **git,
        **{f"version.{name}": value for name, value in versions(*model.packages).items()},
        "mlflow.user": _user(),
        "mlflow.source.name": f"stages/{model.stage.replace('-', '_')}.py",
        "mlflow.source.type": "LOCAL",
        **trial_tags(),
    }
    if name := experiment_name():
        tags[EXPERIMENT] = name
    if info.fallback:
        tags["data.fallback"] = fallback_notice(info.requested, info.dataset)
    # MLflow would add the settings of the logged model by itself, but not again where that was broken off.
    params = _flat({**params, "deskew": info.deskew})
    arrays = [[array.shape, str(array.dtype)] for array in (training.images, training.labels)]
    return {"run_name": model.run_name, "dataset": asdict(info), "arrays": arrays, "params": params, "tags": tags}


def _code(modules: dict[str, str]) -> tuple[str | None, dict[str, str], bytes]:
    """Return the commit that has the modules with these md5 (None: they are today's), its tags and the diff to it."""
    today, diff = git_state()
    if modules and all(Path(path).is_file() and file_md5(Path(path)) == md5 for path, md5 in modules.items()):
        return None, today, diff
    commit = commit_with(modules) if modules else None
    if commit:
        return commit, {"git.commit": commit, "git.dirty": "false"}, b""
    return None, {**today, OTHER_CODE: "today's: no commit has the code that dvc.lock records for the training"}, diff


def _write_origin(files: Path, diff: bytes, commit: str | None = None) -> None:
    copy_code(files / "code", commit)
    (files / "artifacts").mkdir()
    if diff:
        (files / "artifacts" / DIFF).write_bytes(diff)


def _append_epochs(record: Path, history: Path, best_weights: bool, only_kept: bool) -> dict[str, str]:
    """Append the epochs of a history, and return the tag with the epochs whose weights the model's networks have.

    Where that of a single network is not the last one, its values follow as one step more, so that the latest are the
    model's; MLflow's own logging of Keras does the same.
    """
    import pandas as pd

    from stages.learners.history import NETWORK, kept_epochs

    shutil.copyfile(history, record / "files/artifacts" / HISTORY)
    table = pd.read_csv(history)
    epochs, kept = table.set_index("epoch").drop(columns=NETWORK, errors="ignore"), kept_epochs(table, best_weights)
    for epoch, values in () if only_kept else epochs.iterrows():
        append(record, epoch, values.to_dict())
    if len(kept) == 1 and kept[0] != epochs.index[-1]:
        append(record, len(epochs) + 1, epochs.loc[kept[0]].to_dict())
    return {"weights_of_epoch": ", ".join(map(str, kept))}


def _model(model: Model, md5: str) -> dict[str, Any]:
    """Return how the model's file is found wherever it lies later, and what goes with it."""
    packages = [f"{name}=={value}" for name, value in versions("mlflow", *model.packages).items() if name != "python"]
    return {"file": str(model.file.resolve()), "md5": md5, "packages": packages}


def _flat(values: Any, prefix: str = "") -> dict[str, str]:
    """Return nested params under dotted names, `optimizer.name`; a list of plain values stays one param."""
    if isinstance(values, list) and any(isinstance(value, dict) for value in values):
        values = dict(enumerate(values))
    if not isinstance(values, dict):
        return {prefix.rstrip("."): "null" if values is None else str(values)}
    found: dict[str, str] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.")
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container whose user has no name.
        return str(os.getuid())
