"""Training time and test accuracy of the default settings, beside those of earlier commits.

    uv run python -m benchmarks.defaults 6346875 d3ab86b

prints the table of docs/ladder.md. Five rounds are interleaved, and each has a seed of its own. Each commit trains with
its own code and params, and with the packages of today. Measurements are kept in benchmarks/rounds/, so that an
interrupted run goes on where it was. Let nothing else run meanwhile.
"""

import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.fit import FOREST, ROUNDS
from benchmarks.results import PROJECT, WORK, Record, Results, git, last_json, parser, run
from benchmarks.tables import spread, table

PORTABLE, NATIVE = "portable", "native"
# A forest has no arithmetic to choose.
TRAININGS = [("mlp", PORTABLE), ("mlp", NATIVE), ("cnn", PORTABLE), ("cnn", NATIVE), (FOREST, None)]


def main() -> None:
    command = parser(__doc__)
    command.add_argument("commits", nargs="+", metavar="COMMIT")
    earlier = command.parse_args().commits
    results = Results()
    commits = [*(git("rev-parse", f"{name}^{{commit}}") for name in earlier), results.commit]
    folders = {commit[:7]: _prepared(commit) for commit in commits}
    for number in range(1, ROUNDS + 1):
        for model, arithmetic in TRAININGS:
            for commit, folder in folders.items():
                if arithmetic in (None, *_arithmetics(folder)):
                    fit = partial(_fit, folder, model, arithmetic, seed=number - 1)
                    results.measure(_name(commit, model, arithmetic), number, fit)
    print(f"\n{results.machine}\n")
    heading = ("training", "arithmetic", "commit", "seconds", "share of the time", "test accuracy", "rounds")
    print(table(heading, [row for each in TRAININGS for row in _rows(results, list(folders), *each)]))


def _prepared(commit: str) -> Path:
    """Return a clone at `commit` with data/prepared."""
    folder = WORK / f"defaults-{commit[:7]}"
    if not folder.exists():
        subprocess.run(("git", "clone", "--quiet", "--no-checkout", str(PROJECT), str(folder)), check=True)
    git("checkout", "--quiet", commit, folder=folder)
    run("dvc", "repro", "preprocess", folder=folder)
    return folder


def _arithmetics(folder: Path) -> tuple[str, ...]:
    """Return those that the commit knows. Before it was a param, arithmetic was native."""
    return (PORTABLE, NATIVE) if "\n  arithmetic:" in (folder / "params.yaml").read_text() else (NATIVE,)


def _fit(folder: Path, model: str, arithmetic: str | None, seed: int) -> Record:
    changes = [f"runtime.seed={seed}"]
    if arithmetic and len(_arithmetics(folder)) > 1:
        changes.append(f"runtime.arithmetic={arithmetic}")
    return last_json(run(sys.executable, "-m", "benchmarks.ours", model, *changes, folder=folder))


def _name(commit: str, model: str, arithmetic: str | None) -> str:
    return " ".join(filter(None, ("defaults of", commit, model, arithmetic)))


def _rows(results: Results, commits: list[str], model: str, arithmetic: str | None) -> list[tuple[str, ...]]:
    """Return a row for each commit; the share is that of the last one's median time, `now`, in its own."""
    measured = {commit: results.records.get(_name(commit, model, arithmetic), []) for commit in commits}
    seconds, accuracies = (
        {commit: [record[key] for record in records] for commit, records in measured.items() if records}
        for key in ("fit_seconds", "test_accuracy")
    )
    now = statistics.median(seconds[commits[-1]])
    return [
        (
            model,
            arithmetic or "",
            f"`{commit}`",
            spread(measured[commit], "fit_seconds", "{:.1f}"),
            f"{now / statistics.median(values):.0%}",
            f"{statistics.mean(accuracies[commit]):.2%} ± {100 * statistics.stdev(accuracies[commit]):.2f}",
            str(len(values)),
        )
        for commit, values in seconds.items()
    ]


if __name__ == "__main__":
    main()
