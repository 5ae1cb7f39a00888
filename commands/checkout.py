"""`mnist checkout`: the exact state that a run of MLflow was made in, in a folder of its own."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from stages.errors import UserError, without_credentials
from stages.models import ALL_MODELS
from stages.paths import PREPARED
from stages.provenance import file_md5, folder_md5, main_repository
from stages.tracking.record import DIFF, MODEL_MD5, REPEAT_OF
from stages.tracking.store import connect, first_line, tracking_uri


def add_to(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "checkout",
        help="bring back the code, params, data and model of a run",
        description="Put the code, params, data and model of a run into a new folder: the run's commit and its "
        "diff from Git, data and model from DVC's cache (made again where they are not in it). "
        "Ends with exit code 1 where the model is not the same, byte for byte.",
    )
    parser.add_argument("run_id", metavar="RUN_ID", help="id of the run, as MLflow's page of the run shows it")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where to put it; must not exist yet, or be empty")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    folder = arguments.folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{arguments.folder}: exists and is not an empty folder; name another one")
    mlflow = connect()
    tags, diff = _find(mlflow, arguments.run_id)

    main = main_repository()
    try:
        _git(main, "clone", "--quiet", "--no-checkout", str(main), str(folder))
        # By its id: the commit need not be on a branch.
        _git(folder, "fetch", "--quiet", str(main), tags["git.commit"])
        _git(folder, "checkout", "--quiet", "--detach", tags["git.commit"])
        if diff:
            _git(folder, "apply", "--whitespace=nowarn", str(diff))
        _dvc(folder, "cache", "dir", "--local", str(main / ".dvc" / "cache"))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    print(
        f"{arguments.folder}: commit {tags['git.commit'][:7]}{' with the diff of the run' if diff else ''}", flush=True
    )

    if MODEL_MD5 not in tags:
        print(f"The run has no model ({tags.get('failure', 'it is still open')}).")
        return
    # From DVC's run cache if it is there; else trained again, which MLflow shows as a repeat.
    _dvc(folder, "repro", tags["dvc.stage"])
    _compare(folder, tags)


def _find(mlflow: Any, run_id: str) -> tuple[dict[str, str], Path | None]:
    """Return the tags of the run, those of the first run in place of a repeat's identity, and its diff."""
    client = mlflow.MlflowClient()
    try:
        tags = dict(client.get_run(run_id).data.tags)
        if REPEAT_OF in tags:
            tags[MODEL_MD5] = client.get_run(tags[REPEAT_OF]).data.tags[MODEL_MD5]
        dirty = tags.get("git.dirty") == "true"
        diff = Path(client.download_artifacts(run_id, DIFF)) if dirty else None
    except Exception as error:
        uri = without_credentials(tracking_uri())
        raise UserError(f"{uri}: run {run_id} cannot be read: {first_line(error)}") from None
    if "git.commit" not in tags:
        raise UserError(f"run {run_id} has no git.commit: it was not made in a Git repository, or not by this project")
    return tags, diff


def _compare(folder: Path, tags: dict[str, str]) -> None:
    (model,) = (model for model in ALL_MODELS if model.stage == tags["dvc.stage"])
    found, recorded = file_md5(folder / model.file), tags[MODEL_MD5]
    if found == recorded:
        print(f"{model.file}: the model of the run, byte for byte ({recorded})")
        return
    same_data = folder_md5(folder / PREPARED) == tags["dvc.data_md5"]
    raise UserError(
        f"{model.file} was made again with other bytes (md5 {found}, the run has {recorded}); "
        f"the data is {'the same' if same_data else 'other data'}\n"
        "Compare the processor and the package versions with the run's tags runtime.* and version.*."
    )


def _git(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        ("git", *arguments),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UserError(f"git {arguments[0]} failed: {done.stdout.strip().splitlines()[-1]}")


def _dvc(folder: Path, *arguments: str) -> None:
    # Where training is needed its run belongs to the store that the run came from.
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri()}
    done = subprocess.run((sys.executable, "-m", "dvc", *arguments), cwd=folder, env=environment, check=False)
    if done.returncode:
        raise UserError(f"dvc {arguments[0]} failed in {folder}; its messages are above")
