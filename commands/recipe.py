"""`mnist recipe`: a named set of params, run through the pipeline."""

import argparse
import os

from commands.experiments import RECIPES, check_recipe, recipe_params, recipes, run_experiment
from stages.process.provenance import main_repository


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
    if arguments.name is None:
        for name, about in recipes().items():
            print(f"{name:14} {about}")
        return
    check_recipe(arguments.name)
    run_experiment(arguments.name, recipe_params(arguments.name))
    name = arguments.name
    print(f"Beside the defaults: uv run dvc exp show, or MLflow (uv run mnist ui), tag dvc.experiment {name}.")
    print(f"To make these params yours: uv run dvc exp apply {name}")
