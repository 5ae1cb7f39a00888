"""How a sweep's params, values and trials are written, on the console and on the page."""

import json
from typing import Any

from optuna.trial import FrozenTrial

from commands.sweeping.file import Sweep
from commands.sweeping.space import proposed

# Longer values stand in a list of their own, and are called by their place in the file.
LONGEST = 32


def short_keys(sweep: Sweep) -> dict[str, str]:
    """Return, for the dotted keys of more than one value, their last parts, as many as make them distinct."""
    keys = [key for key, parameter in sweep.parameters.items() if len(parameter.extremes()) > 1]
    found = {}
    for key in keys:
        parts = key.split(".")
        for count in range(1, len(parts) + 1):
            short = ".".join(parts[-count:])
            if sum(f".{other}".endswith(f".{short}") for other in keys) == 1:
                break
        found[key] = short
    return found


def value_words(sweep: Sweep, key: str, value: Any) -> str:
    """Return the value as params.yaml would have it, or by its place in a list of long ones: #1."""
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) <= LONGEST or (values := sweep.parameters[key].values) is None:
        return text
    return f"#{values.index(value) + 1}"


def long_values(sweep: Sweep) -> dict[str, list[tuple[str, str]]]:
    """Return, for each key that has values called by their place, these names and the values."""
    found: dict[str, list[tuple[str, str]]] = {}
    for key, parameter in sweep.parameters.items():
        for value in parameter.values or []:
            name = value_words(sweep, key, value)
            if name.startswith("#"):
                found.setdefault(key, []).append((name, json.dumps(value)))
    return found


def trial_values(sweep: Sweep, trial: FrozenTrial) -> dict[str, str]:
    """Return what the trial has for each key; nothing for one that a kill has left without."""
    if trial.params.keys() != sweep.parameters.keys():
        return {}
    return {key: value_words(sweep, key, value) for key, value in proposed(sweep, trial.params).items()}


def metric_words(metric: str, value: float) -> str:
    return f"{value:.2%}" if metric.endswith("accuracy") else f"{value:.4f}"


def duration_words(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    return f"about {minutes} min" if minutes < 60 else f"about {minutes // 60} h {minutes % 60} min"
