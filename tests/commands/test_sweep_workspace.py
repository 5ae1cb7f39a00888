"""What a DVC that was killed while it started a trial leaves in Git, and how it is mended."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands.git import git
from commands.sweeping.workspace import LEFT, WORKSPACE_NOTE, mend_workspace, note_workspace


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with one commit on the branch `main`."""
    git("init", "--quiet", "--initial-branch", "main", clone=tmp_path)
    for name, value in (("user.name", "Ada"), ("user.email", "ada@example.org")):
        git("config", name, value, clone=tmp_path)
    (tmp_path / "params.yaml").write_text("committed")
    git("add", "params.yaml", clone=tmp_path)
    git("commit", "--quiet", "--message", "first", clone=tmp_path)
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    return tmp_path


def start_as_dvc_does(clone: Path) -> None:
    git("stash", "push", "--quiet", clone=clone)
    git("checkout", "--quiet", "--detach", clone=clone)
    (clone / "params.yaml").write_text("of a trial")


def state(clone: Path) -> tuple[str, str, list[str]]:
    stash = git("stash", "list", "--format=%s", clone=clone).splitlines()
    return (clone / "params.yaml").read_text(), git("symbolic-ref", "HEAD", clone=clone), stash


def test_branch_and_edit_come_back_and_nothing_is_lost(clone):
    (clone / "params.yaml").write_text("mine")
    note_workspace(clone)
    start_as_dvc_does(clone)
    (clone / ".git/index.lock").touch()
    mend_workspace(clone)
    assert state(clone) == ("mine", "refs/heads/main", [f"On (no branch): {LEFT}"])
    assert not (clone / ".git/index.lock").exists()
    assert not (clone / WORKSPACE_NOTE).exists()


def test_without_an_edit_nothing_is_taken_from_the_stash_of_before(clone):
    (clone / "params.yaml").write_text("put aside")
    git("stash", "push", "--quiet", "--message", "mine", clone=clone)
    note_workspace(clone)
    start_as_dvc_does(clone)
    mend_workspace(clone)
    assert state(clone) == ("committed", "refs/heads/main", [f"On (no branch): {LEFT}", "On main: mine"])


def test_what_was_put_aside_after_a_commit_is_left_alone(clone):
    note_workspace(clone)
    (clone / "params.yaml").write_text("newer")
    git("commit", "--quiet", "--all", "--message", "second", clone=clone)
    (clone / "params.yaml").write_text("put aside")
    git("stash", "push", "--quiet", "--message", "mine", clone=clone)
    mend_workspace(clone)
    assert state(clone) == ("newer", "refs/heads/main", ["On main: mine"])


def test_a_lock_of_dvc_goes_with_its_process(clone):
    lock = clone / ".dvc/tmp/rwlock"
    gone = subprocess.Popen((sys.executable, "-c", ""))
    gone.wait()
    for pid, stays in ((os.getpid(), True), (gone.pid, False)):
        note_workspace(clone)
        lock.write_text(json.dumps({"data": {"write": {"pid": pid, "cmd": "dvc"}}}))
        mend_workspace(clone)
        assert lock.exists() == stays
