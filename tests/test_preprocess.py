"""Preprocess splits the raw data without loss; faults/test_bad_data.py has what it refuses."""

import numpy as np
import pytest

from stages.dataset.catalogue import TRAIN_IMAGES
from stages.dataset.idx import read_idx
from tests.conftest import Clone
from tests.project import OFFLINE


@pytest.fixture
def raw(clone: Clone) -> Clone:
    """A clone with the raw digits."""
    clone.run("python", "-m", "stages.download")
    return clone


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
