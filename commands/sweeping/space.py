"""The values that a sweep may propose: each is checked before the first trial, and becomes a distribution of Optuna."""

import itertools
import json
import math
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler

from commands.recipe import checked_recipe, recipe_params
from commands.sweeping.file import Parameter, Sweep, sweep_file
from stages.params.dotted import flat, set_values, value_at
from stages.params.schema import Params
from stages.params.views import check_content
from stages.params.yaml_file import read_yaml
from stages.paths import PARAMS
from stages.process.errors import UserError, one_line

# So many combinations of values are checked, 20 ms each; of more, each value and a random choice of so many. What is
# not seen here is seen when it is proposed.
CHECKED = 30
# By these keys trials would be judged on different validation images.
JUDGED = ("data.name", "data.test_fraction", "preprocess.seed", "preprocess.validation_fraction")
# The metric of a trial does not depend on these: it is that of one network on images as they are, with moving
# statistics.
UNSEEN = [
    f"train.{model}.{name}"
    for model in ("mlp", "cnn")
    for name in ("networks", "test_time_shift", "batch_norm_statistics")
]
# A proposed number is rounded to so many digits: a file that people read has no use for more.
DIGITS = 4


def fixed_params(sweep: Sweep) -> dict[str, Any]:
    """Return the params (dotted keys) that every trial has besides those of params.yaml."""
    return recipe_params(sweep.recipe) if sweep.recipe else {}


def present_values(sweep: Sweep, content: dict[str, Any]) -> dict[str, Any]:
    """Return what the sweep's parameters are in params.yaml, with that `content`, and the sweep's recipe."""
    copy = deepcopy(content)
    set_values(copy, fixed_params(sweep))
    return {key: value_at(copy, key) for key in sweep.parameters}


def distributions(sweep: Sweep, content: dict[str, Any]) -> dict[str, BaseDistribution]:
    """Return what Optuna may propose for each key, for params.yaml with that `content`."""
    return {key: _distribution(key, parameter, sweep, content) for key, parameter in sweep.parameters.items()}


def proposed(sweep: Sweep, values: dict[str, Any]) -> dict[str, Any]:
    """Return the params that Optuna's `values` stand for."""
    found = {}
    for key, parameter in sweep.parameters.items():
        value = values[key]
        if parameter.values is not None:
            value = parameter.values[[_choice(each) for each in parameter.values].index(value)]
        elif isinstance(value, float):
            value = min(max(float(f"{value:.{DIGITS}g}"), float(parameter.min)), float(parameter.max))
        found[key] = value
    return found


def point(sweep: Sweep, number: int, space: dict[str, BaseDistribution]) -> dict[str, Any] | None:
    """Return Optuna's values of trial `number`, a function of (seed, number) alone; None where they depend on others.

    A grid is walked with the last key fastest.
    """
    if sweep.method == "grid":
        choices = [distribution.choices for distribution in space.values()]
        return dict(zip(space, next(itertools.islice(itertools.product(*choices), number, None)), strict=True))
    if sweep.method == "random":
        sampler = RandomSampler(seed=trial_seed(sweep, number))
        return {key: sampler.sample_independent(None, None, key, each) for key, each in space.items()}
    return None


def trial_seed(sweep: Sweep, number: int) -> int:
    return int(np.random.SeedSequence([sweep.seed, number]).generate_state(1)[0])


