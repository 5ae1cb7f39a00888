"""What MLflow shows of a run: the facts that the files hold, sent as they come about.

The only module that talks to MLflow. It observes: a store that cannot be reached costs the record
in MLflow, said in one line, and never the training. `evaluate` makes good for what is missing.
"""

import hashlib
import json
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

from stages.dataset.prepared import About, load_split
from stages.errors import UserError, without_credentials
from stages.notices import fallback_notice
from stages.paths import PREPARED
from stages.provenance import file_md5, folder_md5, git_state, main_repository, versions

MODEL_MD5 = "dvc.model_md5"
REPEAT_OF = "dvc.repeat_of"
EVALUATION = "dvc.evaluation_md5"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # The versions are given explicitly: no need to import the model in a process of its own.
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    # uv.lock names the registry of the machine.
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_LOG_UV_FILES": "false",
    # MLflow's own patience with a server that is gone is minutes for every call.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def tracking_uri() -> str:
    """Return where runs go: `MLFLOW_TRACKING_URI`, else the main repository's mlflow.db.

    Raises `UserError` for a URI that MLflow cannot use.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not uri:
        return f"sqlite:///{main_repository() / 'mlflow.db'}"
    if _scheme(uri) not in (*DATABASES, "http", "https", "databricks"):
        raise UserError(
            f"MLFLOW_TRACKING_URI={uri}: not a tracking server or database; "
            "allowed are http(s)://host:port and sqlite:///path/to/mlflow.db, or leave it unset"
        )
    relative = uri.removeprefix("sqlite:///")
    if relative != uri and not relative.startswith("/"):
        # Not to the current folder: an experiment of DVC runs in a temporary copy, deleted afterwards.
        return f"sqlite:///{main_repository() / relative}"
    return uri


def _scheme(uri: str) -> str:
    try:
        return urlsplit(uri).scheme.partition("+")[0]
    except ValueError:
        return ""


@dataclass
class _Made:
    """A model and all that is known of how it was made, from the stage or from the files."""

    name: str
    stage: str
    params: dict[str, Any]
    about: About
    packages: tuple[str, ...]


class Run:
    """The MLflow run of one training; every call after a failed one does nothing."""

    def __init__(self, made: _Made):
        self.made = made
        self.run_id: str | None = None
        self.lost = ""

    def log_epoch(self, epoch: int, values: dict[str, float]) -> None:
        """Log the values of `epoch` (from 1)."""
        with self._guarded() as mlflow:
            if mlflow:
                mlflow.log_metrics(values, step=epoch)

    def set_tags(self, tags: dict[str, str]) -> None:
        with self._guarded() as mlflow:
            if mlflow:
                mlflow.set_tags(tags)

    def finish(self, model: Path, history: Path | None = None) -> None:
        """Log the finished files, and tie the run to the model's md5."""
        with self._guarded() as mlflow:
            if mlflow:
                _log_files(self.made, model, history)
                # Last: the run that stands for a model has all of it.
                with _store_lock():
                    mlflow.set_tags(_identity(file_md5(model), self.run_id))

    def end(self, status: str, reason: str) -> None:
        """Close the run in MLflow's `status`, with the reason for it if it is not FINISHED."""
        mlflow = _mlflow()
        try:
            if reason:
                mlflow.set_tag("failure", without_credentials(reason)[:1000])
            mlflow.end_run(status)
        except Exception as error:
            # What was lost before has been said.
            if not self.lost:
                _warn(error)

    @contextmanager
    def _guarded(self) -> Iterator[Any]:
        if self.run_id is None or self.lost:
            yield None
            return
        try:
            yield _mlflow()
        except Exception as error:
            self.lost = f"MLflow: {error}"
            _warn(error)


@contextmanager
def training_run(
    name: str, stage: str, params: dict[str, Any], about: About, packages: tuple[str, ...]
) -> Iterator[Run]:
    """Open the MLflow run `name` for a training, and close it in the state in which the training ends."""
    made = _Made(name, stage, params, about, packages)
    tracking_uri()
    run = Run(made)
    try:
        run.run_id = _start(made)
    except Exception as error:
        _warn(error)
    status, reason = "FINISHED", ""
    try:
        yield run
    except KeyboardInterrupt:
        status, reason = "KILLED", "interrupted"
        raise
    except BaseException as error:
        status, reason = "FAILED", f"{type(error).__name__}: {error}"
        raise
    finally:
        if run.run_id is not None:
            run.end("FAILED" if run.lost and not reason else status, reason or run.lost)


