"""Test accuracy over five seeds, of the defaults and of the recipe `accurate`."""

import json

from benchmarks.results import Record, Results, clone, run

SEEDS = 5


def measure(results: Results) -> None:
    results.measure("defaults, 5 seeds", 1, lambda: _repeat("reports/repeats.json"))
    results.measure("accurate, 5 seeds", 1, lambda: _repeat("reports/repeats-accurate.json", "--recipe", "accurate"))


def _repeat(file: str, *arguments: str) -> Record:
    folder = clone("accuracy")
    run("mnist", "repeat", "--seeds", str(SEEDS), *arguments, folder=folder)
    return json.loads((folder / file).read_text())
