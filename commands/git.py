"""Git in a clone, and the experiments of DVC there, which are refs of Git."""

import os
import subprocess
from pathlib import Path

from stages.process.errors import UserError, one_line

# Git sets them for its hooks. With these it would work in the repository that they name, not in the clone.
OF_A_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX")


def git(*arguments: str, clone: Path = Path()) -> str:
    """Return what Git prints in the `clone`, without the last line's end.

    Raises `UserError` with the last line of its complaint.
    """
    environment = {name: value for name, value in os.environ.items() if name not in OF_A_REPOSITORY}
    command = ("git", *arguments)
    done = subprocess.run(command, cwd=clone, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError(f"git {arguments[0]} failed: {one_line(said[-1])}")
    return done.stdout.rstrip("\n")


def experiment_commit(clone: Path, name: str) -> str | None:
    """Return the commit of the newest experiment of that name; None where DVC has none."""
    refs = _experiments(clone, name)
    return refs[0][1] if refs else None


def remove_experiment(clone: Path, name: str) -> None:
    """Remove the experiments of that name; DVC's cache keeps their outputs.

    `dvc exp remove` takes two seconds for it.
    """
    for ref, _ in _experiments(clone, name):
        git("update-ref", "-d", ref, clone=clone)


def _experiments(clone: Path, name: str) -> list[tuple[str, str]]:
    """Return the refs, which DVC has for each commit that an experiment was made on, and the commits of that name."""
    newest_first = ("--sort=-committerdate", "--format=%(refname) %(objectname)")
    listed = git("for-each-ref", *newest_first, "refs/exps/", clone=clone).splitlines()
    found = [tuple(line.split()) for line in listed]
    # Not as a pattern of Git's: a name that is one would be all experiments.
    return [(ref, commit) for ref, commit in found if ref.split("/", 4)[4:] == [name]]
