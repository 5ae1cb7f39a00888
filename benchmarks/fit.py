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
ROUNDS = 5
Training = tuple[str, str, list[str], float]


def _in_both(name: str, model: str, *changes: str, fraction: float = 0.1) -> list[Training]:
    """Return the training with portable and with native arithmetic."""
    return [
        (name, model, [*changes, "runtime.arithmetic=portable"], fraction),
        (f"{name}, native", model, [*changes, "runtime.arithmetic=native"], fraction),
    ]


# Peer, and the trainings beside it: name, model, params, and the share of validation images.
# The peers of slides-mlp and notes-2023 split off 0.2, as these write-ups do, the others 0.1.
SAME = [
    ("poster_2018", _in_both("poster-2018", "mlp", "poster-2018")),
    ("lecture_2019", _in_both("lecture-2019", "mlp", "lecture-2019")),
    ("slides_mlp", _in_both("slides-mlp", "mlp", "slides-mlp", fraction=0.2)),
    ("notes_2023", _in_both("notes-2023", "mlp", "notes-2023", fraction=0.2)),
    ("keras_example", _in_both("keras-example", "cnn", "keras-example")),
    ("slides_cnn", _in_both("slides-cnn, 1 epoch", "cnn", "slides-cnn", "train.cnn.epochs=1")),
    ("sklearn_forest", [("plain forest", FOREST, PLAIN, 0.1)]),
]
FAST_MLP, FAST_CNN = ("fast MLP", "mlp", ["fast"], 0.1), ("fast CNN", "cnn", ["fast"], 0.1)
DEFAULT_FOREST = ("default forest", FOREST, [], 0.1)
# These run beside a script that trains something else, such as what another library's documentation shows.
OTHER = [
    ("notes_2023", [FAST_MLP]),
    ("sklearn_mlp", [FAST_MLP]),
    ("keras_example", [FAST_CNN]),
    ("pytorch_example", [FAST_CNN, *_in_both("default CNN", "cnn")]),
    ("sklearn_forest", [DEFAULT_FOREST]),
    ("ydf_forest", [DEFAULT_FOREST]),
]
BESIDE_R = [
    ("blog-forest", ["blog-forest"]),
    ("fast forest, 3,000 images", ["fast", "train.random_forest.train_samples=3000"]),
]


def measure(results: Results) -> None:
    folders = {fraction: _prepared(fraction) for fraction in (0.1, 0.2)}
    # Round by round, so that an interrupted run has something of everything.
    for number in range(1, ROUNDS + 1):
        for peer, ours in SAME + OTHER:
            _round(results, number, peer, ours, folders)
    results.measure("peer random_forest.R", 1, partial(_r, folders[0.1]))
    for number in range(1, ROUNDS + 1):
        for name, changes in BESIDE_R:
            forest = partial(_ours, folders[0.1], FOREST, *changes, "runtime.seed=0")
            results.measure(name, number, forest)


def _round(results: Results, number: int, peer: str, ours: list[Training], folders: dict[float, Path]) -> None:
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
    script = PEERS / f"{name}.py"
    # Of packages that are not this project's it names the versions itself, and uv gives it an environment of its own.
    python = ("uv", "run", "--quiet", "--script") if "# /// script" in script.read_text() else (sys.executable,)
    return last_json(run(*python, str(script), str(raw), folder=WORK))


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
