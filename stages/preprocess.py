"""Check the raw images, prepare them for the models and split off the validation set, into data/prepared.

python -m stages.preprocess
"""

import json

import numpy as np
from sklearn.model_selection import train_test_split

from stages.dataset.catalogue import CATALOGUE, Dataset, images_and_labels
from stages.dataset.fallback import SAMPLES
from stages.dataset.folders import replaced
from stages.dataset.idx import IdxError, read_idx
from stages.dataset.images import prepare
from stages.dataset.prepared import DatasetInfo, save_info, save_split
from stages.params.views import PreprocessParams, load_params
from stages.paths import PREPARED, RAW
from stages.process.errors import UserError
from stages.tracking.stage import run_stage


def main() -> None:
    params = load_params(PreprocessParams).preprocess
    manifest = _read_manifest()
    dataset = CATALOGUE[manifest["dataset"]]
    train_images, train_labels = _read(dataset, "train", dataset.train_count)
    test_images, test_labels = _read(dataset, "test", dataset.test_count)

    train, validation = _split(train_labels, params.validation_fraction, params.seed)

    size, names = {"height": dataset.height, "width": dataset.width}, list(dataset.class_names)
    info = DatasetInfo(**manifest, **size, class_names=names, deskew=params.deskew)
    with replaced(PREPARED) as folder:
        save_split(folder, "train", prepare(train_images[train], params.deskew), train_labels[train])
        save_split(folder, "validation", prepare(train_images[validation], params.deskew), train_labels[validation])
        save_split(folder, "test", prepare(test_images, params.deskew), test_labels)
        save_info(folder, info)
    print(
        f"{dataset.name}: {len(train):,} training, {len(validation):,} validation and "
        f"{len(test_labels):,} test images of {dataset.height}x{dataset.width}"
    )


def _read_manifest() -> dict:
    try:
        manifest = json.loads((RAW / "manifest.json").read_text())
    except OSError as error:
        raise _unusable("manifest.json", error.strerror) from None
    except (ValueError, RecursionError):
        raise _unusable("manifest.json", "not valid JSON") from None
    for requested, used in (*zip(CATALOGUE, CATALOGUE, strict=True), *SAMPLES.items()):
        written = {"requested": requested, "dataset": used, "fallback": used != requested}
        if manifest == written:
            return written
    raise _unusable("manifest.json", "not what download writes for a data set")


def _read(dataset: Dataset, split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 images (count, height, width) and uint8 labels (count,); raise `UserError` unless valid."""
    images_file, labels_file = images_and_labels(split)
    try:
        images = read_idx(RAW / images_file, (count, dataset.height, dataset.width))
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
    return images, labels


def _split(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ascending indices of the training and the validation images."""
    try:
        train, validation = train_test_split(
            np.arange(len(labels)), test_size=fraction, stratify=labels, random_state=seed
        )
    except ValueError:
        # Fewer images than classes: the check of params.yaml does not know of a fallback to the sample.
        validation = np.array([], int)
    if np.bincount(labels[validation], minlength=int(labels.max()) + 1).min() < 1:
        raise UserError(
            f"params.yaml: preprocess.validation_fraction: {fraction} of {len(labels):,} images leaves a class "
            "without a validation image; raise it"
        )
    return np.sort(train), np.sort(validation)


def _unusable(file: str, error: object) -> UserError:
    return UserError(f"{RAW / file}: {error}\nFetch the data again: dvc repro --force download")


if __name__ == "__main__":
    run_stage(main, __doc__)
