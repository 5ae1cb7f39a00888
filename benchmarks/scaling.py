"""Time and memory of each stage with 60,000, 600,000 and 6 million training images, deformed copies of MNIST's.

As folders of PNG files, 60,000 and 600,000, those of DVC and `preprocess`: all after it reads the same arrays.
"""

import re
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from benchmarks.results import Record, Results, clone, environment, run
from stages.params.yaml_file import edit_file

IMAGES = (60_000, 600_000, 6_000_000)
PICTURES = (60_000, 600_000)
STAGES = ("preprocess", "explore", "train_mlp", "train_cnn", "train_random_forest", "evaluate")
NAME = "deformed"
# One pass over the images. The features of all may not fit into memory, so the forest takes a fixed number; predictions
# with shifts are nine times the work of others.
PARAMS = {
    "data.name": NAME,
    **{
        f"train.{model}.{key}": value
        for model in ("mlp", "cnn")
        for key, value in {"epochs": 1, "min_steps": None, "test_time_shift": 0}.items()
    },
    "train.random_forest.train_samples": 50_000,
}
# Images that are deformed at once.
PART = 6000
# Between two looks at the memory.
LOOK_SECONDS = 0.05


def measure(results: Results) -> None:
    for images in IMAGES:
        results.measure(f"{images} images", 1, lambda images=images: _stages(images))
    for images in PICTURES:
        results.measure(f"{images} pictures", 1, lambda images=images: _pictures(images))


def _stages(images: int) -> Record:
    """Run the stages on so many training images, a tenth of them for validation, and a sixth as many test images."""
    folder = _with_deformed(images)
    run(sys.executable, "-m", "stages.download", folder=folder)
    return {stage: _watched(f"stages.{stage}", folder) for stage in STAGES}


def _pictures(images: int) -> Record:
    """Run DVC up to `preprocess` on a folder of so many PNG files for training, once and with nothing to do."""
    folder = _with_deformed(images)
    arrays = folder / "data" / "sets" / NAME
    pictures = arrays.with_name(f"pictures-{images}")
    for split in ("train", "test"):
        stored, labels = (np.load(arrays / f"{split}_{kind}.npy", mmap_mode="r") for kind in ("images", "labels"))
        for label in np.unique(labels):
            (pictures / split / str(label)).mkdir(parents=True, exist_ok=True)
        for index, (image, label) in enumerate(zip(stored, labels, strict=True)):
            Image.fromarray(np.array(image)).save(pictures / split / str(label) / f"{index}.png")
    edit_file(folder / "params.yaml", {"data.name": pictures.name})
    reproduced = {name: _watched("dvc", folder, "repro", "preprocess") for name in ("dvc repro", "dvc repro again")}
    return {"preprocess": _watched("stages.preprocess", folder), **reproduced}


def _with_deformed(images: int) -> Path:
    """Return a clone with a data set of `images` deformed training images as arrays, and params.yaml set to it."""
    folder = clone("scaling")
    run("git", "checkout", "--quiet", "params.yaml", folder=folder)
    for stage in ("download", "preprocess"):
        run(sys.executable, "-m", f"stages.{stage}", folder=folder)
    _write_deformed(folder, images)
    edit_file(folder / "params.yaml", PARAMS)
    return folder


def _write_deformed(folder: Path, images: int) -> None:
    """Write a data set of deformed copies of the images in data/prepared, as arrays in data/sets."""
    from stages.dataset.scaling import scaled
    from stages.learners.augmentation import Augmentation
    from stages.params.schema import Augmentation as AugmentationParams

    limits = {"shift": 0.07, "rotation": 10.0, "zoom": 0.1, "shear": 0.1, "elastic": 0.03, "flip": False}
    target = folder / "data" / "sets" / NAME
    target.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for split, count in (("train", images), ("test", images // 6)):
        sources, labels = (np.load(folder / f"data/prepared/{split}_{kind}.npy") for kind in ("images", "labels"))
        augment = Augmentation(AugmentationParams(**limits), *sources.shape[1:])
        shape = (count, *sources.shape[1:])
        written = np.lib.format.open_memmap(target / f"{split}_images.npy", "w+", np.uint8, shape)
        chosen = np.arange(count) % len(labels)
        for start in range(0, count, PART):
            part = chosen[start : start + PART]
            written[start : start + PART] = np.rint(255 * augment(scaled(sources[part]), random)).clip(0, 255)
        np.save(target / f"{split}_labels.npy", labels[chosen])


def _watched(module: str, folder: Path, *arguments: str) -> Record:
    start = time.perf_counter()
    command = (sys.executable, "-m", module, *arguments)
    process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True)
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(psutil.Process(process.pid), peak))
    watcher.start()
    output = process.stdout.read()
    watcher.join()
    if process.wait():
        sys.exit(f"{module} failed:\n{output}")
    trained = re.search(r"trained in ([\d.]+) s", output)
    return {
        "seconds": round(time.perf_counter() - start, 2),
        "peak_mib": peak[0] // 2**20,
        "training_seconds": float(trained[1]) if trained else None,
    }


def _watch(process: psutil.Process, peak: list[int]) -> None:
    """Note the most memory that the process has for itself: pages of files do not count, the system takes them back."""
    with suppress(psutil.NoSuchProcess):
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            memory = process.memory_info()
            peak[0] = max(peak[0], memory.rss - memory.shared)
            time.sleep(LOOK_SECONDS)
