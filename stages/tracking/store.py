"""Where MLflow keeps the runs, and how to reach it."""

import logging
import os
import re
import sqlite3
import warnings
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

from stages.process.errors import UserError, without_credentials
from stages.process.provenance import main_repository

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
# Whatever the user has set: what is sent here rests on them.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # The versions are given explicitly: no need to import the model in a process of its own.
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    # uv.lock names the registry of the machine.
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_LOG_UV_FILES": "false",
    # What is not sent yet stays in the outbox: a call must not return before it is done.
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    # MLflow's own patience with a server that is gone is minutes for every call, and where only the answer was lost
    # it would make a second run.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}
# Where MLflow's tables have the paths of artifacts.
ARTIFACTS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
# Seconds for one call, unless the user has set other ones.
TIMEOUT = "20"


def tracking_uri() -> str:
    """Return where runs go: `MLFLOW_TRACKING_URI`, else the main repository's mlflow.db.

    Raises `UserError` for a URI that MLflow cannot use.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not uri:
        return f"sqlite:///{main_repository() / 'mlflow.db'}"
    user, _, host = uri.partition("://")[2].rpartition("@")
    if re.search("[@/?#]", user) and _scheme(uri) != "sqlite":
        # Each library takes another part of it for the host, and names that in its errors.
        raise UserError(
            f"MLFLOW_TRACKING_URI=…@{host}: it is unclear where the host begins; "
            "in user and password write @ / ? # as %40 %2F %3F %23"
        )
    if _scheme(uri) not in (*DATABASES, "http", "https", "databricks"):
        raise UserError(
            f"MLFLOW_TRACKING_URI={uri}: not a tracking server or database; "
            "allowed are http(s)://host:port and sqlite:///path/to/mlflow.db, or leave it unset"
        )
    if _scheme(uri) == "sqlite" and not re.match("sqlite:///[^:?]", uri):
        raise UserError(f"MLFLOW_TRACKING_URI={uri}: must name a file, as sqlite:///path/to/mlflow.db does")
    relative = uri.removeprefix("sqlite:///")
    if relative != uri and not relative.startswith("/"):
        # Not to the current folder: an experiment of DVC runs in a temporary copy, deleted afterwards.
        return f"sqlite:///{main_repository() / relative}"
    return uri


def is_server(uri: str) -> bool:
    """Return whether something answers there, which may take its time, and not a database that lies here."""
    return _scheme(uri) not in DATABASES


def _scheme(uri: str) -> str:
    try:
        return urlsplit(uri).scheme.partition("+")[0]
    except ValueError:
        return ""


def connect() -> Any:
    """Return the module mlflow, quiet and set to the store, which is made where there is none.

    The import takes a second or two.
    """
    os.environ.update(SETTINGS)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", TIMEOUT)
    import mlflow

    for name in ("mlflow", "alembic"):
        # Errors too: they come as exceptions as well, and are said in one line.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Advice for the one who writes the logging code, not for the one who runs it.
    warnings.filterwarnings("ignore", module=r"mlflow\.")
    mlflow.set_tracking_uri(tracking_uri())
    _make_database(mlflow)
    if _database() == main_repository() / "mlflow.db":
        _follow_the_clone(_database())
    return mlflow


def _database() -> Path | None:
    """Return the file of an SQLite store."""
    path = tracking_uri().removeprefix("sqlite:///")
    return None if path == tracking_uri() else Path(path.partition("?")[0])


def _make_database(mlflow: Any) -> None:
    """Make the tables of an SQLite store that is not there yet, and put it in place whole.

    Several processes that meet a fresh database at once break it for good, and so does a kill in the middle.
    """
    database = _database()
    if database is None or database.exists():
        return
    with store_lock():
        if database.exists():
            return
        part = database.with_name(f"{database.name}.part")
        part.unlink(missing_ok=True)
        mlflow.MlflowClient(f"sqlite:///{part}").search_experiments(max_results=1)
        os.replace(part, database)


@cache
def _follow_the_clone(database: Path) -> None:
    """Where a clone was moved or copied, have its own store find its artifacts here: MLflow keeps whole paths.

    Those of another clone, which shares this store, are where they were, and not here.
    """
    here = database.parent / "mlartifacts"
    # What is wrong with the database MLflow says itself.
    with suppress(sqlite3.Error), closing(sqlite3.connect(database)) as connection, connection:
        locations = connection.execute("SELECT artifact_location FROM experiments").fetchall()
        if all(_is_at(here, location) for (location,) in locations):
            return
        for table, column in ARTIFACTS:
            for row, location in connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall():
                if not _is_at(here, location):
                    moved = here / location.rpartition("/mlartifacts/")[2]
                    if moved.exists() or not Path(location).exists():
                        connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (str(moved), row))


def _is_at(folder: Path, location: str | None) -> bool:
    """Return whether MLflow's path of an artifact is in `folder`, or no path of ours."""
    before, found, _ = (location or "").rpartition("/mlartifacts/")
    return not found or "://" in before or f"{before}/mlartifacts" == str(folder)


def store_lock() -> FileLock:
    """Return the lock under which a database is made, and a run is looked for and made where there is none.

    It lies beside the database, for all clones that share it; those that share a server on several
    machines have no common lock.
    """
    database = _database()
    if database:
        return FileLock(f"{database}.lock", is_singleton=True)
    folder = main_repository() / ".dvc" / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "mlflow-store.lock", is_singleton=True)


def experiment_id(name: str) -> str:
    """Return the id of the experiment `name`, made where there is none; call it under `store_lock`."""
    client = connect().MlflowClient()
    experiment = client.get_experiment_by_name(name)
    if experiment and experiment.lifecycle_stage == "deleted":
        raise RuntimeError(
            f"its experiment {name} is deleted (back: mlflow experiments restore -x {experiment.experiment_id})"
        )
    if experiment:
        return experiment.experiment_id
    # A database has no artifact store of its own; a server decides for itself.
    location = None if is_server(tracking_uri()) else str(main_repository() / "mlartifacts" / name)
    # The pages for training runs, not those for language models.
    kind = {"mlflow.experimentKind": "custom_model_development"}
    return client.create_experiment(name, artifact_location=location, tags=kind)


def search_runs(condition: str, order: str = "attributes.start_time ASC", limit: int = 1000) -> list[Any]:
    """Return the runs of all experiments that meet `condition`, at most `limit`."""
    client = connect().MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, condition, order_by=[order], max_results=limit))


def first_line(error: Exception) -> str:
    """Return an error as part of a message: one line, without credentials."""
    return without_credentials((str(error).strip() or type(error).__name__).splitlines()[0][:300])


def warn(error: Exception) -> None:
    """Say that MLflow did not take something, and how it gets it."""
    print(
        f"warning: MLflow ({without_credentials(tracking_uri())}) did not take the run: {first_line(error)}. "
        "The work goes on; the next stage sends what is missing once MLflow is back, and so does uv run mnist publish",
        flush=True,
    )
