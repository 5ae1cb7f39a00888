"""The workspace in the second in which DVC starts an experiment, and what a `kill -9` leaves of it then.

DVC puts edits into Git's stash, detaches HEAD, writes the experiment's params into params.yaml, and undoes all three.
"""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from commands.git import git
from stages.process.console import warn
from stages.process.errors import UserError
from stages.process.lifetime import lives

# There while DVC is starting an experiment: what it is to put back.
WORKSPACE_NOTE = Path(".dvc/tmp/sweeps/.workspace.json")
DETACHED = "HEAD"
LEFT = "left by a DVC that was killed while it started an experiment"


def note_workspace(clone: Path) -> None:
    """Note the branch and the stash, for `mend_workspace`; call it before DVC starts."""
    path = clone / WORKSPACE_NOTE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_state(clone)), encoding="utf-8")


def forget_workspace(clone: Path) -> None:
    """Call it once the experiment's stage has started, or DVC has ended: both are put back."""
    (clone / WORKSPACE_NOTE).unlink(missing_ok=True)


def mend_workspace(clone: Path) -> None:
    """Where DVC was killed while it started an experiment, put the branch and the edits back; call it while none does.

    What the workspace has meanwhile goes into Git's stash, so that nothing is lost.
    """
    try:
        before = json.loads((clone / WORKSPACE_NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    try:
        _remove_locks(clone)
        _put_back(clone, before, _state(clone))
        forget_workspace(clone)
    except UserError as error:
        warn(f"DVC was killed while it started a trial, and the workspace is not what it was ({error}): git stash list")


def _put_back(clone: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    if now["commit"] != before["commit"]:
        return
    # Where HEAD was detached before and there was no edit, only DVC's own edit tells.
    edited = before["branch"] == DETACHED and not before.get("edited") and now["edited"]
    if (now["branch"], now["stash"]) == (before["branch"], before["stash"]) and not edited:
        return
    git("stash", "push", "--quiet", "--message", LEFT, clone=clone)
    if now["branch"] == DETACHED != before["branch"]:
        git("symbolic-ref", DETACHED, before["branch"], clone=clone)
    if now["stash"] not in ("", before["stash"]):
        place = git("stash", "list", "--format=%H", clone=clone).split().index(now["stash"])
        git("stash", "pop", "--quiet", "--index", f"stash@{{{place}}}", clone=clone)


def _remove_locks(clone: Path) -> None:
    """Remove the locks of Git and DVC that a killed one has left: they would keep out all others."""
    index = clone / git("rev-parse", "--git-path", "index.lock", clone=clone)
    if index.exists() and not _git_is_at_work(clone):
        index.unlink()
    dvc = clone / ".dvc/tmp/rwlock"
    # DVC sees to those of processes that are gone, but not of one that init has not reaped yet.
    if dvc.exists() and not any(_lives(int(pid)) for pid in re.findall(r'"pid": *(\d+)', dvc.read_text())):
        dvc.unlink()


def _lives(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return lives(psutil.Process(pid))
    return False


def _git_is_at_work(clone: Path) -> bool:
    """Return whether the user has Git at work there, which then holds its lock."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() == "git" and Path(process.cwd()).is_relative_to(clone.resolve()):
                return True
    return False


def _state(clone: Path) -> dict[str, Any]:
    """Return the branch, its commit, the latest of Git's stash, "" where it is empty, and whether files are edited."""
    return {
        "branch": git("rev-parse", "--symbolic-full-name", DETACHED, clone=clone),
        "commit": git("rev-parse", DETACHED, clone=clone),
        "stash": git("for-each-ref", "--format=%(objectname)", "refs/stash", clone=clone),
        "edited": bool(git("status", "--porcelain", "--untracked-files=no", clone=clone)),
    }
