"""The features of an image that the random forest is trained on."""

from typing import get_args

import numpy as np
import pytest

from stages.dataset.features import FEATURES, LEVELS, feature_count, gradient_histograms, pixels
from stages.dataset.scaling import scaled
from stages.params.schema import RandomForest

RANDOM = np.random.default_rng(0)


def test_pixels_are_the_image_row_by_row():
    images = RANDOM.integers(0, 256, (3, 4, 5), dtype=np.uint8)
    np.testing.assert_array_equal(pixels(images)[2], scaled(images[2]).ravel())


@pytest.mark.parametrize("size", [(28, 28), (8, 8), (9, 9), (20, 30), (28, 28, 3)])
def test_gradient_histograms_have_one_length_for_any_size(size):
    features = gradient_histograms(RANDOM.integers(0, 256, (3, *size), dtype=np.uint8))
    assert features.shape == (3, 324)
    assert features.dtype == np.float32
    assert features.min() >= 0
    assert features.max() <= LEVELS
    np.testing.assert_array_equal(features, np.rint(features))


def test_gradient_histograms_see_direction_and_not_brightness():
    rows, columns = (8 * np.mgrid[:28, :28]).astype(np.uint8)
    level, upright = gradient_histograms(np.stack([rows, columns]))
    # Half a turn of 9 orientations apart.
    assert level.reshape(-1, 9).sum(axis=0).argmax() == 4
    assert upright.reshape(-1, 9).sum(axis=0).argmax() in (0, 8)
    fainter = gradient_histograms(np.stack([rows // 2]))[0]
    assert np.abs(fainter - level).max() <= 2


def test_an_empty_image_has_no_gradients():
    assert not gradient_histograms(np.zeros((1, 28, 28), np.uint8)).any()


@pytest.mark.parametrize("size", [(28, 28), (9, 10, 3)])
@pytest.mark.parametrize("name", FEATURES)
def test_their_number_is_known_before_they_are_made(name, size):
    images = RANDOM.integers(0, 256, (2, *size), dtype=np.uint8)
    features = FEATURES[name](images)
    assert features.shape == (2, feature_count(name, *(*size, 1)[:3]))
    assert features.dtype == np.float32


def test_both_features_stand_side_by_side():
    images = RANDOM.integers(0, 256, (2, 28, 28), dtype=np.uint8)
    both = FEATURES["pixels_and_gradient_histograms"](images)
    np.testing.assert_array_equal(both[:, :784], pixels(images))
    np.testing.assert_array_equal(both[:, 784:], gradient_histograms(images))


def test_more_images_than_are_computed_at_once_have_the_same_features(monkeypatch):
    images = RANDOM.integers(0, 256, (5, 28, 28), dtype=np.uint8)
    at_once = gradient_histograms(images)
    monkeypatch.setattr("stages.dataset.pieces.IMAGES", 2)
    np.testing.assert_array_equal(gradient_histograms(images), at_once)


def test_the_params_know_the_features():
    assert set(get_args(RandomForest.model_fields["features"].annotation)) == set(FEATURES)
