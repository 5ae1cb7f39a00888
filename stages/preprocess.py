"""Check the raw images, prepare them for the models and split off the validation set, into data/prepared.

python -m stages.preprocess
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

from stages.dataset.arrays import Arrays
from stages.dataset.catalogue import PACKAGED, SETS, Dataset, images_and_labels, load_dataset
from stages.dataset.fallback import SAMPLES
from stages.dataset.folders import replaced
from stages.dataset.idx import IdxError, read_idx
from stages.dataset.images import prepare
from stages.dataset.imbalance import imbalance
from stages.dataset.own import Images, read_own, state_of
from stages.dataset.pieces import pieces
from stages.dataset.prepared import DatasetInfo, save_info, split_writer
from stages.params.views import PreprocessParams, check_fit, load_params
from stages.paths import PREPARED, RAW
from stages.process.console import progress_bar, warn
from stages.process.errors import UserError
from stages.process.provenance import experiment_name
from stages.tracking.stage import run_stage

# Test images are split off once and for all.
TEST_SEED = 0
# Fractions that params.yaml allows.
MOST = 0.5


def main() -> None:
    params = load_params(PreprocessParams)
    manifest = _read_manifest(params.name)
    before = state_of(params.name)
    train, test, names = _read(manifest, params)
    if test is None:
        learnt, held = _split(train.labels, names, params.test_fraction, TEST_SEED, "data.test_fraction", "test")
    else:
        learnt, held = np.arange(len(train.labels)), np.arange(len(test.labels))
    fraction, seed = params.preprocess.validation_fraction, params.preprocess.seed
    kept, validation = _split(
        train.labels[learnt], names, fraction, seed, "preprocess.validation_fraction", "validation"
    )
    splits = {
        "train": (train, learnt[kept]),
        "validation": (train, learnt[validation]),
        "test": (train if test is None else test, held),
    }

    _, height, width, *channels = train.shape
    info = DatasetInfo(
        **manifest,
        height=height,
        width=width,
        class_names=names,
        deskew=params.preprocess.deskew,
        channels=3 if channels else 1,
        resize=train.how,
    )
    check_fit(info, len(kept))
    counts = {split: len(indices) for split, (_, indices) in splits.items()}
    with replaced(PREPARED) as folder:
        with progress_bar(sum(counts.values()), "prepare", "image") as bar:
            seen = {
                split: _write(folder, split, raw, indices, params.preprocess.deskew, bar.update)
                for split, (raw, indices) in splits.items()
            }
        save_info(folder, info)
        if state_of(params.name) != before:
            # DVC hashes the folder once this has ended, and would record the new files for what the old have made.
            raise UserError(f"{SETS / params.name}: was changed while this ran\nRun dvc repro again.")
    if repeated := np.isin(seen["test"], np.concatenate([seen["train"], seen["validation"]])).sum():
        warn(f"{repeated:,} test images have the pixels of a training or validation image: they say nothing new")
    if sentence := imbalance(np.bincount(train.labels[learnt[kept]], minlength=len(names)), names):
        warn(f"class imbalance: {sentence}")
    colour = ", in colour" if info.channels == 3 else ""
    print(
        f"{info.dataset}: {counts['train']:,} training, {counts['validation']:,} validation and "
        f"{counts['test']:,} test images of {height}x{width}{colour}, {len(names)} classes"
    )
    recipe = Path("recipes", f"{params.name}.yaml")
    if recipe.exists() and experiment_name() != params.name:
        print(f"{recipe} has settings that suit these images; to run them: uv run mnist recipe {params.name}")


def _read_manifest(name: str) -> dict:
    """Return what data/raw says of itself, for the data set `name` of params.yaml."""
    try:
        manifest = json.loads((RAW / "manifest.json").read_text())
    except OSError as error:
        raise _unusable("manifest.json", error.strerror) from None
    except (ValueError, RecursionError):
        raise _unusable("manifest.json", "not valid JSON") from None
    for used in (name, SAMPLES.get(name, name)):
        written = {"requested": name, "dataset": used, "fallback": used != name}
        if manifest == written:
            return written
    raise _unusable("manifest.json", f"not what download writes for {name}")


def _read(manifest: dict, params: PreprocessParams) -> tuple[Images, Images | None, list[str]]:
    """Return the training images, the test images if they are apart, and the class names."""
    dataset = PACKAGED[manifest["dataset"]] if manifest["fallback"] else load_dataset(params.name)
    if dataset is None:
        own = read_own(params.name, params)
        return own.train, own.test, own.class_names
    return _read_raw(dataset, "train"), _read_raw(dataset, "test"), dataset.class_names


def _read_raw(dataset: Dataset, split: str) -> Images:
    """Return a split of data/raw; raise `UserError` unless it has the images that the data set says."""
    images_file, labels_file = images_and_labels(split)
    count, size = getattr(dataset, f"{split}_count"), (dataset.height, dataset.width)
    try:
        images = read_idx(RAW / images_file, (count, *size))
    except IdxError as error:
        raise _unusable(images_file, error) from None
    try:
        labels = read_idx(RAW / labels_file, (count,))
    except IdxError as error:
        raise _unusable(labels_file, error) from None
    classes = len(dataset.class_names)
    if labels.max() >= classes:
        raise _unusable(labels_file, f"label {labels.max()} is not one of 0 … {classes - 1}")
    counts = np.bincount(labels, minlength=classes)
    if counts.min() < 1:
        raise _unusable(labels_file, f"no image of class {dataset.class_names[counts.argmin()]}")
    return Arrays(images, labels, size, "pad")


def _split(
    labels: np.ndarray, names: list[str], fraction: float, seed: int, key: str, part: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ascending indices of the images that stay, and of the `fraction` that is split off for `part`."""
    try:
        kept, taken = train_test_split(np.arange(len(labels)), test_size=fraction, stratify=labels, random_state=seed)
    except ValueError:
        # A class has one image, or there are fewer of them than classes.
        kept = taken = np.array([], int)
    if min(np.bincount(labels[each], minlength=len(names)).min() for each in (kept, taken)) < 1:
        counts = np.bincount(labels, minlength=len(names))
        smallest = names[counts.argmin()]
        remedy = "Raise it, or add images." if fraction < MOST and counts.min() > 1 else f"Add images of {smallest}."
        raise UserError(
            f"params.yaml: {key}: {fraction} of {len(labels):,} images leaves a class without a {part} or a training "
            f"image; the smallest is {smallest}, of {counts.min():,}\n{remedy}"
        )
    return np.sort(kept), np.sort(taken)


def _write(
    folder: Path, split: str, raw: Images, indices: np.ndarray, deskew: bool, advance: Callable[[int], object]
) -> np.ndarray:
    """Write the images of a split piece by piece, and return a number for each that tells its pixels."""
    seen = np.empty(len(indices), np.int64)
    with split_writer(folder, split, (len(indices), *raw.shape[1:]), raw.labels[indices]) as write:
        for piece in pieces(len(indices), raw.shape[1:]):
            images = raw[indices[piece]]
            seen[piece] = [hash(image.tobytes()) for image in images]
            write(prepare(images, deskew))
            advance(len(images))
    return seen


def _unusable(file: str, error: object) -> UserError:
    return UserError(f"{RAW / file}: {error}\nFetch the data again: dvc repro --force download")


if __name__ == "__main__":
    run_stage(main, __doc__)
