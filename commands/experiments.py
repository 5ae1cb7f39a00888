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

RECIPES = Path("recipes")
# How Git lists a repository within this one, of which a clone has an empty folder.
SUBMODULE = "160000"
# What Hydra's grammar takes for a text without quotes, of which it makes no number, truth value or null.
PLAIN = r"(?!(?i:null|true|false|inf|nan)$)[A-Za-z][A-Za-z0-9_-]*"
# Of a recipe or a sweep: the name of an experiment of DVC begins with it, and a folder has it.
NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}"


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


def recipes() -> dict[str, str]:
    """Return the names of the recipes and what each says of itself in its first line."""
    return {path.stem: about(path) for path in yaml_files(RECIPES)}


def yaml_files(folder: Path) -> list[Path]:
    """Return the files `*.yaml` of the folder by name, without what an editor puts beside them."""
    return sorted(path for path in folder.glob("[!.]*.yaml") if path.is_file())


def about(path: Path) -> str:
    """Return what a YAML file says of itself in its first line, a comment."""
    return first_line(path.read_text(encoding="utf-8", errors="replace"))


def first_line(text: str) -> str:
    """Return what the first line of a YAML file says, without the marks of a comment."""
    return one_line(text.partition("\n")[0].strip("# \r\ufeff"))


def check_name(path: Path) -> None:
    """Raise `UserError` unless the name of the file, without its ending, can begin that of an experiment of DVC."""
    if not re.fullmatch(NAME, path.stem):
        raise UserError(f"{one_line(path)}: a name is letters, digits, - and _, at most 50; rename the file")


def check_recipe(name: str, where: str = "") -> None:
    """Raise `UserError` for an unknown recipe, and for one that params.yaml does not take; it begins with `where`."""
    check_params({})
    try:
        params = recipe_params(name)
    except UserError as error:
        raise UserError(f"{where}{error}") from None
    try:
        check_params(params)
    except UserError as error:
        raise UserError(f"{RECIPES / name}.yaml: {str(error).removeprefix(f'{PARAMS}: ')}") from None


def recipe_params(name: str) -> dict[str, Any]:
    """Return the params that the recipe sets, under dotted keys.

    Raises `UserError` for an unknown name and for a file that is no part of params.yaml.
    """
    files = {path.stem: path for path in yaml_files(RECIPES)}
    if name not in files:
        raise UserError(f"{one_line(name, 60)}: no such recipe; there are {', '.join(files)}")
    check_name(files[name])
    content = read_yaml(files[name])
    if not isinstance(content, dict):
        raise UserError(f"{files[name]}: must be a part of params.yaml, a mapping of some of its sections")
    return flat(content)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested params under dotted keys, each below `prefix`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def value_at(content: Any, key: str) -> Any:
    """Return what nested params have at the dotted key."""
    for part in key.split("."):
        content = content[part]
    return content


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