@dataclass
class Evaluated:
    """What `evaluate` found out about one model; `artifacts` are files of reports/ to show in its run."""

    name: str
    stage: str
    model: Path
    history: Path | None
    params: dict[str, Any]
    packages: tuple[str, ...]
    metrics: dict[str, float]
    artifacts: list[Path]


def log_evaluations(evaluations: list[Evaluated], about: About) -> bool:
    """Add each evaluation, once, to the run that made the model; make the run from the files where there is none.

    Return whether MLflow has them all.
    """
    tracking_uri()
    try:
        for evaluated in evaluations:
            _log_evaluation(evaluated, about)
    except Exception as error:
        _warn(error)
        return False
    return True


def _log_evaluation(evaluated: Evaluated, about: About) -> None:
    mlflow = _mlflow()
    client = mlflow.MlflowClient()
    with _store_lock():
        run = _find(file_md5(evaluated.model))
        run_id = run.info.run_id if run else _restore(evaluated, about)
        run = client.get_run(run_id)
        digest = _digest(evaluated)
        if run.data.tags.get(EVALUATION) == digest:
            return
        models = run.outputs.model_outputs if run.outputs else []
        now = int(time.time() * 1000)
        step = max((output.step for output in models), default=0)
        model_id = models[-1].model_id if models else None
        client.log_batch(
            run_id,
            metrics=[
                mlflow.entities.Metric(key, value, now, step, model_id=model_id, run_id=run_id)
                for key, value in evaluated.metrics.items()
                # The training has sent its own, epoch by epoch.
                if key.startswith("test_") or key not in run.data.metrics
            ],
        )
        for path in evaluated.artifacts:
            client.log_artifact(run_id, str(path))
        # Last, so that an evaluation that broke off is sent again.
        client.set_tag(run_id, EVALUATION, digest)


def _restore(evaluated: Evaluated, about: About) -> str:
    """Make the run of a model that was not trained here: from DVC's cache or remote, or under another store."""
    made = _Made(evaluated.name, evaluated.stage, evaluated.params, about, evaluated.packages)
    mlflow = _mlflow()
    run_id = _start(made)
    try:
        if evaluated.history:
            import pandas as pd

            history = pd.read_csv(evaluated.history)
            for row in history.to_dict("records"):
                mlflow.log_metrics(row, step=int(row.pop("epoch")))
        _log_files(made, evaluated.model, evaluated.history)
        mlflow.set_tags({MODEL_MD5: file_md5(evaluated.model), "dvc.restored": "true"})
    except BaseException:
        mlflow.end_run("FAILED")
        mlflow.MlflowClient().delete_run(run_id)
        raise
    mlflow.end_run()
    return run_id


def latest_runs() -> tuple[list[str], str] | None:
    """Return the newest finished run of each model on the data set used last, oldest first, and the experiment.

    All are ids; None where there is no such run.
    """
    client = _mlflow().MlflowClient()
    experiments = {experiment.experiment_id for experiment in client.search_experiments()}
    runs = client.search_runs(
        sorted(experiments),
        f"attributes.status = 'FINISHED' AND tags.`{MODEL_MD5}` LIKE '%'",
        order_by=["attributes.start_time DESC"],
        max_results=1000,
    )
    if not runs:
        return None
    experiment = runs[0].info.experiment_id
    newest: dict[str, str] = {}
    for run in runs:
        if run.info.experiment_id == experiment:
            newest.setdefault(run.data.tags["dvc.stage"], run.info.run_id)
    return list(newest.values())[::-1], experiment


def start_store() -> None:
    """Make the database where there is none, so that a server that starts on it finds its tables."""
    with _store_lock():
        _mlflow().MlflowClient().search_experiments(max_results=1)


def _mlflow() -> Any:
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Advice for the one who writes the logging code, not for the one who runs it.
    warnings.filterwarnings("ignore", module=r"mlflow\.")
    mlflow.set_tracking_uri(tracking_uri())
    return mlflow


def _store_lock() -> FileLock:
    folder = main_repository() / ".dvc" / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "mlflow-store.lock", is_singleton=True)


