"""One trial: an experiment of DVC of one stage in a clone, whose epochs are told as they happen.

It knows neither who has decided on its params, nor who places it where.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from commands.experiments import set_params
from commands.git import remove_experiment
from commands.sweeping.dvc_process import end_dvc, start_dvc
from commands.sweeping.outputs import Outputs
from commands.sweeping.workspace import forget_workspace, mend_workspace, note_workspace
from stages.process.errors import UserError, one_line
from stages.tracking.record import FINISHED
from stages.tracking.trial import EVENTS, FOLDER, STOP, TAGS, state_tag

# In a clone, a folder for each trial that runs there, with what it tells and what it printed.
TRIALS = Path(".dvc/tmp/sweeps/trials")
# Held by whoever runs trials in a clone. No sweep has such a name.
SLOT_LOCK = TRIALS.with_name(".slot.lock")
LOOK_SECONDS = 0.1
COMPLETE, FAILED, STOPPED, DIED = "complete", "failed", "stopped", "died"
KILLED = "its process was killed, or ran out of memory"


@dataclass(frozen=True)
class Task:
    """All that a trial is made of; it can be sent to another machine. `name` is that of the experiment."""

    name: str
    stage: str
    params: dict[str, Any]
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Epoch:
    """The `values` of an epoch (from 1); a forest has one."""

    number: int
    values: dict[str, float]


@dataclass(frozen=True)
class Trained:
    """The training is done: the `values` of its model. What is left is that DVC keeps the model."""

    values: dict[str, float]


@dataclass(frozen=True)
class Ended:
    """How a trial has ended: complete, with the `values` of its model; failed; stopped, as it was asked to; or died.

    One that died was killed, or its machine went: it says nothing of the params. `cached` tells that DVC had the
    result already.
    """

    state: str
    values: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    cached: bool = False


Event = Epoch | Trained | Ended


def trial_name(sweep: str, label: int | str, seed: int | None = None) -> str:
    """Return the name of the experiment of a trial, by its number or label; with a `seed` that of a repetition."""
    name = f"{sweep}-{label:04d}" if isinstance(label, int) else f"{sweep}-{label}"
    return name if seed is None else f"{name}-seed-{seed}"


def run_trial(
    task: Task, clone: Path, stop: Callable[[], str | None] = lambda: None, pull: bool = False
) -> Iterator[Event]:
    """Yield the epochs of the trial as they happen, then, unless DVC had it already, its values, and how it has ended.

    It is stopped when `stop` returns a reason, which its run in MLflow shows, and interrupted when the generator is
    closed or an exception goes through it. Either way none of its processes is left. With `pull` DVC looks in its
    remote, too, for data and earlier results.
    """
    folder = clone / TRIALS / task.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / TAGS).write_text(json.dumps(task.tags), encoding="utf-8")
    told: list[dict[str, Any]] = []
    reason = None
    with open(folder / "console.log", "wb") as console:
        environment = {**os.environ, FOLDER: str(folder.resolve())}
        process = start_experiment(
            clone, task.name, task.params, task.stage, pull=pull, env=environment, stdout=console
        )
    try:
        events, ending = _new_events(folder / EVENTS), False
        while not ending:
            # Before the look: what was told until then is there.
            ending = process.poll() is not None
            for event in next(events):
                if not told:
                    forget_workspace(clone)
                told.append(event)
                if "epoch" in event:
                    yield Epoch(event["epoch"], event["values"])
                if event.get("ended") == FINISHED and (trained := _trained(told)):
                    yield trained
            if not ending and (reason := stop()):
                (folder / STOP).write_text(reason, encoding="utf-8")
                break
            if not ending:
                time.sleep(LOOK_SECONDS)
    finally:
        end_dvc(process)
        code = process.wait()
        if not told:
            # At once: later a stash of the user's could be taken for DVC's.
            (forget_workspace if code >= 0 else mend_workspace)(clone)
    # What it has told since.
    told += next(events)
    yield from _outcome(task, clone, folder, told, code, reason)
    # Not that of one that failed: what it printed may be wanted.
    if code == 0 or reason:
        shutil.rmtree(folder, ignore_errors=True)


def start_experiment(
    clone: Path, name: str, params: dict[str, Any], *stages: str, pull: bool, **options: Any
) -> psutil.Popen:
    """Start DVC with the experiment, of all stages or of these; it replaces an earlier one of that name.

    With `pull` DVC looks in its remote, too. `options` are those of `start_dvc`.
    """
    remove_experiment(clone, name)
    note_workspace(clone)
    pulled = ("--pull",) if pull else ()
    # Another DVC may be at work here: the one that keeps what the last trial has made, or the user's.
    command = ("--wait-for-lock", "exp", "run", "--temp", *pulled, "--name", name, *set_params(params), *stages)
    try:
        return start_dvc(clone, *command, **options)
    except BaseException:
        mend_workspace(clone)
        raise


def _trained(told: list[dict[str, Any]]) -> Trained | None:
    """Return the metrics of the model; None where a full disk has lost some of what was told."""
    facts = {key: value for event in told for key, value in event.items()}
    epochs = [event["values"] for event in told if "epoch" in event]
    if not epochs or "best_weights" not in facts:
        return None
    best = min(epochs, key=lambda values: values["val_loss"])
    return Trained(best if facts["best_weights"] else epochs[-1])


def _new_events(path: Path) -> Iterator[list[dict[str, Any]]]:
    """Yield, each time it is asked, the events that were added to the file since; none while it is not there."""
    while not path.exists():
        yield []
    part = ""
    with open(path, encoding="utf-8") as file:
        while True:
            *lines, part = (part + file.read()).split("\n")
            yield [json.loads(line) for line in lines]


def _outcome(
    task: Task, clone: Path, folder: Path, told: list[dict[str, Any]], code: int, reason: str | None
) -> Iterator[Event]:
    facts: dict[str, Any] = {key: value for event in told for key, value in event.items()}
    if code == 0:
        try:
            outputs = Outputs(clone, task.name, task.stage)
            epochs = [Epoch(event["epoch"], event["values"]) for event in told if "epoch" in event]
            if "began" not in facts:
                epochs = [Epoch(number, values) for number, values in enumerate(outputs.epochs(), start=1)]
                outputs.publish(task.tags | state_tag(task.tags, FINISHED), [epoch.values for epoch in epochs])
                yield from epochs
            values = outputs.kept([epoch.values for epoch in epochs])
        except UserError as error:
            yield Ended(FAILED, reason=str(error))
        else:
            yield Ended(COMPLETE, values, cached="began" not in facts)
    elif reason:
        yield Ended(STOPPED, reason=reason)
    elif code < 0 or ("began" in facts and "ended" not in facts):
        yield Ended(DIED, reason=KILLED)
    else:
        said = last_error((folder / "console.log").read_text(encoding="utf-8", errors="replace"))
        # In DVC's words: the stage was killed after its training; another DVC is at work, or was killed a moment ago.
        killed, blocked = re.search(r"exited with -\d+$", said), "is busy, it is being blocked by" in said
        state, reason = (DIED, KILLED) if killed else (DIED if blocked else FAILED, facts.get("reason") or said)
        yield Ended(state, reason=one_line(reason))


def last_error(console: str) -> str:
    """Return the error that the stage or DVC has printed last, on one line."""
    text = console.replace("\r", "\n")
    said = re.findall(r"^(?:error|ERROR): (.+)", text, flags=re.MULTILINE)
    # The stage's comes first, and DVC adds that a stage has failed.
    lines = said or [line for line in text.splitlines() if line.strip()][-1:]
    return one_line(lines[0] if lines else "DVC failed without a word")
