"""Who decides: a study of Optuna in a journal file, which survives every kill, and says what is tried next."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from commands.sweeping.base import changes
from commands.sweeping.file import Sweep, sweep_file
from commands.sweeping.space import distributions, invalid, point, proposed, trial_params, trial_seed
from commands.sweeping.trial import COMPLETE, STOPPED, TRIALS, Epoch, Event, Task
from stages.process.errors import UserError
from stages.tracking import trial as tags

# Beside DVC's own state, which Git ignores, and like that no result: whoever loses it starts the sweep again, and what
# was trained comes from DVC's cache.
STUDIES = Path(".dvc/tmp/sweeps")
FILE, BASE, REASON, CACHED, SECONDS, PRUNED = "file", "base", "reason", "cached", "training_seconds", "pruned"
# If so many fail before one is of use, the others would fail too.
FAILURES = 3


def journal(name: str) -> Path:
    return STUDIES / f"{name}.journal"


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Raise `UserError` where another process runs the sweep of that name here."""
    STUDIES.mkdir(parents=True, exist_ok=True)
    lock = FileLock(STUDIES / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{name}: another process runs this sweep here; wait until it has ended, or end it") from None
    try:
        yield
    finally:
        lock.release()


def read_study(name: str) -> optuna.Study | None:
    """Return the study as it stands, also while a sweep writes it; None where there is none."""
    if not journal(name).exists():
        return None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.load_study(study_name=name, storage=JournalStorage(JournalFileBackend(str(journal(name)))))
    except KeyError:
        return None


def open_study(name: str, sweep: Sweep, base: dict[str, Any]) -> optuna.Study:
    """Return the study, made where there is none; call it `alone`.

    Raises `UserError` where the file or what the stage depends on is not what the trials before were made with.
    """
    path = journal(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    _mend(path)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if early := sweep.early_terminate:
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=early.min_iter, reduction_factor=early.eta)
    study = optuna.create_study(
        study_name=name,
        storage=JournalStorage(JournalFileBackend(str(path))),
        direction=sweep.metric.goal,
        pruner=pruner,
        load_if_exists=True,
    )
    file = sweep.model_dump(exclude={"resources"})
    before = study.user_attrs
    if study.trials:
        _check_unchanged(name, before, file, base)
    if before.get(FILE) != file or before.get(BASE) != base:
        study.set_user_attr(FILE, file)
        study.set_user_attr(BASE, base)
    return study


def _mend(path: Path) -> None:
    """Cut off what a kill has left of a line and of a lock: nobody else writes there."""
    Path(f"{path}.lock").unlink(missing_ok=True)
    if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
        with open(path, "r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def _check_unchanged(name: str, before: dict[str, Any], file: dict[str, Any], base: dict[str, Any]) -> None:
    path = sweep_file(name)
    remedy = (
        f"\nPut that back, or give the search another name (cp {path} {path.with_stem(f'{name}-2')}): "
        "what was trained before comes from DVC's cache."
    )
    was, now = (_flat({**each, "trials": None}) for each in (before[FILE], file))
    changed = changes(was, now)
    trials = (before[FILE]["trials"], file["trials"])
    if None not in trials and trials[1] < trials[0]:
        # More of them go on from those before.
        changed.append(f"trials was {trials[0]} and is {trials[1]}")
    if changed:
        raise UserError(f"{path} has changed since its first trial: {_some(changed)}{remedy}")
    if changed := changes(before[BASE], base):
        raise UserError(
            f"{name}: what {file['stage']} depends on has changed since the first trial: {_some(changed)}{remedy}"
        )


def _some(words: list[str]) -> str:
    return "; ".join(words[:3]) + (f"; and {len(words) - 3} more" if len(words) > 3 else "")


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {
            name: leaf for part, each in value.items() for name, leaf in _flat(each, f"{key}.{part}".strip(".")).items()
        }
    return {key: value}


class Search:
    """A sweep's decisions: the next task, whether to stop one, and what its end means."""

    def __init__(self, name: str, sweep: Sweep, study: optuna.Study, content: dict[str, Any]):
        self.name, self.sweep, self.study, self.content = name, sweep, study, content
        self.space = distributions(sweep, content)
        self.running: dict[str, Trial] = {}
        # Of this process: what made earlier ones fail may have been mended since.
        self.failures: list[str] = []
        self.useful = False

    def next_task(self) -> Task | None:
        """Return the next trial: one that a kill has broken off, under its number, before any new one.

        Raises `UserError` where the first ones have all failed.
        """
        while True:
            self._check_failures()
            trial = self._broken_off() or self._new()
            if trial is None:
                return None
            params = proposed(self.sweep, {key: _suggested(trial, key, each) for key, each in self.space.items()})
            if reason := trial.user_attrs.get(PRUNED):
                self._tell(trial, TrialState.PRUNED, reason)
            elif mistake := invalid(self.sweep, self.content, params):
                self._tell(trial, TrialState.FAIL, mistake)
            else:
                task = self._task(trial.number, params)
                self.running[task.name] = trial
                return task

    def heard(self, task: Task, event: Event) -> str | None:
        """Take in what a trial tells; return a reason to stop it, or None."""
        trial = self.running[task.name]
        if isinstance(event, Epoch):
            return self._report(trial, event)
        del self.running[task.name]
        if event.seconds is not None:
            trial.set_user_attr(SECONDS, event.seconds)
        trial.set_user_attr(CACHED, event.cached)
        if event.state == COMPLETE:
            self.study.tell(trial.number, event.values[self.sweep.metric.name])
            self.useful = True
        elif event.state == STOPPED:
            self._tell(trial, TrialState.PRUNED, event.reason)
        else:
            self._tell(trial, TrialState.FAIL, event.reason)
        return None

    def _task(self, number: int, params: dict[str, Any]) -> Task:
        return Task(
            f"{self.name}-{number:04d}",
            self.sweep.stage,
            trial_params(self.sweep, params),
            {tags.SWEEP: self.name, tags.NUMBER: str(number)},
        )

    def _broken_off(self) -> Trial | None:
        placed = {trial.number for trial in self.running.values()}
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
        if state == TrialState.FAIL:
            self.failures.append(reason)
        else:
            self.useful = True
        trial.set_user_attr(REASON, reason)
        self.study.tell(trial.number, state=state)

    def _check_failures(self) -> None:
        if len(self.failures) >= FAILURES and not self.useful:
            raise UserError(
                f"the first {len(self.failures)} trials have all failed, the last one so: {self.failures[-1]}\n"
                f"Mend that, and run it again; what they printed is in {TRIALS}."
            )


def _suggested(trial: Trial, key: str, distribution: BaseDistribution) -> Any:
    """Return the value that the trial has for the key, proposed now if need be."""
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(key, distribution.choices)
    kind = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
    return kind(key, distribution.low, distribution.high, log=distribution.log)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def best_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the complete trials, the best first; of equals the earliest."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
    return sorted(complete, key=lambda trial: (sign * trial.value, trial.number))
