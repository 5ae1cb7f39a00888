"""The images that explore looks at as a whole."""

import numpy as np
import pytest

from stages.dataset.prepared import Split
from stages.dataset.scaling import scaled
from stages.exploration.sample import sampled


def random_split(count: int, *shape: int) -> Split:
    random = np.random.default_rng(0)
    return Split(random.integers(0, 256, (count, *shape), np.uint8), random.integers(0, 3, count).astype(np.uint8))


def test_up_to_60000_small_images_are_all_looked_at_as_they_are():
    training = random_split(500, 28, 28)
    chosen, sample = sampled(training, 12, seed=0)
    np.testing.assert_array_equal(chosen, np.arange(500))
    np.testing.assert_array_equal(sample.images, scaled(training.images))
    np.testing.assert_array_equal(sample.labels, training.labels)


def test_of_more_images_it_is_a_sample_with_every_class(monkeypatch):
    monkeypatch.setattr("stages.exploration.sample.MOST_IMAGES", 60)
    training = random_split(500, 8, 8)
    training.labels[:] = 0
    training.labels[400:405], training.labels[450:480] = 1, 2
    chosen, sample = sampled(training, 12, seed=0)
    assert 60 <= len(chosen) <= 60 + 5 + 12 + 12
    assert (np.diff(chosen) > 0).all()
    assert np.count_nonzero(sample.labels == 1) == 5
    assert np.count_nonzero(sample.labels == 2) >= 12
    np.testing.assert_array_equal(sample.images, scaled(training.images[chosen]))
    np.testing.assert_array_equal(sampled(training, 12, seed=0)[0], chosen)
    assert not np.array_equal(sampled(training, 12, seed=1)[0], chosen)


@pytest.mark.parametrize(("shape", "small"), [((64, 32), (32, 16)), ((48, 96, 3), (16, 32, 3)), ((500, 2), (32, 1))])
def test_large_images_are_shrunk_and_keep_their_brightness(shape, small):
    training = random_split(10, *shape)
    _, sample = sampled(training, 12, seed=0)
    assert sample.images.shape == (10, *small)
    assert sample.images.mean() == pytest.approx(scaled(training.images).mean(), abs=0.01)
