"""Augmentation moves the digits, within its limits, and changes nothing else."""

import numpy as np
import pytest

from stages.learners.augmentation import Augmentation
from stages.params.schema import Augmentation as Params

NONE = {"shift": 0.0, "rotation": 0.0, "zoom": 0.0, "shear": 0.0, "elastic": 0.0, "flip": False}


def augment(images: np.ndarray, seed: int = 0, **limits: float) -> np.ndarray:
    params = Params(**{**NONE, **limits})
    return Augmentation(params, *images.shape[1:3])(images, np.random.default_rng(seed))


def blob(height: int = 28, width: int = 28, count: int = 200) -> np.ndarray:
    """The same bright ellipse in the middle of each image, longer than wide."""
    rows, columns = np.mgrid[:height, :width]
    shape = np.exp(
        -(((rows - (height - 1) / 2) / (height / 6)) ** 2) - ((columns - (width - 1) / 2) / (width / 12)) ** 2
    )
    return np.repeat(shape[None].astype(np.float32), count, axis=0)


def centre(images: np.ndarray) -> np.ndarray:
    """The centre of mass (n, 2), row and column."""
    rows, columns = np.mgrid[: images.shape[1], : images.shape[2]]
    mass = images.sum(axis=(1, 2))
    return np.stack([(images * rows).sum(axis=(1, 2)) / mass, (images * columns).sum(axis=(1, 2)) / mass], axis=1)


def angle(images: np.ndarray) -> np.ndarray:
    """The direction of the longer axis against the upright, in degrees."""
    rows, columns = np.mgrid[: images.shape[1], : images.shape[2]]
    down = rows - centre(images)[:, 0, None, None]
    across = columns - centre(images)[:, 1, None, None]
    covariance = (images * down * across).sum(axis=(1, 2))
    difference = (images * (down**2 - across**2)).sum(axis=(1, 2))
    return np.rad2deg(np.arctan2(2 * covariance, difference) / 2)


def test_without_limits_nothing_changes():
    images = np.random.default_rng(0).random((7, 9, 5)).astype(np.float32)
    np.testing.assert_array_equal(augment(images), images)


@pytest.mark.parametrize("size", [(28, 28), (8, 8), (20, 30)])
def test_a_shift_reaches_its_limit_and_no_further(size):
    images = blob(*size)
    moved = (centre(augment(images, shift=0.1)) - centre(images)) / size
    assert np.abs(moved).max() < 0.105
    assert (moved.max(axis=0) > 0.09).all()
    assert (moved.min(axis=0) < -0.09).all()


def test_a_rotation_reaches_its_limit_and_no_further():
    angles = angle(augment(blob(), rotation=20.0))
    assert np.abs(angles).max() < 20.5
    assert angles.max() > 19
    assert angles.min() < -19


def test_zoom_changes_the_size_to_both_sides():
    mass = augment(blob(), zoom=0.2).sum(axis=(1, 2)) / blob().sum(axis=(1, 2))
    assert 1.3 < mass.max() < 1.2**2 * 1.01
    assert 1 / 1.2**2 * 0.99 < mass.min() < 0.8


def test_a_shear_slants_rows_and_moves_nothing_up_or_down():
    sheared = augment(blob(), shear=0.3)
    assert np.abs(angle(sheared)).max() > 10
    np.testing.assert_allclose(sheared.sum(axis=2), blob().sum(axis=2), atol=0.02)


def test_an_elastic_field_moves_parts_of_an_image_apart_by_its_deviation():
    # Each pixel tells its own column: how far it came is the difference.
    columns = np.broadcast_to(np.arange(28, dtype=np.float32), (2000, 28, 28))
    moved = (augment(columns, elastic=0.05) - columns)[:, 8:20, 8:20]
    assert moved.std() == pytest.approx(0.05 * 28, rel=0.05)
    # Neighbours move together, far points on their own.
    assert np.corrcoef(moved[:, 0, 0], moved[:, 0, 1])[0, 1] > 0.95
    assert np.corrcoef(moved[:, 0, 0], moved[:, 11, 11])[0, 1] < 0.5


def test_each_image_is_changed_in_its_own_way_and_none_leaks_into_another():
    # More than OpenCV can address at once, in one call.
    images = np.zeros((3000, 28, 28), np.float32)
    images[1::2] = 1.0
    changed = augment(images, shift=0.5, rotation=180.0, zoom=0.5, elastic=0.2)
    assert (changed[::2] == 0).all()
    assert len(np.unique(changed[1::2].sum(axis=(1, 2)))) > 1400


def test_the_generator_alone_decides():
    images = blob(count=5)
    limits = {"shift": 0.1, "rotation": 10.0, "elastic": 0.05}
    np.testing.assert_array_equal(augment(images, 1, **limits), augment(images, 1, **limits))
    assert (augment(images, 1, **limits) != augment(images, 2, **limits)).any()


def test_a_flip_exchanges_left_and_right_of_half_of_the_images():
    images = np.random.default_rng(0).random((200, 6, 5, 3)).astype(np.float32)
    changed = augment(images, flip=True)
    kept = (changed == images).all(axis=(1, 2, 3))
    flipped = np.isclose(changed, images[:, :, ::-1], atol=1e-6).all(axis=(1, 2, 3))
    assert (kept ^ flipped).all()
    assert 70 < kept.sum() < 130


def test_the_channels_of_a_colour_move_together():
    grey = np.random.default_rng(0).random((5, 9, 9)).astype(np.float32)
    limits = {"shift": 0.1, "rotation": 20.0, "elastic": 0.05}
    coloured = augment(np.stack([grey, grey, grey], axis=3), **limits)
    for channel in range(3):
        np.testing.assert_allclose(coloured[..., channel], augment(grey, **limits), atol=1e-6)
