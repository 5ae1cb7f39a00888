"""`mnist publish`: the checked-out state, whatever brought it here, sent to the configured tracking server."""

import argparse
import os

from dvc.exceptions import DvcException
from dvc.repo import Repo

from stages.dataset.prepared import load_info
from stages.learners.models import ALL_MODELS
from stages.params.views import check_params
from stages.paths import RAW
from stages.process.errors import UserError, without_credentials
from stages.process.provenance import main_repository
from stages.process.temporary import own_temporary_folder
from stages.tracking.delivery import deliver_all
from stages.tracking.evaluations import record_evaluations
from stages.tracking.outbox import entries
from stages.tracking.store import first_line, tracking_uri


def add_to(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "publish",
        help="send the checked-out models and figures to MLflow",
        description="Send the checked-out state (after dvc repro, dvc pull, dvc checkout or dvc exp apply) to "
        "MLFLOW_TRACKING_URI, or to the store of this project. What MLflow has already is not sent again.",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    uri = without_credentials(tracking_uri())
    os.chdir(main_repository())
    # DVC would report a mistake in params.yaml in its own words.
    check_params({})
    _check_state()
    try:
        waiting = entries()
        with own_temporary_folder():
            refusal = deliver_all()
            sent = record_evaluations(load_info())
        if refusal:
            raise refusal
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{uri}: MLflow did not take all of it: {first_line(error)}\n"
            "Once it is back, uv run mnist publish sends what is missing."
        ) from None
    done = f"{sent} of {len(ALL_MODELS)} runs made or completed" if sent else "it has everything already"
    # One that another process is sending is still there.
    if delivered := sum(not entry.exists() for entry in waiting):
        done = f"{delivered} trainings or evaluations that had waited are sent"
    print(f"MLflow ({uri}): {done}")


def _check_state() -> None:
    """Raise `UserError` where models and reports are not those that dvc.lock tells the origin of."""
    try:
        status = Repo().status(targets=["evaluate"], with_deps=True)
    except DvcException as error:
        raise UserError(f"DVC cannot tell what is checked out: {first_line(error)}") from None
    changes = [
        f"{stage}: {path} {what}"
        # Where it began before what follows from it.
        for stage, entries in sorted(status.items(), key=lambda item: item[0] == "evaluate")
        for path, what in _changes(entries)
        # Whether DVC has a copy is no matter here, nor are the raw images.
        if what != "not in cache" and (path, what) != (str(RAW), "deleted")
    ]
    if changes:
        more = f" (and {len(changes) - 1} more)" if len(changes) > 1 else ""
        raise UserError(
            f"models and reports are not as dvc.lock records them: {changes[0]}{more}\n"
            "Bring them in line: uv run dvc repro (or dvc pull, dvc checkout, where the files are missing)."
        )


def _changes(entry: object, path: str = "") -> list[tuple[str, str]]:
    """Return what changed, and how, from the nested status of a stage."""
    if isinstance(entry, list):
        return [change for part in entry for change in _changes(part, path)]
    if isinstance(entry, dict):
        return [
            change
            for name, part in entry.items()
            for change in _changes(part, path if name.startswith("changed ") else " ".join(filter(None, (path, name))))
        ]
    return [(path, str(entry))]
