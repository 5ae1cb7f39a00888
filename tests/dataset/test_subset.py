"""The part of the training images that the forest is trained on."""

import numpy as np
import pytest

from stages.dataset.prepared import Split
from stages.dataset.subset import subset
from stages.process.errors import UserError

LABELS = np.repeat(np.arange(3, dtype=np.uint8), [600, 300, 100])
ALL = Split(np.arange(1000, dtype=np.float32).reshape(1000, 1, 1), LABELS)


def test_it_has_the_shares_of_the_classes_and_the_order_of_the_images():
    chosen = subset(ALL, 100, seed=0)
    assert np.bincount(chosen.labels).tolist() == [60, 30, 10]
    positions = chosen.images.ravel().astype(int)
    assert (np.diff(positions) > 0).all()
    assert (LABELS[positions] == chosen.labels).all()
    np.testing.assert_array_equal(subset(ALL, 100, seed=0).images, chosen.images)
    assert (subset(ALL, 100, seed=1).images != chosen.images).any()


@pytest.mark.parametrize("size", [None, 1000])
def test_all_are_all(size):
    assert subset(ALL, size, seed=0) is ALL


@pytest.mark.parametrize(("counts", "size"), [([40, 40, 40], 2), ([980, 20], 20), ([60, 60, 1], 50)])
def test_a_size_that_leaves_a_class_out_is_refused(counts, size):
    labels = np.repeat(np.arange(len(counts)), counts)
    with pytest.raises(UserError, match=f"train_samples: {size} of .* training images leave a class without one"):
        subset(Split(np.zeros((len(labels), 2, 2), np.uint8), labels), size, seed=0)


def test_more_than_there_are_is_refused():
    with pytest.raises(UserError, match=r"train_samples: 998 of 1000 training images; lower it to at most 997"):
        subset(ALL, 998, seed=0)
