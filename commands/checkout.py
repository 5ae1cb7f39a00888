"""`mnist checkout`: the exact state that a run of MLflow was made in, in a folder of its own."""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from commands.clone import check_out_code, find_run, output_md5, project_dvc, set_up_dvc
from commands.dvc_console import run_dvc
from stages.learners.models import ALL_MODELS
from stages.paths import PREPARED
from stages.process.errors import UserError
from stages.process.provenance import cached
from stages.tracking.champion import MODEL_MD5
from stages.tracking.store import tracking_uri


def add_to(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "checkout",
        help="bring back the code, params, data and model of a run",
        description="Put the code, params, data and model of a run into a new folder: the run's commit from "
        "Git, its diff from MLflow, data and model from DVC's cache or remote (made again where these do not have "
        "them). "
        "Ends with exit code 1 where data or model cannot be had as they were, byte for byte.",
    )
    parser.add_argument("run_id", metavar="RUN_ID", help="id of the run, as MLflow's page of the run shows it")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where to put it; must not exist yet, or be empty")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    folder = arguments.folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{arguments.folder}: exists and is not an empty folder; name another one")
    with tempfile.TemporaryDirectory() as fetched:
        tags, diff = find_run(arguments.run_id, fetched)
        has_remote = "remote" in project_dvc().config["core"]
        try:
            project = check_out_code(folder, tags["git.commit"], diff)
            set_up_dvc(project)
            _dvc(project, "repro", "preprocess")
            _bring_back(project / PREPARED, tags["dvc.data_md5"])
            if MODEL_MD5 in tags:
                # From DVC's run cache if it is there; else trained again, which MLflow shows as a repeat.
                train = ("repro", "--single-item", tags["dvc.stage"])
                is_here = cached(tags[MODEL_MD5]).is_file()
                from_remote = has_remote and not is_here and _try_dvc(project, *train, "--pull") == 0
                if not from_remote:
                    _dvc(project, *train)
                (model,) = (model for model in ALL_MODELS if model.stage == tags["dvc.stage"])
                _bring_back(project / model.file, tags[MODEL_MD5])
        except BaseException:
            # DVC's cache keeps all that was made.
            shutil.rmtree(folder, ignore_errors=True)
            raise
    print(f"{arguments.folder}: commit {tags['git.commit'][:7]}{' with the diff of the run' if diff else ''}")
    if MODEL_MD5 in tags:
        print(f"{model.file}: the model of the run, byte for byte ({tags[MODEL_MD5]})")
    else:
        print(f"The run has no model ({tags.get('failure', 'it is still open')}).")


def _bring_back(path: Path, md5: str) -> None:
    """Make sure that `path` has the bytes of the run.

    DVC's run cache knows one result per state, the latest; where another processor has made other
    bytes since, those of the run are taken by their md5.
    """
    made, copy = output_md5(path), cached(md5)
    if made == md5:
        return
    if copy.is_file() and md5.endswith(".dir"):
        shutil.rmtree(path)
        for entry in json.loads(copy.read_text()):
            target = path / entry["relpath"]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(cached(entry["md5"]), target)
    elif copy.is_file():
        path.unlink()
        shutil.copyfile(copy, path)
    if output_md5(path) != md5:
        raise UserError(
            f"{path.name} has other bytes (md5 {made}) than the run's ({md5}), which are not in DVC's cache\n"
            "Get them with dvc pull, or compare the tags runtime.* and version.* of the run with this machine."
        )


def _dvc(folder: Path, *arguments: str) -> None:
    if _try_dvc(folder, *arguments):
        raise UserError(f"dvc {arguments[0]} failed; its messages are above")


def _try_dvc(folder: Path, *arguments: str) -> int:
    # A training that is needed belongs to the store that the run came from.
    return run_dvc(*arguments, folder=folder, MLFLOW_TRACKING_URI=tracking_uri())
