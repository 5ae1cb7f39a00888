"""`mnist sweep`: search for better settings, as a file in sweeps/ describes it."""

import argparse
import os
from pathlib import Path

from stages.process.errors import UserError
from stages.process.provenance import main_repository


def add_to(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "sweep",
        help="search for better settings; without a name, list the searches",
        description="Search for the params of one training stage that do best on validation images, as sweeps/NAME.yaml "
        "describes it (docs/sweeps.md). Optuna decides what is tried; each trial is an experiment of DVC, NAME-0007 say, "
        "and a run in MLflow with the tags sweep, sweep.trial and sweep.state. After an interrupt or a kill the same "
        "command goes on to the same total. At the end the best settings are compared with the present ones over new "
        "seeds, and a page is in reports/sweeps/NAME.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="as `mnist sweep` lists it: a file in sweeps/")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    os.chdir(main_repository())
    if arguments.name is None:
        _list()
    else:
        _sweep(arguments.name)


def _list() -> None:
    from commands.sweeping.file import SWEEPS, about, sweep_names
    from commands.sweeping.study import finished, read_study

    if not sweep_names():
        print(f"{SWEEPS}/ has no file yet; docs/sweeps.md says how to write one")
    for name in sweep_names():
        study = read_study(name)
        done = f" ({len(finished(study))} trials done)" if study else ""
        print(f"{name:14} {about(name)}{done}")


def _sweep(name: str) -> None:
    from commands.experiments import check_tracked
    from commands.sweeping.base import base_of, keys_read
    from commands.sweeping.console import Progress
    from commands.sweeping.file import load_sweep
    from commands.sweeping.placing import one_at_a_time
    from commands.sweeping.space import check_space, checked, params_content
    from commands.sweeping.study import Search, alone, open_study
    from commands.sweeping.trial import Event, Task

    sweep, content = load_sweep(name), params_content()
    check_space(name, sweep, content, keys_read(sweep))
    check_tracked(checked(sweep, content, {}).data.name)
    with alone(name):
        base = base_of(sweep)
        study = open_study(name, sweep, base)
        search, progress = Search(name, sweep, study, content), Progress(name, sweep, study)

        def next_task() -> Task | None:
            task = search.next_task()
            if task:
                # DVC would take the changed state for this trial.
                _check_base(name, base, base_of(sweep))
                progress.asked(task)
            return task

        def heard(task: Task, event: Event) -> str | None:
            reason = search.heard(task, event)
            progress.heard(task, event)
            return reason

        try:
            with progress.shown():
                one_at_a_time(next_task, heard, Path.cwd())
            _end(name, sweep, study, content, progress)
        except KeyboardInterrupt:
            print(f"\n{progress.counts()}. The same command goes on from there: uv run mnist sweep {name}", flush=True)
            raise


def _check_base(name: str, before: dict, now: dict) -> None:
    from commands.sweeping.base import changes

    if before != now:
        changed = changes(before, now)
        raise UserError(
            f"{name}: what its trials depend on has changed while it ran: {changed[0]}\n"
            "Put that back; then the same command goes on."
        )


def _end(name, sweep, study, content, progress) -> None:
    from commands.sweeping.confirm import confirm, look_at_test_images
    from commands.sweeping.console import best_table
    from commands.sweeping.report import write_page
    from commands.sweeping.study import best_trials
    from commands.sweeping.words import metric_words

    best, verdict, tested = best_trials(study), None, None
    if sweep.confirm and best:
        verdict = confirm(name, sweep, study, content, Path.cwd())
        if verdict.beats:
            tested = look_at_test_images(name, sweep, study, verdict, content, Path.cwd())
    page = write_page(name, sweep, study, verdict, tested)
    if not progress.console.is_terminal:
        progress.console.print(best_table(name, sweep, study))
    print(f"{progress.counts()}. The page: {page}")
    print(f"In MLflow (uv run mnist ui): tags.sweep = '{name}'")
    if verdict:
        print(_words(verdict, lambda value: metric_words(sweep.metric.name, value)))
        if verdict.beats:
            accuracy = sum(tested["test_accuracy"]) / len(tested["test_accuracy"])
            print(f"Test images, looked at once, for the winner: accuracy {accuracy:.2%} (mean over the same seeds)")
            print(f"To make these settings yours: uv run dvc exp apply {name}-{verdict.winner:04d}")
    elif best:
        print("Whether the best is better than chance is not known: give the file confirm: {best: 3, seeds: 5}")


def _words(verdict, words) -> str:
    means = [sum(each) / len(each) for each in (verdict.values, verdict.present)]
    compared = f"trial {verdict.winner}: {words(means[0])}, present settings: {words(means[1])}"
    if verdict.low is None:
        test = "the same gain with each seed, which no test can judge"
    else:
        test = (
            f"gain {verdict.gain:+.4f}, interval {verdict.low:+.4f} to {verdict.high:+.4f}, p = {verdict.p_value:.3g}"
        )
    answer = (
        "beats the present settings by more than chance"
        if verdict.beats
        else "no settings beat the present ones by more than chance"
    )
    return f"{compared} ({len(verdict.seeds)} new seeds; {test}): {answer}"
