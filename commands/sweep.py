"""`mnist sweep`: search for better settings, as a file in sweeps/ describes it."""

import argparse
import os

from stages.process.errors import UserError
from stages.process.provenance import main_repository


def add_to(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "sweep",
        help="search for better settings; without a name, list the searches",
        description="Search for the params of one training stage that do best on validation images, as "
        "sweeps/NAME.yaml describes it (docs/sweeps.md). Optuna decides what is tried; each trial is an experiment of "
        "DVC, NAME-0007 say, and a run in MLflow with the tags sweep, sweep.trial and sweep.state. After an interrupt "
        "or a kill the same command goes on to the same total. At the end the best settings are compared with the "
        "present ones over new seeds, and a page is in reports/sweeps/NAME.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="as `mnist sweep` lists it: a file in sweeps/")
    add_cluster_to(parser)
    parser.set_defaults(run=run)


def add_cluster_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        default=os.environ.get("RAY_ADDRESS"),
        help="run the trainings on a cluster of Ray that you have started, auto for the one of this machine "
        "(default: RAY_ADDRESS, else one at a time, here)",
    )


def run(arguments: argparse.Namespace) -> None:
    os.chdir(main_repository())
    if arguments.name is None:
        _list()
    else:
        # Its packages take seconds to import.
        from commands.sweeping.story import run_sweep

        run_sweep(arguments.name, arguments.cluster or None)


def _list() -> None:
    from commands.named_files import about
    from commands.sweeping.file import SWEEPS, sweep_file, sweep_names
    from commands.sweeping.study import finished, read_study

    if not sweep_names():
        print(f"{SWEEPS}/ has no file yet; docs/sweeps.md says how to write one")
    for name in sweep_names():
        try:
            study = read_study(name)
            done = f" ({len(finished(study))} trials done)" if study else ""
        except UserError:
            done = " (its journal is damaged)"
        print(f"{name:14} {about(sweep_file(name))}{done}")