def check_space(name: str, sweep: Sweep, content: dict[str, Any], read_by_stage: list[str]) -> None:
    """Raise `UserError` unless params.yaml, with that `content`, takes what may be proposed, and the stage reads it."""
    where = f"{sweep_file(name)}: parameters"
    if sweep.recipe is not None:
        checked_recipe(sweep.recipe, where=f"{sweep_file(name)}: recipe: ")
    for key, parameter in sweep.parameters.items():
        _check_key(where, key, content)
        if inside := [other for other in sweep.parameters if other.startswith(f"{key}.")]:
            raise UserError(f"{where}: {inside[0]} is a part of {key}; take out one of the two")
        if any(_overlap(key, judged) for judged in JUDGED):
            raise UserError(f"{where}.{key}: trials would be judged on different validation images; take it out")
        each = [flat({key: value}) for value in parameter.extremes()]
        if unseen := [one for one in UNSEEN if any(params.get(one) != each[0].get(one) for params in each)]:
            raise UserError(
                f"{where}: {unseen[0]} does not show in the metric, which is that of one network on images as they "
                "are, with moving statistics; give it one value"
            )
        if sweep.confirm and _overlap(key, "runtime.seed"):
            raise UserError(f"{where}.{key}: confirm has seeds of its own; take out one of the two")
    if sweep.confirm:
        last = checked_params(sweep, content, {}).runtime.seed + sweep.confirm.seeds
        if mistake := invalid(sweep, content, {"runtime.seed": last}):
            raise UserError(f"{sweep_file(name)}: confirm.seeds: {mistake}\nLower runtime.seed in {PARAMS}.")
    for changes in _combinations(sweep):
        if mistake := invalid(sweep, content, changes):
            together = ", ".join(f"{key.rpartition('.')[2]} {one_line(value, 40)}" for key, value in changes.items())
            raise UserError(f"{where}: {mistake}" + (f"\nfound with {together}" if len(changes) > 1 else ""))
    for key in sweep.parameters:
        if not any(_overlap(key, read) for read in read_by_stage):
            raise UserError(f"{where}.{key}: {sweep.stage} does not read it; it reads {', '.join(read_by_stage)}")


def checked_params(sweep: Sweep, content: dict[str, Any], changes: dict[str, Any]) -> Params:
    """Return the params of a trial; raises `UserError` where they are not valid."""
    copy = deepcopy(content)
    set_values(copy, {**fixed_params(sweep), **changes})
    return check_content(copy)


def invalid(sweep: Sweep, content: dict[str, Any], changes: dict[str, Any]) -> str | None:
    """Return what is wrong with params.yaml (its `content`) with the changes of a trial; None where nothing is."""
    try:
        checked_params(sweep, content, changes)
    except UserError as error:
        return str(error).removeprefix(f"{PARAMS}: ")
    return None


def trial_params(sweep: Sweep, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the params of a trial, value by value: DVC would merge a mapping with what stands there."""
    return flat(fixed_params(sweep) | changes)


def params_content() -> dict[str, Any]:
    """Return params.yaml as it stands; raises `UserError` where it is not valid."""
    content = read_yaml(PARAMS)
    check_content(content)
    return content


def _check_key(where: str, key: str, content: dict[str, Any]) -> None:
    section, parents = content, []
    for part in key.split("."):
        if isinstance(section, list):
            inside = ".".join(parents)
            raise UserError(
                f"{where}.{key}: {inside} is a list; give {inside} itself, with values that are whole lists"
            )
        if not isinstance(section, dict) or part not in section:
            # The schema knows the nearest.
            return
        section, parents = section[part], [*parents, part]


def _overlap(key: str, other: str) -> bool:
    """Return whether one of the dotted keys is the other, or a section with it."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _combinations(sweep: Sweep) -> Iterator[dict[str, Any]]:
    extremes = {key: parameter.extremes() for key, parameter in sweep.parameters.items()}
    if math.prod(map(len, extremes.values())) <= CHECKED:
        for values in itertools.product(*extremes.values()):
            yield dict(zip(extremes, values, strict=True))
        return
    first = {key: values[0] for key, values in extremes.items()}
    for key, values in extremes.items():
        for value in values:
            yield {**first, key: value}
    random = np.random.default_rng(0)
    for _ in range(CHECKED):
        yield {key: values[random.integers(len(values))] for key, values in extremes.items()}


def _distribution(key: str, parameter: Parameter, sweep: Sweep, content: dict[str, Any]) -> BaseDistribution:
    if parameter.values is not None:
        return CategoricalDistribution([_choice(value) for value in parameter.values])
    whole = isinstance(parameter.min, int) and isinstance(parameter.max, int)
    if whole and invalid(sweep, content, {key: parameter.min + 0.5}):
        return IntDistribution(parameter.min, parameter.max, log=parameter.log)
    return FloatDistribution(float(parameter.min), float(parameter.max), log=parameter.log)


def _choice(value: Any) -> Any:
    """Return the value as Optuna keeps one: a list or a mapping as its JSON."""
    return json.dumps(value) if isinstance(value, list | dict) else value
