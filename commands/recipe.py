"""`mnist recipe`: a named set of params, run through the pipeline."""

import argparse
import os
from pathlib import Path
from typing import Any

from commands.experiments import run_experiment
from commands.named_files import about, check_name, yaml_files
from stages.params.dotted import flat
from stages.params.views import check_params
from stages.params.yaml_file import read_yaml
from stages.paths import PARAMS
from stages.process.errors import UserError, one_line
from stages.process.provenance import main_repository

RECIPES = Path("recipes")


def add_to(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "recipe",
        help="run a named set of params beside the defaults; without a name, list them",
        description="Run the pipeline with the params of params.yaml, except those that the recipe sets: one DVC "
        "experiment of the recipe's name, outside the workspace. Its runs in MLflow have the name in the tag "
        f"dvc.experiment. A recipe is a file in {RECIPES}/ that looks like a part of params.yaml.",
    )
    parser.add_argument("name", nargs="?", help="as `mnist recipe` lists it")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    os.chdir(main_repository())
    name = arguments.name
    if name is None:
        for path in yaml_files(RECIPES):
            print(f"{path.stem:14} {about(path)}")
        return
    run_experiment(name, checked_recipe(name))
    print(f"Beside the defaults: uv run dvc exp show, or MLflow (uv run mnist ui), tag dvc.experiment {name}.")
    print(f"To make these params yours: uv run dvc exp apply {name}")


def checked_recipe(name: str, where: str = "") -> dict[str, Any]:
    """Return the params that the recipe sets, under dotted keys.

    Raises `UserError`, which begins with `where`, as `recipe_params` does, and where params.yaml does not take them.
    """
    check_params({})
    try:
        params = recipe_params(name)
    except UserError as error:
        raise UserError(f"{where}{error}") from None
    try:
        check_params(params)
    except UserError as error:
        raise UserError(f"{RECIPES / name}.yaml: {str(error).removeprefix(f'{PARAMS}: ')}") from None
    return params


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
