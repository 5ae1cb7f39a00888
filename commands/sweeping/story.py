"""A sweep from its file to its page: check, search, confirm, report."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna

from commands.experiments import check_tracked
from commands.sweeping.base import base_of, changes, keys_read
from commands.sweeping.confirm import Verdict, confirm, look_at_test_images
from commands.sweeping.console import Progress, best_table
from commands.sweeping.file import Sweep, load_sweep, sweep_file
from commands.sweeping.placing import Place, this_clone
from commands.sweeping.report import page_folder, write_page
from commands.sweeping.search import Search
from commands.sweeping.space import check_space, checked_params, params_content, present_values
from commands.sweeping.study import alone, best_trials, open_study
from commands.sweeping.trial import Event, Task, trial_name
from commands.sweeping.words import metric_words
from commands.sweeping.workspace import WORKSPACE_NOTE
from stages.process.errors import UserError
from stages.tracking.beside import publishing_the_rest
from stages.tracking.store import tracking_uri

# Seconds that DVC may take to start an experiment.
SETTLES = 60


def run_sweep(name: str, address: str | None) -> None:
    """Run the sweep in the current folder, a clone, or go on with it; raises `UserError` where it cannot.

    With the `address` of a cluster of Ray its trials run there.
    """
    # Before anything is read: a kill may have left the files as DVC had them.
    with suppress(UserError), this_clone(Path.cwd()):
        pass
    sweep, content = load_sweep(name), params_content()
    file = sweep_file(name).read_text(encoding="utf-8")
    check_space(name, sweep, content, keys_read(sweep))
    check_tracked(checked_params(sweep, content, {}).data.name)
    # Else each trial would find these mistakes.
    tracking_uri()
    page_folder(name)
    with alone(name), _place(address, sweep) as place:
        base = base_of(sweep)
        study = open_study(name, sweep, base, present_values(sweep, content))
        place = _while_unchanged(place, name, sweep, base)
        search, progress = Search(name, sweep, study, content), Progress(name, sweep, study)

        def next_task() -> Task | None:
            task = search.next_task()
            if task:
                progress.asked(task)
            return task

        def heard(task: Task, event: Event) -> str | None:
            reason = search.heard(task, event)
            progress.heard(task, event)
            return reason

        try:
            with progress.shown():
                place.run(next_task, heard)
            place.bring([trial_name(name, trial.number) for trial in best_trials(study)], False)
            # What MLflow did not take from a trial at its time.
            with publishing_the_rest():
                _conclude(name, sweep, file, study, content, progress, place)
        except KeyboardInterrupt:
            print(f"\n{progress.counts()}. The same command goes on from there: uv run mnist sweep {name}", flush=True)
            raise


def _place(address: str | None, sweep: Sweep) -> AbstractContextManager[Place]:
    if address is None:
        return this_clone(Path.cwd())
    from commands.sweeping.cluster import cluster

    return cluster(address, sweep.resources)


def _while_unchanged(place: Place, name: str, sweep: Sweep, base: dict[str, Any]) -> Place:
    """Return the place, which raises `UserError` before a task where its trials would no longer compare."""

    def checked(next_task: Callable[[], Task | None]) -> Task | None:
        # DVC would take the changed state for this one.
        if (now := _settled(sweep, base)) != base:
            raise UserError(
                f"{name}: what its trials depend on has changed while it ran: {changes(base, now)[0]}\n"
                "Put that back; then the same command goes on."
            )
        return next_task()

    return replace(place, run=lambda next_task, heard: place.run(partial(checked, next_task), heard))


def _settled(sweep: Sweep, base: dict[str, Any]) -> dict[str, Any]:
    """Return the base as it stands, once no trial starts in this clone, as one of a cluster's may.

    While DVC starts one, its params stand in params.yaml. Raises `UserError` where that cannot be read after it.
    """
    end = time.monotonic() + SETTLES
    while WORKSPACE_NOTE.exists() and time.monotonic() < end:
        # Git may be writing the files.
        with suppress(UserError, OSError, ValueError):
            if base_of(sweep) == base:
                return base
        time.sleep(0.1)
    return base_of(sweep)


def _conclude(
    name: str, sweep: Sweep, file: str, study: optuna.Study, content: dict[str, Any], progress: Progress, place: Place
) -> None:
    best, verdict, tested, mistake = best_trials(study), None, None, None
    if sweep.confirm and best:
        try:
            verdict = confirm(name, sweep, study, content, place)
            if verdict and verdict.beats:
                tested = look_at_test_images(name, sweep, study, verdict, content, Path.cwd(), place)
        except UserError as error:
            # The search is done, and its page is written first.
            mistake = error
    page = write_page(name, sweep, file, study, verdict, tested)
    if not progress.console.is_terminal:
        progress.console.print(best_table(name, sweep, study))
    print(f"{progress.counts()}. The page: {page}")
    print(f"In MLflow (uv run mnist ui): tags.sweep = '{name}'")
    if not best:
        raise UserError(f"{name}: no trial is complete, so there is nothing to choose from; the page says why")
    if mistake:
        raise mistake
    if verdict:
        print(_words(sweep, verdict))
    elif sweep.confirm:
        print("All trials that are complete have the present settings: there is nothing to compare them with")
    else:
        print("Whether the best is more than chance is not known: confirm: {best: 3, seeds: 5} in the file finds out")
    if tested:
        accuracy = sum(tested["test_accuracy"]) / len(tested["test_accuracy"])
        print(f"On the test images, looked at once, for the winner: accuracy {accuracy:.2%} (mean over the same seeds)")
        print(f"To make these settings yours: uv run dvc exp apply {trial_name(name, verdict.winner)}")


def _words(sweep: Sweep, verdict: Verdict) -> str:
    winner, present = (
        metric_words(sweep.metric.name, sum(each) / len(each)) for each in (verdict.values, verdict.present)
    )
    test = "the same gain with each seed, which no test can judge: give more seeds"
    if verdict.low is not None:
        test = (
            f"gain {verdict.gain:+.4f}, interval {verdict.low:+.4f} to {verdict.high:+.4f}, p = {verdict.p_value:.3g}"
        )
    answer = f"trial {verdict.winner} beats" if verdict.beats else "no settings beat"
    return (
        f"{sweep.metric.name} over {len(verdict.seeds)} new seeds: trial {verdict.winner} {winner}, present settings "
        f"{present} ({test})\n{answer} the present settings by more than chance"
    )
