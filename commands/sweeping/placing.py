"""Who places the trials: here a plain loop, one at a time, in this clone; on a cluster Ray (cluster.py)."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from commands.sweeping.trial import DIED, SLOT_LOCK, Ended, Event, Task, Trained, run_trial
from commands.sweeping.workspace import mend_workspace
from stages.process.locks import held

# A trial that was killed says nothing of its params: it is run again.
TIMES = 3

Hear = Callable[[Task, Event], str | None]


@dataclass(frozen=True)
class Place:
    """Where trials run.

    `run(next_task, heard)` runs the tasks until there is none left, and passes on what they tell; `heard` may return a
    reason to stop one. `bring(names, models)` has this clone know the experiments, with their models or without.
    """

    run: Callable[[Callable[[], Task | None], Hear], None]
    bring: Callable[[list[str], bool], None]


@contextmanager
def this_clone(clone: Path) -> Iterator[Place]:
    """Yield the clone as the place for trials; raises `UserError` where those of another sweep run in it.

    DVC has a trial's params in params.yaml while it starts it, so two would take each other's.
    """
    with held(clone / SLOT_LOCK, "another sweep runs trials in this clone"):
        mend_workspace(clone)
        yield Place(partial(_one_at_a_time, clone), lambda names, models: None)


def _one_at_a_time(clone: Path, next_task: Callable[[], Task | None], heard: Hear) -> None:
    """Train one at a time; while DVC keeps what it has made the next one starts, as both take seconds of one core."""
    keeping: tuple[Task, Future] | None = None
    with ThreadPoolExecutor(max_workers=1) as pool:
        try:
            while (task := next_task()) or keeping:
                rest = _train(task, heard, clone) if task else None
                before, keeping = keeping, None
                _pass_on(before, heard)
                keeping = (task, pool.submit(list, rest)) if task else None
        finally:
            _pass_on(keeping, heard)


def _pass_on(keeping: tuple[Task, Future] | None, heard: Hear) -> None:
    if keeping:
        task, rest = keeping
        for event in rest.result():
            heard(task, event)


def _train(task: Task, heard: Hear, clone: Path) -> Iterator[Event]:
    """Return what the trial has still to tell once it is trained; nothing where it has ended."""
    for time in range(1, TIMES + 1):
        if (rest := _attempt(task, heard, clone, last=time == TIMES)) is not None:
            return rest
    return iter(())


def _attempt(task: Task, heard: Hear, clone: Path, last: bool) -> Iterator[Event] | None:
    """Return what `_train` returns; None where the trial has died, unless it is the `last` time."""
    reason: str | None = None
    events = run_trial(task, clone, lambda: reason)
    try:
        for event in events:
            if isinstance(event, Ended) and event.state == DIED:
                mend_workspace(clone)
                if not last:
                    return None
            reason = heard(task, event) or reason
            if isinstance(event, Trained):
                return events
    except BaseException:
        # Ends its processes.
        events.close()
        raise
    return iter(())
