"""A cold `dvc repro` of everything, one with nothing to do, and the stages' own work without DVC and MLflow."""

import shutil
import sys
import time
from pathlib import Path

from benchmarks.results import WORK, Record, Results, clone, last_json, run


def measure(results: Results) -> None:
    for number in range(1, 4):
        results.measure("own work", number, lambda: _own_work(clone("own-work")))
        results.measure("cold", number, _cold)
    for number in range(1, 6):
        results.measure("nothing to do", number, lambda: _seconds("dvc", "repro", folder=clone("cold")))


def _seconds(*command: str, folder: Path) -> Record:
    start = time.perf_counter()
    run(*command, folder=folder)
    return {"seconds": round(time.perf_counter() - start, 2)}


def _cold() -> Record:
    # What an interrupted run has left would make it a warm one.
    shutil.rmtree(WORK / "cold", ignore_errors=True)
    return _seconds("dvc", "repro", folder=clone("cold"))


def _own_work(folder: Path) -> Record:
    return last_json(run(sys.executable, "-m", "benchmarks.own_work", folder=folder))
