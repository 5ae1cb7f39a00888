"""`mnist publish`: the checked-out state, whatever brought it here, published to the configured tracking server."""

import argparse
import os

from dvc.exceptions import DvcException
from dvc.repo import Repo

from stages.dataset.prepared import load_info, load_split
from stages.learners.models import ALL_MODELS
from stages.params.views import check_params
from stages.paths import RAW
from stages.process.errors import UserError, one_line, without_credentials
from stages.process.provenance import main_repository
from stages.process.temporary import own_temporary_folder
from stages.tracking.publish import publish_all
from stages.tracking.record import remove, waiting
from stages.tracking.runs import record_from_files
from stages.tracking.store import tracking_uri


def add_to(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "publish",
        help="publish the checked-out models, metrics and figures in MLflow",
        description="Publish the checked-out state (after dvc repro, dvc pull, dvc checkout or dvc exp apply) at "
        "MLFLOW_TRACKING_URI, or in the store of this project. What MLflow has already is not published again.",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    uri = without_credentials(tracking_uri())
    os.chdir(main_repository())
    # DVC would report a mistake in params.yaml in its own words.
    check_params({})
    _check_state()
    info, training = load_info(), load_split("train")
    rest, from_files = waiting(), []
    try:
        with own_temporary_folder():
            from_files = [record_from_files(model, info, training, {}) for model in ALL_MODELS]
            changed = publish_all([*rest, *from_files])
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{uri}: MLflow did not take all of it: {one_line(error)}\n"
            "Once it is back, uv run mnist publish publishes what is missing."
        ) from None
    finally:
        for record in from_files:
            # They can be made again at any time.
            remove(record)
    done = "it has everything already"
    # One that another process is publishing is still there.
    if published := sum(not record.exists() for record in rest):
        done = f"{published} trainings or evaluations that had waited are published"
    elif changed:
        done = f"{len(changed)} of {len(ALL_MODELS)} runs made or completed"
    print(f"MLflow ({uri}): {done}")


def _check_state() -> None:
    """Raise `UserError` where models and reports are not those that dvc.lock tells the origin of."""
    try:
        status = Repo().status(targets=["evaluate"], with_deps=True)
    except DvcException as error:
        raise UserError(f"DVC cannot tell what is checked out: {one_line(error)}") from None
    changes = [
        f"{stage}: {path} {what}"
        # The first cause comes before its consequences.
        for stage, entries in sorted(status.items(), key=lambda item: item[0] == "evaluate")
        for path, what in _changes(entries)
        # It does not matter here that DVC has no copy, nor that the raw images are gone.
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
