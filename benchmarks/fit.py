"""Training time and test accuracy beside the peers, in interleaved rounds."""

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.results import PROJECT, WORK, Record, Results, clone, last_json, run

PEERS = PROJECT / "benchmarks" / "peers"
FOREST = "random_forest"
PLAIN = [f"train.random_forest.{value}" for value in ("features=pixels", "n_estimators=100", "bootstrap=true")]
# Peer, rounds, and the trainings beside it: name, model, params, and the share of validation images.
# The peers of slides-mlp and notes-2023 split off 0.2, as these write-ups do, the others 0.1.
ROUNDS = [
    ("poster_2018", 5, [("poster-2018", "mlp", ["poster-2018"], 0.1)]),
    ("lecture_2019", 5, [("lecture-2019", "mlp", ["lecture-2019"], 0.1)]),
    ("slides_mlp", 5, [("slides-mlp", "mlp", ["slides-mlp"], 0.2)]),
    ("notes_2023", 3, [("notes-2023", "mlp", ["notes-2023"], 0.2), ("fast MLP", "mlp", ["fast"], 0.1)]),
    ("keras_example", 3, [("keras-example", "cnn", ["keras-example"], 0.1), ("fast CNN", "cnn", ["fast"], 0.1)]),
    ("slides_cnn", 3, [("slides-cnn, 1 epoch", "cnn", ["slides-cnn", "train.cnn.epochs=1"], 0.1)]),
    ("sklearn_forest", 3, [("plain forest", FOREST, PLAIN, 0.1), ("default forest", FOREST, [], 0.1)]),
]
# These run beside a script that trains something else.
OTHER_TRAININGS = {"fast MLP", "fast CNN", "default forest"}
BESIDE_R = [
    ("blog-forest", ["blog-forest"]),
    ("fast forest, 3,000 images", ["fast", "train.random_forest.train_samples=3000"]),
]


def measure(results: Results) -> None:
    folders = {fraction: _prepared(fraction) for fraction in (0.1, 0.2)}
    # Round by round, so that an interrupted run has something of everything.
    for number in range(1, max(rounds for _, rounds, _ in ROUNDS) + 1):
        for peer, rounds, ours in ROUNDS:
            if number <= rounds:
                _round(results, number, peer, ours, folders)
    results.measure("peer random_forest.R", 1, partial(_r, folders[0.1]))
    for number in range(1, 6):
        for name, changes in BESIDE_R:
            forest = partial(_ours, folders[0.1], FOREST, *changes, "runtime.seed=0")
            results.measure(name, number, forest)


def _round(results: Results, number: int, peer: str, ours: list, folders: dict[float, Path]) -> None:
    results.measure(f"peer {peer}", number, partial(_peer, peer, folders[0.1] / "data" / "raw"))
    for name, model, changes, fraction in ours:
        seed = f"runtime.seed={number - 1}"
        results.measure(name, number, partial(_ours, folders[fraction], model, *changes, seed))


def _prepared(fraction: float) -> Path:
    """Return a clone with data/prepared, of which `fraction` are validation images."""
    folder = clone(f"validation-{fraction}")
    params = folder / "params.yaml"
    text = params.read_text().replace("validation_fraction: 0.1", f"validation_fraction: {fraction}")
    params.write_text(text)
    run("dvc", "repro", "preprocess", folder=folder)
    return folder


def _peer(name: str, raw: Path) -> Record:
    return last_json(run(sys.executable, str(PEERS / f"{name}.py"), str(raw), folder=WORK))


def _ours(folder: Path, model: str, *changes: str) -> Record:
    return last_json(run(sys.executable, "-m", "benchmarks.ours", model, *changes, folder=folder))


def _r(folder: Path) -> Record | None:
    if (
        not shutil.which("Rscript")
        or subprocess.run(("Rscript", "-e", "library(randomForest)"), capture_output=True, check=False).returncode
    ):
        print("    skipped: no Rscript with the package randomForest (Debian: r-cran-randomforest)")
        return None
    _write_the_same_images(folder, WORK)
    raw = folder / "data" / "raw"
    return last_json(run("Rscript", str(PEERS / "random_forest.R"), str(raw), str(WORK), folder=WORK))


def _write_the_same_images(folder: Path, target: Path) -> None:
    """Write the 3,000 images that blog-forest trains on, in the format of MNIST."""
    from stages.dataset.idx import write_idx
    from stages.dataset.prepared import Split
    from stages.dataset.subset import subset

    prepared = folder / "data" / "prepared"
    training = Split(np.load(prepared / "train_images.npy"), np.load(prepared / "train_labels.npy"))
    chosen = subset(training, 3000, seed=0)
    write_idx(target / "images.gz", chosen.images)
    write_idx(target / "labels.gz", chosen.labels)
