"""The workspace in the second in which DVC starts an experiment, and what a `kill -9` leaves of it then.

DVC puts edits into Git's stash, detaches HEAD, writes the experiment's params into params.yaml, and undoes all three.
"""

import json
from pathlib import Path

from commands.git import git
from stages.process.console import warn
from stages.process.errors import UserError

NOTE = Path(".dvc/tmp/sweeps/.workspace.json")
DETACHED = "HEAD"
LEFT = "left by a DVC that was killed while it started an experiment"


def note_workspace(clone: Path) -> None:
    """Note the branch and the stash, for `mend_workspace`; call it before DVC starts."""
    path = clone / NOTE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_state(clone)), encoding="utf-8")


def mend_workspace(clone: Path) -> None:
    """Where the last DVC was killed in that second, put the branch and the edits back. Call it while none runs here.

    What the workspace has meanwhile goes into Git's stash, so that nothing is lost.
    """
    try:
        before = json.loads((clone / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    now = _state(clone)
    if now["branch"] != DETACHED or before["branch"] == DETACHED or now["commit"] != before["commit"]:
        return
    try:
        git("symbolic-ref", "HEAD", before["branch"], clone=clone)
        git("stash", "push", "--quiet", "--message", LEFT, clone=clone)
        if now["stash"] != before["stash"]:
            place = git("stash", "list", "--format=%H", clone=clone).split().index(now["stash"])
            git("stash", "pop", "--quiet", "--index", f"stash@{{{place}}}", clone=clone)
    except UserError as error:
        warn(f"DVC was killed while it started a trial, and the workspace is not what it was ({error}): git stash list")


def _state(clone: Path) -> dict[str, str]:
    """Return the branch, its commit, and the latest of Git's stash, "" where it is empty."""
    return {
        "branch": git("rev-parse", "--symbolic-full-name", "HEAD", clone=clone),
        "commit": git("rev-parse", "HEAD", clone=clone),
        "stash": git("for-each-ref", "--format=%(objectname)", "refs/stash", clone=clone),
    }
