"""Whether the best settings of a sweep beat the present ones by more than chance: both over the same new seeds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from scipy.stats import ttest_1samp

from commands.sweeping.file import Sweep
from commands.sweeping.outputs import Outputs
from commands.sweeping.placing import Place
from commands.sweeping.space import checked, fixed_params, proposed, trial_params
from commands.sweeping.study import best_trials
from commands.sweeping.trial import COMPLETE, Ended, Event, Task
from stages.process.errors import UserError
from stages.runtime import start_keras
from stages.tracking import trial as tags

PRESENT = "present"
# Of the study: what the repeated trainings gave, and the winner's test metrics.
CONFIRMED, TESTED = "confirmed", "tested"
# In all, over the settings that are compared.
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Verdict:
    """The winner against the present settings: metric values by seed, the gain (above 0 is better), and its test.

    The gain's interval (`low`, `high`) and `p_value` are those of a paired t-test (Student, 1908), both for all
    settings that were compared together (Bonferroni). All three are None where the gain is the same for each seed,
    which no such test can judge. `beats` tells whether the whole interval is above 0.
    """

    winner: int
    seeds: list[int]
    values: list[float]
    present: list[float]
    compared: int
    gain: float
    low: float | None
    high: float | None
    p_value: float | None

    @property
    def beats(self) -> bool:
        return self.low is not None and self.low > 0


def confirm(name: str, sweep: Sweep, study: optuna.Study, content: dict[str, Any], place: Place) -> Verdict:
    """Train the best settings and the present ones with seeds that no trial had, and return how they compare.

    What was trained before a kill is kept. Raises `UserError` where the present settings cannot be trained.
    """
    first = checked(sweep, content, {}).runtime.seed
    seeds = [*range(first + 1, first + 1 + sweep.confirm.seeds)]
    settings = {PRESENT: fixed_params(sweep)} | _best(sweep, study)
    tasks = {
        f"{name}-{label}-seed-{seed}": Task(
            f"{name}-{label}-seed-{seed}",
            sweep.stage,
            trial_params(sweep, changes | {"runtime.seed": seed}),
            {tags.SWEEP: name, "sweep.confirms": label},
        )
        for label, changes in settings.items()
        for seed in seeds
    }
    found = dict(study.user_attrs.get(CONFIRMED, {}))
    left = iter([(number, task) for number, task in enumerate(tasks.values(), start=1) if task.name not in found])

    def next_task() -> Task | None:
        number, task = next(left, (0, None))
        if task:
            print(f"confirm: {task.name} ({number} of {len(tasks)})", flush=True)
        return task

    def heard(task: Task, event: Event) -> None:
        if not isinstance(event, Ended):
            return
        if event.state != COMPLETE and f"-{PRESENT}-" in task.name:
            raise UserError(f"{task.name}: the present settings cannot be trained: {event.reason}")
        if event.state != COMPLETE:
            print(f"{task.name} failed, and its settings with it: {event.reason}", flush=True)
        found[task.name] = event.values.get(sweep.metric.name)
        study.set_user_attr(CONFIRMED, found)

    place.run(next_task, heard)
    by_label = {label: [found[f"{name}-{label}-seed-{seed}"] for seed in seeds] for label in settings}
    return judge({label: values for label, values in by_label.items() if None not in values}, seeds, sweep.metric.goal)


def judge(values: dict[str, list[float]], seeds: list[int], goal: str) -> Verdict:
    """Compare the best of the settings, by their trials' numbers, with the `PRESENT` ones; each has a value a seed.

    Raises `UserError` where no settings are left.
    """
    present = values[PRESENT]
    others = {label: each for label, each in values.items() if label != PRESENT}
    if not others:
        raise UserError("none of the best settings could be trained with every seed; see above")
    sign = 1 if goal == "maximize" else -1
    label = max(others, key=lambda each: sign * float(np.mean(others[each])))
    gains = sign * (np.array(others[label]) - np.array(present))
    mean, error = float(gains.mean()), float(gains.std(ddof=1) / len(gains) ** 0.5)
    low = high = p_value = None
    # Rounding leaves a trace of a difference between equal ones.
    if error > 1e-12:
        test = ttest_1samp(gains, 0)
        p_value = min(1.0, float(test.pvalue) * len(others))
        low, high = map(float, test.confidence_interval(1 - SIGNIFICANCE / len(others)))
    return Verdict(int(label), seeds, others[label], present, len(others), mean, low, high, p_value)


def look_at_test_images(
    name: str, sweep: Sweep, study: optuna.Study, verdict: Verdict, content: dict[str, Any], clone: Path, place: Place
) -> dict[str, list[float]]:
    """Return accuracy and log loss on the test images of the winner, for each seed; they are measured once.

    The models come from DVC's cache.
    """
    if (known := study.user_attrs.get(TESTED)) and known["winner"] == verdict.winner:
        return known["metrics"]
    found: dict[str, list[float]] = {"test_accuracy": [], "test_loss": []}
    experiments = [f"{name}-{verdict.winner:04d}-seed-{seed}" for seed in verdict.seeds]
    place.bring(experiments, True)
    if sweep.model.history:
        start_keras(checked(sweep, content, {}).runtime)
    for experiment in experiments:
        for metric, value in Outputs(clone, experiment, sweep.stage).tested().items():
            if metric in found:
                found[metric].append(value)
    study.set_user_attr(TESTED, {"winner": verdict.winner, "metrics": found})
    return found


def _best(sweep: Sweep, study: optuna.Study) -> dict[str, dict[str, Any]]:
    """Return the changes of the best settings, by the numbers of their trials; equal ones once."""
    best: dict[str, dict[str, Any]] = {}
    for trial in best_trials(study):
        changes = proposed(sweep, trial.params)
        if changes not in best.values() and len(best) < sweep.confirm.best:
            best[f"{trial.number:04d}"] = changes
    return best
