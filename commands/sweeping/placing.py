"""Who places the trials: here a plain loop, one at a time, in this clone."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from commands.sweeping.trial import DIED, Ended, Event, Task, run_trial

# A trial that was killed says nothing of its params: it is run again, once.
TIMES = 2


def one_at_a_time(
    next_task: Callable[[], Task | None], heard: Callable[[Task, Event], str | None], clone: Path
) -> None:
    """Run the tasks until there is none left, and pass on what they tell; `heard` may return a reason to stop one."""
    while task := next_task():
        for time in range(1, TIMES + 1):
            if not _died(task, heard, clone, last=time == TIMES):
                break


def _died(task: Task, heard: Callable[[Task, Event], str | None], clone: Path, last: bool) -> bool:
    reason: str | None = None
    with closing(run_trial(task, clone, lambda: reason)) as events:
        for event in events:
            if isinstance(event, Ended) and event.state == DIED and not last:
                return True
            reason = heard(task, event) or reason
    return False
