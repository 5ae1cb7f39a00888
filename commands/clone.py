"""The state of a run, or of the workspace, in a folder of its own: what `mnist checkout` and `mnist verify` share."""

import glob
import re
import shutil
from pathlib import Path

from dvc.config import Config
from dvc.exceptions import DvcException
from dvc.repo import Repo

from commands.dvc_console import run_dvc
from commands.git import git
from stages.dataset.catalogue import SETS
from stages.fingerprints import file_md5, folder_md5
from stages.learners.models import ALL_MODELS
from stages.params.yaml_file import read_yaml
from stages.paths import PARAMS
from stages.process.errors import UserError, one_line, without_credentials
from stages.process.provenance import main_repository
from stages.tracking.champion import MODEL_MD5, REPEAT_OF
from stages.tracking.runs import DIFF
from stages.tracking.store import connect, tracking_uri

# These become arguments of git and dvc, or names of files: whoever writes to the store could give others.
TAGS = {
    "git.commit": r"[0-9a-f]{40}|[0-9a-f]{64}",
    "dvc.stage": "|".join(model.stage for model in ALL_MODELS),
    "dvc.data_md5": r"[0-9a-f]{32}\.dir",
    MODEL_MD5: r"[0-9a-f]{32}",
}


def find_run(run_id: str, folder: str) -> tuple[dict[str, str], Path | None]:
    """Return the tags of the run, with the model's md5 also for a repeat, and its diff, which is put into `folder`."""
    try:
        client = connect().MlflowClient()
        tags = dict(client.get_run(run_id).data.tags)
        if REPEAT_OF in tags:
            tags[MODEL_MD5] = client.get_run(tags[REPEAT_OF]).data.tags[MODEL_MD5]
        dirty = tags.get("git.dirty") == "true"
        diff = Path(client.download_artifacts(run_id, DIFF, folder)) if dirty else None
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


def check_out_code(folder: Path, commit: str, diff: Path | None) -> Path:
    """Put the commit with the diff into the new `folder`, and return where in it the project is.

    Raises `UserError` where Git cannot.
    """
    main = main_repository()
    # The project may be one folder of a larger repository.
    repository = git("rev-parse", "--show-toplevel", clone=main)
    git("clone", "--quiet", "--no-checkout", repository, str(folder))
    # By its id: the commit need not be on a branch.
    git("fetch", "--quiet", repository, commit, clone=folder)
    git("checkout", "--quiet", "--detach", commit, clone=folder)
    if diff:
        git("apply", "--whitespace=nowarn", str(diff), clone=folder)
    return folder / main.relative_to(repository)


def project_dvc() -> Repo:
    """Return the project as DVC has it; raises `UserError` where DVC cannot read its settings."""
    try:
        return Repo(str(main_repository()))
    except DvcException as error:
        raise UserError(f"{main_repository()}: DVC does not tell its cache: {one_line(error)}") from None


def set_up_dvc(folder: Path) -> None:
    """Have the clone in `folder` use DVC's cache and settings of the project, and its data set where DVC keeps that.

    Raises `UserError` where the data set of its params.yaml cannot be had.
    """
    project, file = project_dvc(), main_repository() / ".dvc/config.local"
    if file.exists():
        # For the permissions of the file, which may have a password.
        shutil.copy2(file, folder / ".dvc")
    shared, private = (project.config.load_one(level) for level in ("repo", "local"))
    # A commit from before a remote may have only half of it.
    with Config(str(folder / ".dvc"), validate=False).edit("local") as settings:
        settings.update(private)
        # A remote that is a folder, named from here, is the same one there.
        for remote, about in shared["remote"].items():
            settings["remote"][remote] = about | private["remote"].get(remote, {})
        if default := project.config["core"].get("remote"):
            settings["core"]["remote"] = default
        settings["cache"]["dir"] = project.cache.local_cache_dir
    name = str(read_yaml(folder / PARAMS)["data"]["name"])
    # DVC keeps it as a whole, or parts of it.
    kept = [*(folder / SETS).glob(f"{glob.escape(name)}.dvc"), *(folder / SETS / name).rglob("*.dvc")]
    files = [str(file.relative_to(folder)) for file in kept if file.is_file()]
    if (
        files
        and run_dvc("checkout", "--quiet", *files, folder=folder, quiet=True)
        and run_dvc("pull", "--quiet", *files, folder=folder)
    ):
        raise UserError(
            f"{files[0]}: DVC has its data set neither in the cache nor in the remote; its messages are above"
        )


def output_md5(path: Path) -> str:
    return folder_md5(path) if path.is_dir() else file_md5(path)
