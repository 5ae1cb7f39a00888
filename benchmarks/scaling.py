"""Time per image and epoch, and peak memory of each stage, for 15,000, 30,000 and 60,000 images."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from mlflow import MlflowClient

from benchmarks.results import Record, Results, clone, environment, run
from stages.params.views import edit_file

IMAGES = (15_000, 30_000, 60_000)
STAGES = ("preprocess", "explore", "train_mlp", "train_cnn", "train_random_forest", "evaluate")
EPOCHS = 4


def measure(results: Results) -> None:
    for images in IMAGES:
        for number in range(1, 4):
            results.measure(f"{images} images", number, lambda images=images: _stages(images))


def _stages(images: int) -> Record:
    """Run the stages on the first `images` of MNIST's training images, a tenth of them for validation.

    Preprocess takes all 60,000.
    """
    folder = clone("scaling")
    length = {"epochs": EPOCHS, "min_steps": None}
    edit_file(
        folder / "params.yaml",
        {f"train.{model}.{key}": value for model in ("mlp", "cnn") for key, value in length.items()},
    )
    run("dvc", "repro", "download", folder=folder)
    measured = {"preprocess": _stage("preprocess", folder)}
    _shorten(folder / "data" / "prepared", images)
    for stage in STAGES[1:]:
        measured[stage] = _stage(stage, folder)
    return measured


def _stage(stage: str, folder: Path) -> Record:
    start = time.perf_counter()
    command = (sys.executable, "-m", f"stages.{stage}")
    process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{stage} failed:\n{output}")
    return {
        "seconds": round(time.perf_counter() - start, 2),
        "peak_mib": usage.ru_maxrss // 1024,
        "epoch_seconds": _epoch_seconds(stage, folder, output),
    }


def _epoch_seconds(stage: str, folder: Path, output: str) -> float | None:
    """Return the time of an epoch after the first, which also builds the graph; the forest's whole training is one."""
    if stage == "train_random_forest":
        return float(re.search(r"trained in ([\d.]+) s", output)[1])
    if not stage.startswith("train_"):
        return None
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mnist").experiment_id
    of_stage = f"attributes.run_name = '{stage.removeprefix('train_')}'"
    (run,) = client.search_runs([experiment], of_stage, max_results=1, order_by=["attributes.start_time DESC"])
    ends = {point.step: point.timestamp for point in client.get_metric_history(run.info.run_id, "val_loss")}
    return round((ends[EPOCHS] - ends[1]) / 1000 / (EPOCHS - 1), 3)


def _shorten(prepared: Path, images: int) -> None:
    for split, share in (("train", 0.9), ("validation", 0.1)):
        for kind in ("images", "labels"):
            path = prepared / f"{split}_{kind}.npy"
            array = np.load(path)[: int(images * share)]
            path.unlink()
            np.save(path, array)
