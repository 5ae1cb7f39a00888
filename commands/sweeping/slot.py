"""A place for one trial in a cluster: a clone of the project on one of its machines, in which Ray runs a worker.

The clone is the one that the worker's own environment has installed, so each clone needs an environment of its own.
"""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

import commands
from commands.dvc_console import dvc_complaint
from commands.git import experiment_commit, git
from commands.sweeping.dvc_process import end_dvc
from commands.sweeping.trial import (
    COMPLETE,
    DIED,
    FAILED,
    SLOT_LOCK,
    TRIALS,
    Ended,
    Event,
    Task,
    last_error,
    run_trial,
    start_experiment,
)
from commands.sweeping.workspace import forget_workspace, mend_workspace
from stages.process.console import warn
from stages.process.errors import UserError, one_line
from stages.tracking.store import tracking_uri

CLONE = Path(commands.__file__).resolve().parents[1]
# The names of the experiments that are kept here, and perhaps nowhere else.
UNPUSHED = TRIALS.with_name("unpushed")
# Between two looks whether the sweep has a reason to stop the trial.
ASK_SECONDS = 1


@dataclass(frozen=True)
class Survey:
    """What must be alike in all clones: the commit, the differences from it, and the shared places."""

    place: str
    commit: str
    edited: list[str]
    tracking_uri: str
    git_mistake: str | None
    dvc_mistake: str | None


def survey(git_remote: str) -> Survey:
    # It only looks, and does not wait for another sweep's trial.
    os.chdir(CLONE)
    return Survey(
        place=_here(),
        commit=git("rev-parse", "HEAD"),
        edited=edited(),
        tracking_uri=tracking_uri(),
        git_mistake=git_mistake(git_remote),
        dvc_mistake=dvc_mistake(),
    )


def run(task: Task, commit: str, git_remote: str, stop_reason: Callable[[], str | None]) -> Iterator[Event]:
    """Run the trial of the `commit` here, with what DVC's remote has of earlier ones, and push what it has made.

    What cannot be pushed now goes with the next trial, or with `push_rest`: its values are known. Raises `OtherCode`.
    """
    asked = time.monotonic()

    def stop() -> str | None:
        nonlocal asked
        if time.monotonic() - asked < ASK_SECONDS:
            return None
        asked = time.monotonic()
        return stop_reason()

    with _in_the_clone():
        _check_code(commit)
        can_pull = dvc_mistake() is None
        for event in run_trial(task, CLONE, stop, pull=can_pull):
            if isinstance(event, Ended) and event.state == COMPLETE:
                _push_with(task.name, git_remote)
            elif isinstance(event, Ended) and event.state == FAILED and can_pull and (mistake := dvc_mistake()):
                # Not for what it was asked to do.
                event = Ended(DIED, reason=f"DVC's remote went away: {mistake}")
            yield event


def run_pipeline(name: str, params: dict[str, Any], commit: str, git_remote: str) -> None:
    """Run the whole pipeline of the `commit` here as the experiment `name`, and push it; raises `UserError`."""
    with _in_the_clone():
        _check_code(commit)
        can_pull = dvc_mistake() is None
        process = start_experiment(CLONE, name, params, pull=can_pull, stdout=subprocess.PIPE, text=True)
        try:
            said = process.communicate()[0]
        finally:
            end_dvc(process)
        forget_workspace(CLONE)
        if process.returncode:
            raise UserError(last_error(said))
        _push_with(name, git_remote)


def push_rest(git_remote: str) -> list[str]:
    """Push and publish what could not be before; return what is still missing, in words."""
    from stages.process.temporary import own_temporary_folder
    from stages.tracking.publish import publish_all
    from stages.tracking.record import waiting

    missing = []
    with _in_the_clone():
        if mistake := _push(git_remote):
            missing.append(f"{_here()}: {', '.join(_unpushed())} not pushed: {mistake}")
        try:
            with own_temporary_folder():
                publish_all(waiting())
        except Exception as error:
            missing.append(f"{_here()}: MLflow did not take its runs: {one_line(error)}")
    return missing


def edited() -> list[str]:
    """Return the files that differ from HEAD, but for reports, on which no trial depends."""
    lines = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!reports").splitlines()
    return [line[2:].strip() for line in lines]


def git_mistake(remote: str) -> str | None:
    done = subprocess.run(("git", "ls-remote", remote, "HEAD"), capture_output=True, text=True, check=False)
    return one_line(done.stderr.strip()) if done.returncode else None


def dvc_mistake() -> str | None:
    """Return why DVC's remote cannot be used from here."""
    from dvc.repo import Repo

    try:
        remote = Repo().cloud.get_remote_odb()
        remote.fs.makedirs(remote.path, exist_ok=True)
    except Exception as error:
        return one_line(error)
    return None


@contextmanager
def _in_the_clone() -> Iterator[None]:
    """Hold the clone for one task of Ray, with the environment that its processes would have without Ray."""
    os.chdir(CLONE)
    # Ray sets it for its own workers, and a training's checkpoint is only good for the same one.
    os.environ.pop("OMP_NUM_THREADS", None)
    TRIALS.mkdir(parents=True, exist_ok=True)
    with FileLock(SLOT_LOCK):
        mend_workspace(CLONE)
        yield


class OtherCode(UserError):
    """The clone has other code than the sweep: a machine that joined later may."""


def _check_code(commit: str) -> None:
    if git("rev-parse", "HEAD") != commit or edited():
        raise OtherCode(f"{_here()} is not at commit {commit[:9]}, or differs from it; mend that, and go on")


def _push_with(name: str, git_remote: str) -> None:
    _note_unpushed([*_unpushed(), name])
    if mistake := _push(git_remote):
        warn(f"{name} is not pushed yet: {mistake}")


def _here() -> str:
    return f"{socket.gethostname()}:{CLONE}"


def _unpushed() -> list[str]:
    return UNPUSHED.read_text(encoding="utf-8").split() if UNPUSHED.exists() else []


def _note_unpushed(names: list[str]) -> None:
    UNPUSHED.write_text("\n".join(dict.fromkeys(names)), encoding="utf-8")


def _push(git_remote: str) -> str | None:
    """Push the experiments that are only here, with their models and how DVC got them; return what went wrong."""
    # One whose trial was run again and not kept is gone; DVC would push none of the others.
    names = [name for name in _unpushed() if experiment_commit(CLONE, name)]
    # By force: a later trial of the same name takes the place of an earlier one.
    if names and (mistake := dvc_complaint("exp", "push", "--force", "--run-cache", git_remote, *names)):
        return mistake
    UNPUSHED.unlink(missing_ok=True)
    return None
