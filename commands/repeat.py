"""`mnist repeat`: the same trainings with several seeds, to tell a difference from chance."""

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from commands.experiments import check_experiment, experiment_metrics, model_md5, run_experiment
from commands.recipe import checked_recipe
from commands.sweep import add_cluster_to
from stages.learners.models import ALL_MODELS
from stages.params.views import EvaluateParams, load_params
from stages.paths import REPEATS
from stages.process.console import warn
from stages.process.errors import UserError, one_line
from stages.process.provenance import main_repository
from stages.tracking.repeats import record_repeats, training_seconds

MAX_SEED, MOST = 2**32 - 1, 1000
SHOWN = {
    "test_accuracy": "test accuracy",
    "test_loss": "log loss",
    "val_accuracy": "validation accuracy",
    "training_seconds": "training",
}


def add_to(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "repeat",
        help="train with several seeds; mean and standard deviation",
        description="Train and evaluate everything with several values of runtime.seed, on the same data and the "
        "same split: one DVC experiment each, repeat-seed-N or NAME-seed-N, outside the workspace. What was trained "
        "before comes from DVC's cache. Mean and standard deviation go to the console and to "
        f"{REPEATS}, with --recipe NAME to {_file('NAME')}.",
    )
    parser.add_argument("--recipe", metavar="NAME", help="with the params of this recipe (see `mnist recipe`)")
    parser.add_argument(
        "--seeds", type=int, default=5, help="how many seeds, from runtime.seed on (default: %(default)s)"
    )
    add_cluster_to(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    os.chdir(main_repository())
    first = load_params(EvaluateParams).params.runtime.seed
    if not 2 <= arguments.seeds <= min(MOST, MAX_SEED - first + 1):
        raise UserError(
            f"--seeds {arguments.seeds}: from 2, for a standard deviation, to {MOST}, and no seed above {MAX_SEED}"
        )
    seeds = range(first, first + arguments.seeds)
    params = {} if arguments.recipe is None else checked_recipe(arguments.recipe)
    check_experiment(params)
    prefix = arguments.recipe or "repeat"
    experiments = {f"{prefix}-seed-{seed}": {**params, "runtime.seed": seed} for seed in seeds}
    if arguments.cluster:
        _run_on_cluster(arguments.cluster, experiments)
    metrics = []
    for number, (name, changes) in enumerate(experiments.items(), start=1):
        if arguments.cluster:
            metrics.append(experiment_metrics(name))
        else:
            print(f"\n=== runtime.seed {changes['runtime.seed']} ({number} of {len(seeds)})", flush=True)
            metrics.append(run_experiment(name, changes))
        _add_training_seconds(metrics[-1], name)

    summary = {model.name: _summary([values[model.name] for values in metrics]) for model in ALL_MODELS}
    file = _file(arguments.recipe)
    file.write_text(json.dumps({"seeds": list(seeds), **summary}, indent=2) + "\n", encoding="utf-8")
    _print_table(summary, len(seeds))
    print(f"Every value: {file}", flush=True)
    try:
        recorded = record_repeats(prefix, list(seeds), summary, model_md5([*experiments][-1], ALL_MODELS[0].file))
    except Exception as error:
        warn(f"MLflow did not take mean and standard deviation: {one_line(error)}")
        return
    if recorded:
        print(f'In MLflow (uv run mnist ui): the run "{prefix}: {len(seeds)} seeds"')
    else:
        warn("MLflow does not have these trainings, and so not their mean and standard deviation")


def _run_on_cluster(address: str, experiments: dict[str, dict[str, Any]]) -> None:
    # Its packages take seconds to import.
    from commands.sweeping.cluster import run_pipelines
    from commands.sweeping.file import Resources

    threads = load_params(EvaluateParams).params.runtime.threads
    run_pipelines(address, Resources(cpus=threads, gpus=0), experiments)


def _add_training_seconds(metrics: dict[str, dict[str, float]], experiment: str) -> None:
    """Add `training_seconds` to the metrics of each model where MLflow has them; no file does."""
    for model in ALL_MODELS:
        try:
            md5 = model_md5(experiment, model.file)
            seconds = md5 and training_seconds(md5)
        except Exception as error:
            warn(f"MLflow does not say how long the trainings took: {one_line(error)}")
            return
        if seconds:
            metrics[model.name]["training_seconds"] = seconds


def _file(recipe: str | None) -> Path:
    return REPEATS.with_stem(f"{REPEATS.stem}-{recipe}") if recipe else REPEATS


def _summary(values: list[dict[str, float]]) -> dict[str, dict]:
    """Return mean, standard deviation (of a sample: n - 1) and the value of each seed, by metric."""
    # Counts and marks do not spread.
    by_metric = {
        metric: [each[metric] for each in values]
        for metric, one in values[0].items()
        if isinstance(one, float) and all(metric in each for each in values)
    }
    return {
        metric: {"mean": statistics.fmean(found), "std": statistics.stdev(found), "values": found}
        for metric, found in by_metric.items()
    }


def _print_table(summary: dict[str, dict], seeds: int) -> None:
    # Without lines between the columns it fits into 80 characters.
    table = Table(title=f"mean ± standard deviation over {seeds} seeds", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("model")
    shown = {metric: words for metric, words in SHOWN.items() if all(metric in each for each in summary.values())}
    for heading in shown.values():
        table.add_column(heading, justify="right")
    for model in ALL_MODELS:
        table.add_row(model.title, *(_figure(metric, summary[model.name][metric]) for metric in shown))
    Console().print(table)


def _figure(metric: str, figure: dict[str, float]) -> str:
    if metric.endswith("accuracy"):
        return f"{figure['mean']:.2%} ± {100 * figure['std']:.2f}"
    if metric.endswith("seconds"):
        return f"{figure['mean']:.1f} s ± {figure['std']:.1f}"
    return f"{figure['mean']:.4f} ± {figure['std']:.4f}"
