"""The study of a sweep: all that Optuna knows of its trials, in a journal file that survives every kill."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from commands.experiments import flat
from commands.sweeping.base import changes
from commands.sweeping.file import Sweep, sweep_file
from stages.process.errors import UserError

# Beside DVC's own state, which Git ignores, and like that no result: whoever loses it starts the sweep again, and what
# was trained comes from DVC's cache.
STUDIES = Path(".dvc/tmp/sweeps")
FILE, BASE, REASON, CACHED, SECONDS, PRUNED = "file", "base", "reason", "cached", "training_seconds", "pruned"
# Of the study: the numbers of trials that are complete, and of which DVC may not have the model yet.
UNKEPT = "unkept"


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
    was, now = (flat({**each, "trials": None}) for each in (before[FILE], file))
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


def finished(study: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def best_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the complete trials, the best first; of equals the earliest."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
    return sorted(complete, key=lambda trial: (sign * trial.value, trial.number))