def _start(made: _Made) -> str:
    mlflow = _mlflow()
    git, diff = git_state()
    data_md5 = folder_md5(PREPARED)
    tags = {
        "dvc.stage": made.stage,
        "dvc.data_md5": data_md5,
        **git,
        **{f"version.{name}": value for name, value in versions(*made.packages).items()},
    }
    if os.environ.get("DVC_EXP_NAME"):
        tags["dvc.experiment"] = os.environ["DVC_EXP_NAME"]
    if made.about.fallback:
        tags["data.fallback"] = fallback_notice(made.about.requested, made.about.dataset)
    with _store_lock():
        experiment = _experiment(made.about.dataset)
    run = mlflow.start_run(experiment_id=experiment, run_name=made.name, tags=tags)
    try:
        mlflow.log_params(_flat(made.params))
        training = load_split("train")
        mlflow.log_input(
            mlflow.data.from_numpy(
                training.images,
                targets=training.labels,
                source=PREPARED.as_posix(),
                name=made.about.dataset,
                digest=data_md5.removesuffix(".dir"),
            ),
            context="training",
        )
        if diff:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "git.diff"
                path.write_bytes(diff)
                mlflow.log_artifact(str(path))
    except BaseException:
        mlflow.end_run("FAILED")
        raise
    return run.info.run_id


def _experiment(name: str) -> str:
    client = _mlflow().MlflowClient()
    experiment = client.get_experiment_by_name(name)
    if experiment and experiment.lifecycle_stage == "deleted":
        raise RuntimeError(
            f"its experiment {name} is deleted (back: mlflow experiments restore -x {experiment.experiment_id})"
        )
    if experiment:
        return experiment.experiment_id
    is_database = _scheme(tracking_uri()) in DATABASES
    # A database has no artifact store of its own; a server decides for itself.
    location = str(main_repository() / "mlartifacts" / name) if is_database else None
    # The pages for training runs, not those for language models.
    kind = {"mlflow.experimentKind": "custom_model_development"}
    return client.create_experiment(name, artifact_location=location, tags=kind)


def _identity(model_md5: str, run_id: str) -> dict[str, str]:
    """Return the tag that ties the run to its model: exactly one run has the md5, repeats name that run."""
    first = _find(model_md5)
    if first and first.info.run_id != run_id:
        return {REPEAT_OF: first.info.run_id}
    return {MODEL_MD5: model_md5}


def _find(model_md5: str) -> Any:
    client = _mlflow().MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(
        experiments,
        f"tags.`{MODEL_MD5}` = '{model_md5}'",
        order_by=["attributes.start_time ASC"],
        max_results=1,
    )
    return runs[0] if runs else None


def _log_files(made: _Made, model: Path, history: Path | None) -> None:
    mlflow = _mlflow()
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    if history:
        mlflow.log_text(history.read_text(), "history.csv")
        _log_kept_epoch(history, best=made.params["weights"] == "best")
    about = made.about
    mlflow.pyfunc.log_model(
        name="model",
        python_model="stages/logged_model.py",
        artifacts={"model": str(model)},
        code_paths=["stages"],
        signature=ModelSignature(
            Schema([TensorSpec(np.dtype(np.uint8), (-1, about.height, about.width))]),
            Schema([TensorSpec(np.dtype(np.float32), (-1, len(about.class_names)))]),
        ),
        pip_requirements=[
            f"{name}=={value}" for name, value in versions("mlflow", *made.packages).items() if name != "python"
        ],
        metadata={"class_names": about.class_names},
    )


def _log_kept_epoch(history: Path, best: bool) -> None:
    """Say which epoch's weights the model has.

    Where it is not the last one, its values follow as one step more, so that the latest are the model's;
    MLflow's own logging of Keras does the same.
    """
    import pandas as pd

    mlflow = _mlflow()
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


def _digest(evaluated: Evaluated) -> str:
    content = [evaluated.metrics, [file_md5(path) for path in evaluated.artifacts]]
    return hashlib.md5(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _warn(error: Exception) -> None:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    message = (
        f"warning: MLflow ({tracking_uri()}) did not take the run: {reason}. The work goes on; "
        "once MLflow is back, this sends what is missing: dvc repro --force --single-item evaluate"
    )
    print(without_credentials(message), flush=True)
