"""What a sweep shows while it runs: a table on a terminal, a line for each trial elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.trial import TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from commands.sweeping.file import Sweep
from commands.sweeping.study import CACHED, REASON, best_trials, finished
from commands.sweeping.trial import Epoch, Event, Task
from commands.sweeping.words import duration_words, metric_words, short_keys, trial_values
from stages.tracking.trial import NUMBER

SHOWN = 5


class Progress:
    """The state of a sweep that runs, told by its tasks and events."""

    def __init__(self, name: str, sweep: Sweep, study: optuna.Study):
        self.name, self.sweep, self.study = name, sweep, study
        self.console = Console()
        self.start, self.before = time.monotonic(), len(finished(study))
        self.now: dict[str, str] = {}
        self.live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        if not self.console.is_terminal:
            print(f"sweep {self.name}: {self.sweep.stage}, {self.sweep.method}; {self.counts()}", flush=True)
            yield
            return
        with Live(self._picture(), console=self.console, refresh_per_second=4) as self.live:
            yield

    def asked(self, task: Task) -> None:
        self.now[task.name] = f"{task.name}: starts"
        self._update()

    def heard(self, task: Task, event: Event) -> None:
        if isinstance(event, Epoch):
            value = metric_words(self.sweep.metric.name, event.values[self.sweep.metric.name])
            self.now[task.name] = f"{task.name}: epoch {event.number}, {self.sweep.metric.name} {value}"
        # At the first of Trained and Ended.
        elif self.now.pop(task.name, None) and not self.console.is_terminal:
            print(f"{self._line(int(task.tags[NUMBER]))}; {self.counts()}", flush=True)
        self._update()

    def counts(self) -> str:
        """Return how many are done and left, and how fast it goes."""
        done, total = len(finished(self.study)), self.sweep.total
        left, here = total - done, done - self.before
        words = f"{done} of {total} trials done"
        if left and here:
            per_hour = here / (time.monotonic() - self.start) * 3600
            return f"{words}, {per_hour:.0f} an hour, {left} left: {duration_words(left / per_hour * 3600)}"
        return f"{words}, {left} left" if left else words

    def _update(self) -> None:
        if self.live:
            self.live.update(self._picture())

    def _line(self, number: int) -> str:
        trial, metric = self.study.get_trials(deepcopy=False)[number], self.sweep.metric.name
        keys, of_trial = short_keys(self.sweep), trial_values(self.sweep, trial)
        values = ", ".join(f"{short} {of_trial[key]}" for key, short in keys.items() if key in of_trial)
        if trial.state == TrialState.COMPLETE:
            how = f"{metric} {metric_words(metric, trial.value)}"
            how += " (from DVC's cache)" if trial.user_attrs.get(CACHED) else ""
        else:
            how = str(trial.user_attrs.get(REASON))
            how = how if trial.state == TrialState.PRUNED else f"failed: {how}"
        best = best_trials(self.study)
        best = f"; best {metric_words(metric, best[0].value)}, trial {best[0].number}" if best else ""
        return f"trial {number}: {values}: {how}{best}"

    def _picture(self) -> Any:
        lines = [Text(line) for line in [*self.now.values(), self.counts()]]
        return Group(best_table(self.name, self.sweep, self.study), *lines)


def best_table(name: str, sweep: Sweep, study: optuna.Study) -> Table:
    """Return a table of the best trials."""
    keys = short_keys(sweep)
    table = Table(title=f"sweep {name}: the best so far")
    for heading in ("trial", sweep.metric.name, *keys.values()):
        table.add_column(heading, justify="right")
    for trial in best_trials(study)[:SHOWN]:
        values = trial_values(sweep, trial)
        table.add_row(
            str(trial.number), metric_words(sweep.metric.name, trial.value), *(values.get(key, "") for key in keys)
        )
    return table
