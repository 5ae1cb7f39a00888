"""What a trial of a sweep tells of a process that only pretends to be DVC with its stage."""

import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from commands.sweeping.placing import this_clone
from commands.sweeping.trial import DIED, FAILED, KILLED, STOPPED, Ended, Epoch, Task, Trained, run_trial
from stages.tracking.trial import EVENTS, FOLDER

TASK = Task("own-0000", "train-cnn", {})
VALUES = {"val_loss": 0.5, "val_accuracy": 0.9}
BEGINS = f"""
import json, os, signal, sys, time
# A shell that starts the tests in the background has their children ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
events = open(os.path.join(os.environ["{FOLDER}"], "{EVENTS}"), "w")
def tell(text):
    events.write(text)
    events.flush()
def line(**event):
    tell(json.dumps(event) + "\\n")
def die():
    os.kill(os.getpid(), signal.SIGKILL)
line(began=True)
"""
EPOCH = f"line(epoch=1, values={VALUES})\n"
TRAINED = f'{EPOCH}line(best_weights=False)\nline(ended="FINISHED")\n'


@pytest.fixture
def run_as(monkeypatch) -> Callable[..., list[psutil.Popen]]:
    """A function that has trials run the scripts, each the next and then the last; it returns their processes."""

    def replace(*scripts: str) -> list[psutil.Popen]:
        processes: list[psutil.Popen] = []

        def start(clone: Path, *_, pull: bool, **options) -> psutil.Popen:
            script = BEGINS + scripts[min(len(processes), len(scripts) - 1)]
            processes.append(psutil.Popen((sys.executable, "-c", script), cwd=clone, **options))
            return processes[-1]

        monkeypatch.setattr("commands.sweeping.trial.start_experiment", start)
        return processes

    return replace


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (f"{EPOCH}die()", [Epoch(1, VALUES), Ended(DIED, reason=KILLED)]),
        (
            f"{TRAINED}print('ERROR: the disk is full')\nsys.exit(1)",
            [Epoch(1, VALUES), Trained(VALUES), Ended(FAILED, reason="the disk is full")],
        ),
        (
            "line(ended='FAILED', reason='train.cnn: a loss is nan')\nsys.exit('ERROR: failed to reproduce')",
            [Ended(FAILED, reason="train.cnn: a loss is nan")],
        ),
    ],
)
def test_it_tells_its_epochs_and_how_it_has_ended(run_as, tmp_path, script, told):
    run_as(script)
    assert [*run_trial(TASK, tmp_path)] == told


def test_half_a_line_is_waited_for(run_as, tmp_path):
    run_as("tell('{\"epoch\": 1, ')\ntime.sleep(0.4)\ntell('\"values\": {}}\\n')\ndie()")
    assert next(run_trial(TASK, tmp_path)) == Epoch(1, {})


def test_it_is_stopped_for_a_reason(run_as, tmp_path):
    started = run_as(f"{EPOCH}time.sleep(60)")
    heard = []
    for event in run_trial(TASK, tmp_path, stop=lambda: "worse than half of the others" if heard else None):
        heard.append(event)
    assert heard == [Epoch(1, VALUES), Ended(STOPPED, reason="worse than half of the others")]
    assert not started[0].is_running()


def test_an_interruption_leaves_no_process(run_as, tmp_path):
    started = run_as(f"{EPOCH}time.sleep(60)")
    events = run_trial(TASK, tmp_path)
    next(events)
    assert started[0].is_running()
    events.close()
    assert not started[0].is_running()


@pytest.mark.parametrize(
    ("scripts", "times", "state"), [(["die()"], 3, DIED), (["die()", "line(ended='FAILED')\nsys.exit(1)"], 2, FAILED)]
)
def test_one_that_was_killed_is_run_again_twice_at_most(run_as, tmp_path, scripts, times, state):
    started = run_as(*scripts)
    tasks, heard = iter([TASK]), []
    with this_clone(tmp_path) as place:
        place.run(lambda: next(tasks, None), lambda task, event: heard.append(event))
    assert len(started) == times
    assert [event.state for event in heard] == [state]
