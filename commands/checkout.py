"""`mnist checkout`: the exact state that a run of MLflow was made in, in a folder of its own."""

import argparse
import json
import re
import shutil
import subprocess
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from commands.dvc_console import run_dvc
from stages.fingerprints import file_md5, folder_md5
from stages.learners.models import ALL_MODELS
from stages.paths import PREPARED
from stages.process.errors import UserError, one_line, without_credentials
from stages.process.provenance import cached, main_repository
from stages.tracking.champion import MODEL_MD5
from stages.tracking.identity import REPEAT_OF
from stages.tracking.runs import DIFF
from stages.tracking.store import connect, tracking_uri

# These become arguments of git and dvc, or names of files: whoever writes to the store could give others.
TAGS = {
    "git.commit": r"[0-9a-f]{40}|[0-9a-f]{64}",
    "dvc.stage": "|".join(model.stage for model in ALL_MODELS),
    "dvc.data_md5": r"[0-9a-f]{32}\.dir",
    MODEL_MD5: r"[0-9a-f]{32}",
}


def add_to(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "checkout",
        help="bring back the code, params, data and model of a run",
        description="Put the code, params, data and model of a run into a new folder: the run's commit and its "
        "diff from Git, data and model from DVC's cache (made again where they are not in it). "
        "Ends with exit code 1 where data or model cannot be had as they were, byte for byte.",
    )
    parser.add_argument("run_id", metavar="RUN_ID", help="id of the run, as MLflow's page of the run shows it")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where to put it; must not exist yet, or be empty")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    folder = arguments.folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{arguments.folder}: exists and is not an empty folder; name another one")
    tags, diff = _find(arguments.run_id)
    try:
        cache = Repo(str(main_repository())).cache.local_cache_dir
    except DvcException as error:
        raise UserError(f"{main_repository()}: DVC does not tell its cache: {one_line(error)}") from None
    try:
        _check_out_code(folder, tags["git.commit"], diff)
        _dvc(folder, "cache", "dir", "--quiet", "--local", cache)
        _dvc(folder, "repro", "preprocess")
        _bring_back(folder / PREPARED, tags["dvc.data_md5"])
        if MODEL_MD5 in tags:
            # From DVC's run cache if it is there; else trained again, which MLflow shows as a repeat.
            _dvc(folder, "repro", "--single-item", tags["dvc.stage"])
            (model,) = (model for model in ALL_MODELS if model.stage == tags["dvc.stage"])
            _bring_back(folder / model.file, tags[MODEL_MD5])
    except BaseException:
        # DVC's cache keeps all that was made.
        shutil.rmtree(folder, ignore_errors=True)
        raise
    print(f"{arguments.folder}: commit {tags['git.commit'][:7]}{' with the diff of the run' if diff else ''}")
    if MODEL_MD5 in tags:
        print(f"{model.file}: the model of the run, byte for byte ({tags[MODEL_MD5]})")
    else:
        print(f"The run has no model ({tags.get('failure', 'it is still open')}).")


def _find(run_id: str) -> tuple[dict[str, str], Path | None]:
    """Return the tags of the run, with the model's md5 also for a repeat, and its diff."""
    try:
        client = connect().MlflowClient()
        tags = dict(client.get_run(run_id).data.tags)
        if REPEAT_OF in tags:
            tags[MODEL_MD5] = client.get_run(tags[REPEAT_OF]).data.tags[MODEL_MD5]
        dirty = tags.get("git.dirty") == "true"
        diff = Path(client.download_artifacts(run_id, DIFF)) if dirty else None
    except UserError:
        raise
    except Exception as error:
        uri = without_credentials(tracking_uri())
        raise UserError(f"{uri}: run {run_id} cannot be read: {one_line(error)}") from None
    if "git.commit" not in tags:
        raise UserError(f"run {run_id} has no git.commit: it was not made in a Git repository, or not by this project")
    for name, pattern in TAGS.items():
        if name in tags and not re.fullmatch(pattern, tags[name]):
            raise UserError(f"run {run_id}: its tag {name} was not made by this project; choose another run")
    return tags, diff


def _check_out_code(folder: Path, commit: str, diff: Path | None) -> None:
    main = main_repository()
    _git(main, "clone", "--quiet", "--no-checkout", str(main), str(folder))
    # By its id: the commit need not be on a branch.
    _git(folder, "fetch", "--quiet", str(main), commit)
    _git(folder, "checkout", "--quiet", "--detach", commit)
    if diff:
        _git(folder, "apply", "--whitespace=nowarn", str(diff))


def _bring_back(path: Path, md5: str) -> None:
    """Make sure that `path` has the bytes of the run.

    DVC's run cache knows one result per state, the latest; where another processor has made other
    bytes since, those of the run are taken by their md5.
    """
    if _md5(path) == md5:
        return
    made, copy = _md5(path), cached(md5)
    if copy.is_file() and md5.endswith(".dir"):
        shutil.rmtree(path)
        for entry in json.loads(copy.read_text()):
            target = path / entry["relpath"]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(cached(entry["md5"]), target)
    elif copy.is_file():
        path.unlink()
        shutil.copyfile(copy, path)
    if _md5(path) != md5:
        raise UserError(
            f"{path.name} has other bytes (md5 {made}) than the run's ({md5}), which are not in DVC's cache\n"
            "Get them with dvc pull, or compare the tags runtime.* and version.* of the run with this machine."
        )


def _md5(path: Path) -> str:
    return folder_md5(path) if path.is_dir() else file_md5(path)


def _git(folder: Path, *arguments: str) -> None:
    together = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(("git", *arguments), cwd=folder, check=False, **together)
    if done.returncode:
        raise UserError(f"git {arguments[0]} failed: {done.stdout.strip().splitlines()[-1]}")


def _dvc(folder: Path, *arguments: str) -> None:
    # A training that is needed belongs to the store that the run came from.
    if run_dvc(*arguments, folder=folder, MLFLOW_TRACKING_URI=tracking_uri()):
        raise UserError(f"dvc {arguments[0]} failed; its messages are above")
