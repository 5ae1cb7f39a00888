"""The page of a sweep, reports/sweeps/NAME/index.html, and its pictures: the history, what mattered, and what went."""

import base64
import tempfile
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any

import optuna
from jinja2 import Environment, StrictUndefined
from optuna.distributions import CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import TrialState, create_trial
from optuna.visualization import matplotlib as draw

from commands.named_files import first_line
from commands.sweeping.confirm import Verdict
from commands.sweeping.file import Sweep
from commands.sweeping.study import REASON, best_trials, finished
from commands.sweeping.words import long_values, metric_words, short_keys, trial_values, value_words
from stages.figures import plt, save
from stages.paths import REPORTS
from stages.process.errors import UserError

PAGES = REPORTS / "sweeps"
PICTURES = {
    "history": ("How it went", "The value of each trial, and the best up to then."),
    "importances": (
        "What mattered",
        "How much each param decides on whether a trial is among the best tenth (PED-ANOVA: Watanabe et al., 2023).",
    ),
    "parallel_coordinate": ("Which values were good", "A line for each complete trial, from its value to its params."),
}
SHOWN = 20


def page_folder(name: str) -> Path:
    """Return the folder of the page, made if need be; raises `UserError` where it cannot be written."""
    folder = PAGES / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"{folder}: the page of the sweep cannot be written there: {error.strerror}") from None
    return folder


def write_page(
    name: str,
    sweep: Sweep,
    file: str,
    study: optuna.Study,
    verdict: Verdict | None,
    tested: dict[str, list[float]] | None,
) -> Path:
    """Write the page and its pictures, in place of earlier ones, and return the page; `file` is the sweep's text."""
    folder = page_folder(name)
    for picture in PICTURES:
        (folder / f"{picture}.png").unlink(missing_ok=True)
    pictures = {each: folder / f"{each}.png" for each in _draw(sweep, study, folder)}
    keys = short_keys(sweep)
    metric = sweep.metric.name
    ended = finished(study)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    template = environment.from_string(
        files("commands.sweeping").joinpath("page.html.jinja").read_text(encoding="utf-8")
    )
    page = template.render(
        name=name,
        about=first_line(file),
        sweep=sweep,
        counts={
            state.name.lower(): sum(trial.state == state for trial in ended)
            for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        },
        keys=keys,
        best=[(t.number, metric_words(metric, t.value), trial_values(sweep, t)) for t in best_trials(study)[:SHOWN]],
        failed=[(t.number, t.user_attrs.get(REASON)) for t in ended if t.state == TrialState.FAIL],
        long=long_values(sweep),
        pictures=[(*PICTURES[each], _embedded(path)) for each, path in pictures.items()],
        verdict=verdict,
        words=lambda value: metric_words(metric, value),
        tested=tested,
        file=file,
    )
    path = folder / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _draw(sweep: Sweep, study: optuna.Study, folder: Path) -> list[str]:
    """Draw what can be drawn of so many trials, and return the names of the pictures."""
    shown, metric = _renamed(sweep, study), sweep.metric.name
    complete = best_trials(shown)
    varied = [key for key, each in _varied(complete).items() if len(each) > 1]
    with warnings.catch_warnings():
        # They call all of this experimental.
        warnings.simplefilter("ignore")
        drawn = {}
        if complete:
            drawn["history"] = lambda: draw.plot_optimization_history(shown, target_name=metric)
        if varied and len({trial.value for trial in complete}) > 1:
            # fANOVA takes minutes for a param of 30 values (measured), this one milliseconds.
            drawn["importances"] = lambda: draw.plot_param_importances(
                shown, evaluator=PedAnovaImportanceEvaluator(), params=varied, target_name=metric
            )
        if varied:
            drawn["parallel_coordinate"] = lambda: draw.plot_parallel_coordinate(shown, target_name=metric)
        for name, picture in drawn.items():
            # They set a style for all that is drawn after them.
            with plt.style.context("default"):
                figure = picture().figure
            figure.set_size_inches(9, 4.5)
            # A long key has its place at the left.
            figure.tight_layout()
            save(figure, folder / f"{name}.png")
    return [*drawn]


def _varied(trials: list[optuna.trial.FrozenTrial]) -> dict[str, set[Any]]:
    found: dict[str, set[Any]] = {}
    for trial in trials:
        for key, value in trial.params.items():
            found.setdefault(key, set()).add(value)
    return found


def _renamed(sweep: Sweep, study: optuna.Study) -> optuna.Study:
    """Return a copy of the study's complete and pruned trials with short names, for which the pictures have room."""
    keys = short_keys(sweep)
    shown = optuna.create_study(direction=sweep.metric.goal)
    for trial in finished(study):
        if trial.state == TrialState.FAIL or trial.params.keys() != sweep.parameters.keys():
            continue
        params, distributions = {}, {}
        for key, short in keys.items():
            distribution, value = trial.distributions[key], trial.params[key]
            if isinstance(distribution, CategoricalDistribution):
                names = [value_words(sweep, key, each) for each in sweep.parameters[key].values]
                value = names[distribution.choices.index(value)]
                distribution = CategoricalDistribution(names)
            params[short], distributions[short] = value, distribution
        shown.add_trial(
            create_trial(
                state=trial.state,
                value=trial.value if trial.state == TrialState.COMPLETE else None,
                params=params,
                distributions=distributions,
                intermediate_values=trial.intermediate_values,
            )
        )
    return shown


def _embedded(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
