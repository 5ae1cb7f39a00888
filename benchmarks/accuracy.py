"""Test accuracy over five seeds, of the defaults and of the recipe `accurate`."""

import json

from benchmarks.results import PROJECT, Record, Results, clone, run

SEEDS = 5


def measure(results: Results) -> None:
    results.measure("defaults, 5 seeds", 1, lambda: _repeat("reports/repeats.json"))
    results.measure("accurate, 5 seeds", 1, lambda: _repeat("reports/repeats-accurate.json", "--recipe", "accurate"))


def _repeat(file: str, *arguments: str) -> Record:
    folder = clone("accuracy")
    # A training of the same code and params that was made here before is not made again.
    run("dvc", "config", "--local", "cache.dir", str(PROJECT / ".dvc" / "cache"), folder=folder)
    run("mnist", "repeat", "--seeds", str(SEEDS), *arguments, folder=folder)
    return json.loads((folder / file).read_text())
