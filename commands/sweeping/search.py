"""Who decides: Optuna says what is tried next and what is stopped, and hears how each trial ends."""

from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import Trial, TrialState

from commands.sweeping.file import Sweep
from commands.sweeping.space import distributions, invalid, point, proposed, trial_params, trial_seed
from commands.sweeping.study import CACHED, PRUNED, REASON, UNKEPT
from commands.sweeping.trial import COMPLETE, STOPPED, TRIALS, Ended, Epoch, Event, Task, Trained, trial_name
from stages.process.console import warn
from stages.process.errors import UserError
from stages.tracking import trial as tags

# If so many fail before one is of use, the others would fail too.
FAILURES = 3


class Search:
    """A sweep's decisions: the next task, whether to stop one, and what its end means."""

    def __init__(self, name: str, sweep: Sweep, study: optuna.Study, content: dict[str, Any]):
        self.name, self.sweep, self.study, self.content = name, sweep, study, content
        self.space = distributions(sweep, content)
        self.running: dict[str, Trial] = {}
        # The numbers of those that are trained, by the names of their tasks, and of those that were run for DVC again.
        self.keeping: dict[str, int] = {}
        self.again: set[int] = set()
        # Why trials have failed, by their numbers, until one of this process is of use. Only then the study hears of
        # it: what made them all fail may be mended, and they are run again.
        self.failed: dict[int, str] = {}
        self.useful = False

    def next_task(self) -> Task | None:
        """Return the next trial: one that a kill has broken off, under its number, before any new one.

        Raises `UserError` where the first ones have all failed.
        """
        while True:
            self._check_failures()
            trial = self._broken_off()
            if trial is None and (task := self._unkept()):
                return task
            trial = trial or self._new()
            if trial is None:
                if not self.running:
                    self._tell_failures()
                return None
            params = proposed(self.sweep, {key: _suggested(trial, key, each) for key, each in self.space.items()})
            if reason := trial.user_attrs.get(PRUNED):
                self._tell(trial, TrialState.PRUNED, reason)
            elif mistake := invalid(self.sweep, self.content, params):
                warn(f"trial {trial.number} is not run: {mistake}")
                self._tell(trial, TrialState.FAIL, mistake)
            else:
                task = self._task(trial.number, params)
                self.running[task.name] = trial
                return task

    def heard(self, task: Task, event: Event) -> str | None:
        """Take in what a trial tells; return a reason to stop it, or None."""
        if task.name in self.keeping:
            self._hear_of_keeping(task, event)
            return None
        trial = self.running[task.name]
        if isinstance(event, Epoch):
            return self._report(trial, event)
        del self.running[task.name]
        if isinstance(event, Trained) or event.state == COMPLETE:
            trial.set_user_attr(CACHED, isinstance(event, Ended) and event.cached)
            if isinstance(event, Trained):
                self.keeping[task.name] = trial.number
                self.study.set_user_attr(UNKEPT, [*self.study.user_attrs.get(UNKEPT, []), trial.number])
            self.study.tell(trial.number, event.values[self.sweep.metric.name])
            self._found_useful()
        elif event.state == STOPPED:
            self._tell(trial, TrialState.PRUNED, event.reason)
        else:
            self._tell(trial, TrialState.FAIL, event.reason)
        return None

    def _hear_of_keeping(self, task: Task, event: Event) -> None:
        if not isinstance(event, Ended):
            return
        number = self.keeping.pop(task.name)
        if event.state == COMPLETE:
            unkept = self.study.user_attrs[UNKEPT]
            self.study.set_user_attr(UNKEPT, [each for each in unkept if each != number])
        else:
            warn(f"{task.name} was trained, but DVC has not kept its model: {event.reason}")

    def _unkept(self) -> Task | None:
        """Return a complete trial of which DVC has no model, as after a kill: its value stays what it is."""
        for number in self.study.user_attrs.get(UNKEPT, []):
            trial = self.study.get_trials(deepcopy=False)[number]
            if trial.state == TrialState.COMPLETE and number not in {*self.keeping.values(), *self.again}:
                self.again.add(number)
                task = self._task(number, proposed(self.sweep, trial.params))
                self.keeping[task.name] = number
                return task
        return None

    def _task(self, number: int, params: dict[str, Any]) -> Task:
        return Task(
            trial_name(self.name, number),
            self.sweep.stage,
            trial_params(self.sweep, params),
            {tags.SWEEP: self.name, tags.NUMBER: str(number)},
        )

    def _broken_off(self) -> Trial | None:
        placed = {trial.number for trial in self.running.values()} | self.failed.keys()
        for frozen in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if frozen.number not in placed:
                self._set_sampler(frozen.number)
                return Trial(self.study, frozen._trial_id)
        return None

    def _new(self) -> Trial | None:
        trials = self.study.get_trials(deepcopy=False)
        waiting = [trial.number for trial in trials if trial.state == TrialState.WAITING]
        number = waiting[0] if waiting else len(trials)
        if number >= self.sweep.total:
            return None
        self._set_sampler(number)
        values = None if waiting else point(self.sweep, number, self.space)
        if values is not None:
            # First with its values, so that no kill leaves a trial that knows only some of them.
            self.study.enqueue_trial(values)
        return self.study.ask()

    def _set_sampler(self, number: int) -> None:
        seed = None if self.sweep.seed is None else trial_seed(self.sweep, number)
        self.study.sampler = TPESampler(seed=seed) if self.sweep.method == "tpe" else RandomSampler(seed=seed)

    def _report(self, trial: Trial, epoch: Epoch) -> str | None:
        known = self.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        if epoch.number in known:
            # Told before a kill, and the same again.
            return None
        trial.report(epoch.values[self.sweep.metric.name], epoch.number)
        if not trial.should_prune():
            return None
        value, eta = epoch.values[self.sweep.metric.name], self.sweep.early_terminate.eta
        reason = (
            f"pruned after epoch {epoch.number}: {self.sweep.metric.name} {value:.4f} is not among the best 1/{eta} "
            f"of the trials that came so far (sweep {self.name})"
        )
        # Before it is stopped: after a kill it is known that it was.
        trial.set_user_attr(PRUNED, reason)
        return reason

    def _tell(self, trial: Trial, state: TrialState, reason: str) -> None:
        failed_before = REASON in trial.user_attrs
        trial.set_user_attr(REASON, reason)
        if state == TrialState.FAIL and not (self.useful or failed_before):
            self.failed[trial.number] = reason
            return
        self.study.tell(trial.number, state=state)
        if state != TrialState.FAIL:
            self._found_useful()

    def _found_useful(self) -> None:
        self.useful = True
        self._tell_failures()

    def _tell_failures(self) -> None:
        for number in self.failed:
            self.study.tell(number, state=TrialState.FAIL)
        self.failed = {}

    def _check_failures(self) -> None:
        if len(self.failed) >= FAILURES:
            last = [*self.failed.values()][-1]
            raise UserError(
                f"the first {len(self.failed)} trials have all failed, the last one so: {last}\n"
                f"Mend that, and run it again; what they printed is in {TRIALS}."
            )


def _suggested(trial: Trial, key: str, distribution: BaseDistribution) -> Any:
    """Return the value that the trial has for the key, proposed now if need be."""
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(key, distribution.choices)
    kind = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
    return kind(key, distribution.low, distribution.high, log=distribution.log)
