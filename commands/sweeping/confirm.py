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
from commands.sweeping.space import checked_params, proposed, trial_params
from commands.sweeping.study import CONFIRMED, PRESENT, TESTED, best_trials
from commands.sweeping.trial import COMPLETE, Ended, Event, Task, trial_name
from stages.process.errors import UserError
from stages.runtime import start_keras
from stages.tracking import trial as tags

# In all, over the settings that are compared.
SIGNIFICANCE = 0.05
SEED = "runtime.seed"


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


def confirm(name: str, sweep: Sweep, study: optuna.Study, content: dict[str, Any], place: Place) -> Verdict | None:
    """Train the best settings and the present ones with seeds that no trial had, and return how they compare.

    The present ones are those that stood when the sweep began; None where no trial had others. What was trained before
    a kill is kept. Raises `UserError` where the present settings cannot be trained.
    """
    first = checked_params(sweep, content, {}).runtime.seed
    seeds = [*range(first + 1, first + 1 + sweep.confirm.seeds)]
    best = _best(sweep, study)
    if not best:
        return None
    settings = {PRESENT: study.user_attrs[PRESENT]} | best
    tasks = [
        Task(
            trial_name(name, label, seed),
            sweep.stage,
            trial_params(sweep, changes | {SEED: seed}),
            {tags.SWEEP: name, tags.CONFIRMS: label},
        )
        for label, changes in settings.items()
        for seed in seeds
    ]
    # By label and seed, also of settings that were compared before there were more trials.
    found: dict[str, dict[str, float]] = study.user_attrs.get(CONFIRMED, {})

    def is_left(task: Task) -> bool:
        # Once the test images were looked at the verdict stands.
        return TESTED not in study.user_attrs and str(task.params[SEED]) not in found.get(task.tags[tags.CONFIRMS], {})

    left = iter([(number, task) for number, task in enumerate(tasks, start=1) if is_left(task)])

    def next_task() -> Task | None:
        number, task = next(left, (0, None))
        if task:
            print(f"confirm: {task.name} ({number} of {len(tasks)})", flush=True)
        return task

    def heard(task: Task, event: Event) -> None:
        if not isinstance(event, Ended):
            return
        label = task.tags[tags.CONFIRMS]
        if event.state == COMPLETE:
            found.setdefault(label, {})[str(task.params[SEED])] = event.values[sweep.metric.name]
            study.set_user_attr(CONFIRMED, found)
        elif label == PRESENT:
            raise UserError(f"{task.name}: the present settings cannot be trained: {event.reason}")
        else:
            print(f"{task.name} failed, and its settings with it: {event.reason}", flush=True)

    place.run(next_task, heard)
    values = {label: [found.get(label, {}).get(str(seed)) for seed in seeds] for label in settings}
    whole = {label: each for label, each in values.items() if None not in each}
    return judge(whole, seeds, sweep.metric.goal, compared=len(found) - 1)


def judge(values: dict[str, list[float]], seeds: list[int], goal: str, compared: int) -> Verdict:
    """Compare the best of the settings, by their trials' numbers, with the `PRESENT` ones; each has a value a seed.

    `compared` is how many settings were, with those before. Raises `UserError` where no settings are left.
    """
    present = values[PRESENT]
    others = {label: each for label, each in values.items() if label != PRESENT}
    if not others:
        raise UserError(
            "none of the best settings could be trained with every seed; see above\n"
            "To try more of them, copy the file to another name, with a larger confirm.best: what was trained comes "
            "from DVC's cache."
        )
    sign = 1 if goal == "maximize" else -1
    label = max(others, key=lambda each: sign * float(np.mean(others[each])))
    gains = sign * (np.array(others[label]) - np.array(present))
    mean, error = float(gains.mean()), float(gains.std(ddof=1) / len(gains) ** 0.5)
    low = high = p_value = None
    # Rounding leaves a trace of a difference between equal ones.
    if error > 1e-12:
        test = ttest_1samp(gains, 0)
        p_value = min(1.0, float(test.pvalue) * compared)
        low, high = map(float, test.confidence_interval(1 - SIGNIFICANCE / compared))
    return Verdict(int(label), seeds, others[label], present, compared, mean, low, high, p_value)


def look_at_test_images(
    name: str, sweep: Sweep, study: optuna.Study, verdict: Verdict, content: dict[str, Any], clone: Path, place: Place
) -> dict[str, list[float]]:
    """Return accuracy and log loss on the test images of the winner, for each seed; they are measured once.

    The models come from DVC's cache.
    """
    if known := study.user_attrs.get(TESTED):
        return known
    found: dict[str, list[float]] = {"test_accuracy": [], "test_loss": []}
    experiments = [trial_name(name, verdict.winner, seed) for seed in verdict.seeds]
    place.bring(experiments, True)
    if sweep.model.history:
        # A cluster may have GPUs where this machine has none.
        start_keras(checked_params(sweep, content, {}).runtime.model_copy(update={"device": "auto"}))
    for experiment in experiments:
        for metric, value in Outputs(clone, experiment, sweep.stage).tested().items():
            if metric in found:
                found[metric].append(value)
    study.set_user_attr(TESTED, found)
    return found


def _best(sweep: Sweep, study: optuna.Study) -> dict[str, dict[str, Any]]:
    """Return the changes of the best settings but the present ones, by the numbers of their trials; equal ones once."""
    best: dict[str, dict[str, Any]] = {}
    for trial in best_trials(study):
        changes = proposed(sweep, trial.params)
        if changes not in (study.user_attrs[PRESENT], *best.values()) and len(best) < sweep.confirm.best:
            best[f"{trial.number:04d}"] = changes
    return best
