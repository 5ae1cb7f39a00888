"""The store that MLflow keeps the runs in, and the way to reach it."""

import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

from stages.process.console import warn
from stages.process.errors import UserError, without_credentials
from stages.process.provenance import main_repository
from stages.tracking.moved_clone import follow_the_clone
from stages.tracking.statistics import keep_statistics

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
# They hold whatever the user has set: publishing rests on them.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # The versions are given explicitly: no need to import the model in a process of its own.
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    # uv.lock names the registry of the machine.
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_LOG_UV_FILES": "false",
    # A record is removed once it is published: a call must not return before it is done.
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    # MLflow's own patience with a server that is gone is minutes for every call, and where only the answer was lost
    # it would make a second run.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}
# Runs in one answer of a search.
PAGE = 100
OLDEST, NEWEST = "attributes.start_time ASC", "attributes.start_time DESC"
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


def load_mlflow() -> Any:
    """Return the module mlflow, quiet. The import takes two or three seconds, the first time."""
    os.environ.update(SETTINGS)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", TIMEOUT)
    import mlflow

    if not is_server(os.environ.get("MLFLOW_TRACKING_URI", "").strip() or "sqlite:"):
        # MLflow would import it at the first call.
        import mlflow.store.tracking.sqlalchemy_store
    for name in ("mlflow", "alembic"):
        # Errors too: they come as exceptions as well, and are said in one line.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Advice for the one who writes the logging code, not for the one who runs it.
    warnings.filterwarnings("ignore", module=r"mlflow\.")
    return mlflow


def connect() -> Any:
    """Return the module mlflow, quiet and set to the store, which is made where there is none."""
    mlflow = load_mlflow()
    mlflow.set_tracking_uri(tracking_uri())
    if not is_server(tracking_uri()) and not _database():
        from mlflow.store.db import utils

        # No setting bounds it: with a database that is away each call would take 100 s.
        utils.MAX_RETRY_COUNT = 1
    _make_database(mlflow)
    if _database() == main_repository() / "mlflow.db":
        follow_the_clone(_database())
    if _database():
        keep_statistics(_database())
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
    try:
        return client.create_experiment(name, artifact_location=location, tags=kind)
    except Exception:
        # Another machine on the same server, which has no common lock with this one, may have made it since.
        made = client.get_experiment_by_name(name)
        if made is None:
            raise
        return made.experiment_id


def first_run(condition: str, *order: str, experiment: str | None = None, deleted: bool = False) -> Any:
    """Return the first of the runs that `search_runs` would yield, or None; the others are not asked for."""
    return next(search_runs(condition, *order, experiment=experiment, deleted=deleted, page=1), None)


def search_runs(
    condition: str, *order: str, experiment: str | None = None, deleted: bool = False, page: int = PAGE
) -> Iterator[Any]:
    """Yield the runs that meet `condition`, of all experiments or one (its id), page by page as they are asked for.

    The oldest come first, unless an `order` is given. With `deleted` those that somebody has deleted come too.
    """
    from mlflow.entities import ViewType

    client = connect().MlflowClient()
    view = ViewType.ALL if deleted else ViewType.ACTIVE_ONLY
    experiments = [experiment] if experiment else [each.experiment_id for each in client.search_experiments()]
    token = None
    while True:
        found = client.search_runs(
            experiments,
            condition,
            run_view_type=view,
            max_results=page,
            order_by=[*(order or [OLDEST]), "attributes.run_id ASC"],
            page_token=token,
        )
        yield from found
        token = found.token
        if not token:
            return


def warn_of_waiting(what: str) -> None:
    """Say that MLflow does not have a run yet, and how it gets it."""
    warn(
        f"MLflow ({without_credentials(tracking_uri())}) {what}. The work goes on; the next stage publishes what is "
        "missing once MLflow is back, and so does uv run mnist publish"
    )
