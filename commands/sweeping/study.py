"""The study of a sweep: all that Optuna knows of its trials, in a journal file that survives every kill."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from commands.sweeping.base import changes
from commands.sweeping.file import Sweep, sweep_file
from stages.params.dotted import flat
from stages.process.errors import UserError, one_line
from stages.process.locks import held

# Beside DVC's own state, which Git ignores, and like that no result: whoever loses it starts the sweep again, and what
# was trained comes from DVC's cache.
STUDIES = Path(".dvc/tmp/sweeps")
# Of a trial: how it ended, whether it came from DVC's cache, and why it is to be stopped.
REASON, CACHED, PRUNED = "reason", "cached", "pruned"
# Of the study: the file, all else that the trials depend on, and the settings that stood when it began.
FILE, BASE, PRESENT = "file", "base", "present"
# The numbers of trials that are complete, and of which DVC may not have the model yet.
UNKEPT = "unkept"
# What the repeated trainings gave, and the winner's test metrics.
CONFIRMED, TESTED = "confirmed_values", "test_metrics"


def journal(name: str) -> Path:
    return STUDIES / f"{name}.journal"


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Raise `UserError` where another process runs the sweep of that name here."""
    with held(STUDIES / f"{name}.lock", f"{name}: another process runs this sweep here"):
        yield


def read_study(name: str) -> optuna.Study | None:
    """Return the study as it stands, also while a sweep writes it; None where there is none."""
    if not journal(name).exists():
        return None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _readable(name):
        storage = JournalStorage(JournalFileBackend(str(journal(name))))
        # A kill may come before there is a study in it.
        known = [each.study_name for each in storage.get_all_studies()]
        return optuna.load_study(study_name=name, storage=storage) if name in known else None


def open_study(name: str, sweep: Sweep, base: dict[str, Any], present: dict[str, Any]) -> optuna.Study:
    """Return the study, made where there is none; call it `alone`.

    It keeps the `present` values of the sweep's parameters from its first trial on: params.yaml may have the winner's
    later. Raises `UserError` where the file or what the stage depends on is not what the trials before were made with.
    """
    path = journal(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if early := sweep.early_terminate:
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=early.min_iter, reduction_factor=early.eta)
    with _readable(name):
        # Before anything is added to it.
        _mend(path)
        if path.exists() and path.stat().st_size and read_study(name) is None:
            raise ValueError("its first lines are missing")
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
    kept = {FILE: file, BASE: base, PRESENT: before[PRESENT] if study.trials and PRESENT in before else present}
    for key, value in kept.items():
        if json.dumps(before.get(key)) != json.dumps(value):
            study.set_user_attr(key, value)
    return study


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Raise `UserError` instead of whatever Optuna makes of a journal that somebody or a full disk has damaged."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{journal(name)}: cannot be read: {one_line(error)}\n"
            "Remove it and the sweep starts anew; what was trained comes from DVC's cache."
        ) from None


def _mend(path: Path) -> None:
    """Cut off what a kill has left of a line and of a lock: nobody else writes there. Raises for any other damage."""
    Path(f"{path}.lock").unlink(missing_ok=True)
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        with open(path, "r+b") as file:
            file.truncate(sum(map(len, lines[:-1])))
        lines.pop()
    for line in lines:
        # Of a last line that is none Optuna says nothing.
        json.loads(line)


def _check_unchanged(name: str, before: dict[str, Any], file: dict[str, Any], base: dict[str, Any]) -> None:
    path = sweep_file(name)
    remedy = (
        f"\nPut that back, or give the search another name (cp {path} {path.with_stem(f'{name}-2')}): "
        "what was trained before comes from DVC's cache."
    )
    was, now = dict(before[FILE]), dict(file)
    if TESTED not in before and None not in (was["trials"], now["trials"]) and now["trials"] > was["trials"]:
        # They go on from those before; a second winner would have the test images looked at twice.
        was["trials"] = now["trials"]
    if CONFIRMED not in before:
        was["confirm"] = now["confirm"]
    if changed := changes(_as_numbered(was), _as_numbered(now)):
        raise UserError(f"{path} has changed since its first trial: {_some(changed)}{remedy}")
    if changed := changes(before[BASE], base):
        raise UserError(
            f"{name}: what {file['stage']} depends on has changed since the first trial: {_some(changed)}{remedy}"
        )


def _as_numbered(file: dict[str, Any]) -> dict[str, str]:
    """Return what decides which point of a sweep has which number, under dotted keys."""
    # As JSON, by which Optuna knows them: the same keys in another order, or 0 for 0.0, are other values there.
    texts = {key: json.dumps(value) for key, value in flat(file).items()}
    return texts | {"the order of parameters": ", ".join(file["parameters"])}


def _some(words: list[str]) -> str:
    return "; ".join(words[:3]) + (f"; and {len(words) - 3} more" if len(words) > 3 else "")


def finished(study: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def best_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the complete trials, the best first; of equals the earliest."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
    return sorted(complete, key=lambda trial: (sign * trial.value, trial.number))
