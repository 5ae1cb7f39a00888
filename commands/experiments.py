"""Temporary experiments of DVC: the pipeline with other params, outside the workspace."""

import json
import re
from pathlib import Path
from shlex import quote
from typing import Any

import dvc.api
from dvc.exceptions import DvcException

from commands.dvc_console import run_dvc
from commands.git import git, remove_experiment
from stages.dataset.catalogue import SETS
from stages.params.views import check_params
from stages.params.yaml_file import read_yaml
from stages.paths import METRICS, PARAMS
from stages.process.errors import UserError, one_line

# How Git lists a repository within this one, of which a clone has an empty folder.
SUBMODULE = "160000"
# What Hydra's grammar takes for a text without quotes, of which it makes no number, truth value or null.
PLAIN = r"(?!(?i:null|true|false|inf|nan)$)[A-Za-z][A-Za-z0-9_-]*"


def run_experiment(name: str, params: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Run the pipeline with `params` (dotted keys) as the experiment `name`, and return its metrics.

    An earlier experiment of that name is replaced; DVC's cache keeps its models. Raises `UserError` where the
    params are not valid or the pipeline fails.
    """
    check_experiment(params)
    remove_experiment(Path.cwd(), name)
    if run_dvc("exp", "run", "--temp", "--name", name, *set_params(params)):
        raise UserError(
            f"experiment {name} failed; the messages are above\n"
            "What has been trained is kept: the same command goes on from there."
        )
    return experiment_metrics(name)


def check_experiment(params: dict[str, Any]) -> None:
    """Raise `UserError` where the params are not valid, or Git and DVC do not have the data.

    DVC would report a mistake in its own words, and only when the stage that it concerns has its turn.
    """
    check_params(params)
    check_tracked(str(params.get("data.name", read_yaml(PARAMS)["data"]["name"])))


def experiment_metrics(name: str) -> dict[str, dict[str, float]]:
    """Return the metrics of the experiment; raises `UserError` where there are none."""
    try:
        return dvc.api.metrics_show(str(METRICS), rev=name)
    except DvcException as error:
        raise UserError(f"experiment {name}: no metrics: {one_line(error)}") from None


def set_params(params: dict[str, Any]) -> list[str]:
    """Return the arguments by which `dvc exp run` takes `params` (dotted keys)."""
    return [part for key, value in params.items() for part in ("--set-param", f"{key}={_hydra(value)}")]


def check_tracked(name: str) -> None:
    """Raise `UserError` for a data set that the copy of the repository, in which the experiment runs, would lack."""
    folder = (SETS / name).as_posix()
    tracked = git("ls-files", "--stage", "--", folder, f"{folder}.dvc").splitlines()
    if not tracked or tracked[0].startswith(SUBMODULE):
        raise UserError(
            f"{folder}: neither Git nor DVC tracks it, so a copy of the repository would not have it\n"
            f"uv run dvc add {quote(folder)} && git add {quote(f'{folder}.dvc')} {SETS}/.gitignore keeps it in DVC."
        )


def model_md5(name: str, path: Path) -> str | None:
    """Return the md5 that the experiment `name` has for the model at `path`; None where it has none."""
    try:
        return dvc.api.DVCFileSystem(rev=name).info(path.as_posix())["dvc_info"]["md5"]
    except (DvcException, FileNotFoundError, KeyError):
        return None


def _hydra(value: Any) -> str:
    """Return `value` as the override grammar of --set-param spells it: JSON, with plain words as they are."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_hydra(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_hydra, value)) + "]"
    if not isinstance(value, str):
        return json.dumps(value)
    # A backslash is one but before a quote; a name has none.
    return value if re.fullmatch(PLAIN, value) else "'" + value.replace("'", r"\'") + "'"
