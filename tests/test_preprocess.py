"""Preprocess splits the raw data without loss; faults/test_bad_data.py has what it refuses."""

import time

import numpy as np
import pytest
from PIL import Image

from stages.dataset.catalogue import TRAIN_IMAGES, images_and_labels
from stages.dataset.idx import read_idx
from stages.fingerprints import file_md5
from tests.conftest import Clone
from tests.project import OFFLINE

# A block of the CNN for images of 17x17 pixels, and larger ones.
LARGE = {"filters": 4, "kernel_size": 17, "strides": 1, "padding": "valid", "pool_size": 1, "dropout": 0.0}


@pytest.fixture
def raw(clone: Clone) -> Clone:
    """A clone with the raw digits."""
    clone.run("python", "-m", "stages.download")
    return clone


def own_arrays(clone: Clone, images: np.ndarray, labels: np.ndarray) -> None:
    folder = clone.folder / "data/sets/mine"
    folder.mkdir()
    np.save(folder / "train_images.npy", images)
    np.save(folder / "train_labels.npy", labels)
    clone.set_params({"data.name": "mine"})
    clone.run("python", "-m", "stages.download")


def preprocess(clone: Clone, check: bool = True) -> str:
    done = clone.run("python", "-m", "stages.preprocess", check=check)
    assert check or done.returncode == 1
    return done.stdout


def load(clone: Clone, name: str) -> np.ndarray:
    return np.load(clone.folder / "data/prepared" / f"{name}.npy", mmap_mode="r")


def test_the_split_is_stratified_and_without_loss(raw):
    raw.set_params({"preprocess.validation_fraction": 0.25, "preprocess.deskew": False})
    preprocess(raw)
    train, validation = load(raw, "train_labels"), load(raw, "validation_labels")
    assert len(train) + len(validation) == 1437
    assert len(validation) == 360
    share = np.bincount(validation) / (np.bincount(train) + np.bincount(validation))
    np.testing.assert_allclose(share, 0.25, atol=0.01)
    images = load(raw, "train_images")
    assert images.dtype == np.uint8
    together = np.concatenate([images, load(raw, "validation_images")]).reshape(1437, -1)
    original = read_idx(raw.folder / "data/raw" / TRAIN_IMAGES, (1437, 8, 8)).reshape(1437, -1)
    for found, expected in zip(
        np.unique(together, axis=0, return_counts=True), np.unique(original, axis=0, return_counts=True), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_the_seed_decides_the_split_and_nothing_else(raw):
    splits = []
    for seed in (0, 0, 1):
        raw.set_params({"preprocess.seed": seed})
        preprocess(raw)
        splits.append((np.array(load(raw, "train_labels")), np.array(load(raw, "test_images"))))
    np.testing.assert_array_equal(splits[0][0], splits[1][0])
    assert (splits[0][0] != splits[2][0]).any()
    np.testing.assert_array_equal(splits[0][1], splits[2][1])


@pytest.mark.long
def test_a_sample_too_small_for_the_validation_share_is_an_error_with_the_key(clone):
    clone.set_params({"data.name": "mnist", "preprocess.validation_fraction": 0.001})
    clone.run("python", "-m", "stages.download", **OFFLINE)
    output = preprocess(clone, check=False)
    assert "preprocess.validation_fraction: 0.001" in output
    assert "Traceback" not in output


def test_the_same_images_as_png_files_are_the_same_bytes(raw):
    raw.set_params({"preprocess.deskew": False})
    preprocess(raw)
    prepared = raw.folder / "data/prepared"
    before = {path.name: file_md5(path) for path in prepared.glob("*.npy")}
    for split, count in (("train", 1437), ("test", 360)):
        images_file, labels_file = images_and_labels(split)
        images = read_idx(raw.folder / "data/raw" / images_file, (count, 8, 8))
        labels = read_idx(raw.folder / "data/raw" / labels_file, (count,))
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = raw.folder / f"data/sets/mine/{split}/{label}/{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    raw.set_params({"data.name": "mine"})
    raw.run("python", "-m", "stages.download")
    assert "mine: 1,293 training, 144 validation and 360 test images of 8x8, 10 classes" in preprocess(raw)
    assert {path.name: file_md5(path) for path in prepared.glob("*.npy")} == before


def test_without_a_test_folder_a_share_is_split_off_and_what_stands_in_both_is_said(clone):
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (100, 8, 8, 3), dtype=np.uint8), np.arange(100) % 2
    images[50:] = images[0]
    own_arrays(clone, images, labels)
    clone.set_params({"data.test_fraction": 0.3, "preprocess.deskew": False})
    output = preprocess(clone)
    assert "mine: 63 training, 7 validation and 30 test images of 8x8, in colour, 2 classes" in output
    repeated = (load(clone, "test_images") == images[0]).all(axis=(1, 2, 3)).sum()
    assert f" {repeated} test images have the pixels of a training or validation image" in output
    assert load(clone, "test_labels").sum() == 15


def test_pictures_that_come_while_it_runs_are_an_error_and_replace_nothing(clone):
    own_arrays(
        clone, np.random.default_rng(0).integers(0, 256, (60_000, 16, 16), dtype=np.uint8), np.arange(60_000) % 2
    )
    clone.set_params({"preprocess.deskew": True})
    running = clone.start("python", "-m", "stages.preprocess")
    while not (clone.folder / "data/prepared.partial").exists():
        assert running.poll() is None
        time.sleep(0.001)
    (clone.folder / "data/sets/mine/late.txt").write_text("one more")
    output = running.stdout.read()
    assert running.wait() == 1
    assert "error: data/sets/mine: was changed while this ran" in output
    assert not (clone.folder / "data/prepared").exists()


def test_a_split_without_an_image_of_each_class_names_the_smallest_class(clone):
    own_arrays(clone, np.zeros((101, 8, 8), np.uint8), np.r_[np.arange(100) % 2, 7])
    assert (
        "params.yaml: data.test_fraction: 0.2 of 101 images leaves a class without a test or a training image; the "
        "smallest is 7, of 1\nAdd images of 7."
    ) in preprocess(clone, check=False)
    assert not (clone.folder / "data/prepared").exists()


def test_data_that_the_models_do_not_fit_are_refused_before_anything_is_replaced(clone):
    own_arrays(clone, np.random.default_rng(0).integers(0, 256, (100, 3, 3), dtype=np.uint8), np.arange(100) % 2)
    output = preprocess(clone, check=False)
    assert "error: params.yaml: train.cnn.blocks.1: its filters and pooling do not fit the 2x2 maps" in output
    assert not (clone.folder / "data/prepared").exists()


@pytest.mark.parametrize(
    ("module", "key", "value", "words"),
    [
        ("train_cnn", "train.cnn.blocks", [LARGE], "train.cnn.blocks.0: its filters and pooling do not fit"),
        ("train_random_forest", "train.random_forest.max_features", 400, "400 of mine's 324 features"),
    ],
)
def test_params_edited_since_that_the_data_do_not_allow_are_refused_by_the_training(clone, module, key, value, words):
    own_arrays(clone, np.random.default_rng(0).integers(0, 256, (100, 16, 16), dtype=np.uint8), np.arange(100) % 2)
    preprocess(clone)
    clone.set_params({key: value})
    done = clone.run("python", "-m", f"stages.{module}", check=False)
    assert done.returncode == 1
    assert words in done.stdout
    assert "Traceback" not in done.stdout
    assert [path.name for path in clone.folder.glob("models/*")] == [".gitignore"]
