"""A cold `dvc repro` of everything, and one with nothing to do."""

import shutil
import time
from pathlib import Path

from benchmarks.results import WORK, Record, Results, clone, run


def measure(results: Results) -> None:
    for number in range(1, 4):
        results.measure("cold", number, _cold)
    for number in range(1, 6):
        results.measure("nothing to do", number, lambda: _seconds("dvc", "repro", folder=clone("cold")))


def _seconds(*command: str, folder: Path) -> Record:
    start = time.perf_counter()
    run(*command, folder=folder)
    return {"seconds": round(time.perf_counter() - start, 2)}


def _cold() -> Record:
    # The rest of an interrupted run would make it a warm one.
    shutil.rmtree(WORK / "cold", ignore_errors=True)
    return _seconds("dvc", "repro", folder=clone("cold"))
