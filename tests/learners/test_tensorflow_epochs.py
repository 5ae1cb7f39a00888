"""The images of an epoch under TensorFlow: their order, their changes, and how many are worked on at once."""

import numpy as np
import pytest

from stages.dataset import pieces
from stages.dataset.prepared import Split
from stages.dataset.scaling import scaled
from stages.learners.ensemble import train_networks
from stages.learners.networks import build_mlp
from stages.learners.tensorflow_epochs import chunks, one_ahead
from stages.process.errors import UserError
from tests.learners.test_networks import section
from tests.learners.test_training import IMAGES, LABELS, NONE, RANDOM, TRAINING, VALIDATION


def test_each_epoch_sees_every_image_once_in_an_order_of_its_own():
    params = section("mlp", batch_size=16, augmentation=NONE)
    images, labels = zip(*chunks(TRAINING, params, seed=3, epoch=1), strict=True)
    order = np.random.default_rng([3, 1]).permutation(150)
    np.testing.assert_array_equal(np.concatenate(images), scaled(TRAINING.images[order]))
    np.testing.assert_array_equal(np.concatenate(labels), TRAINING.labels[order])
    (second, _), *_ = chunks(TRAINING, params, seed=3, epoch=2)
    assert (second != images[0]).any()


def test_chunks_are_whole_batches_but_for_the_last():
    many = Split(np.zeros((10_000, 2, 2), np.uint8), np.zeros(10_000, np.uint8))
    for batch_size, sizes in ((3000, [3000, 3000, 3000, 1000]), (1000, [4000, 4000, 2000]), (20_000, [10_000])):
        params = section("mlp", batch_size=batch_size, augmentation=NONE)
        assert [len(labels) for _, labels in chunks(many, params, seed=0, epoch=1)] == sizes


def test_of_large_images_fewer_are_worked_on_at_once():
    large = Split(np.zeros((700, 224, 224, 3), np.uint8), np.zeros(700, np.uint8))
    params = section("mlp", batch_size=32, augmentation=NONE)
    sizes = [len(labels) for _, labels in chunks(large, params, seed=0, epoch=1)]
    assert sizes == [64] * 10 + [60]


def test_augmentation_is_a_function_of_seed_and_epoch():
    params = section("mlp", batch_size=16)

    def first(seed: int, epoch: int) -> np.ndarray:
        return next(chunks(TRAINING, params, seed, epoch))[0]

    np.testing.assert_array_equal(first(0, 1), first(0, 1))
    plain = next(chunks(TRAINING, section("mlp", batch_size=16, augmentation=NONE), 0, 1))[0]
    assert (first(0, 1) != plain).any()
    assert (first(0, 1) != first(0, 2)).any()
    assert (first(0, 1) != first(1, 1)).any()


def test_an_error_while_the_next_images_are_made_reaches_the_training():
    def broken():
        yield IMAGES, LABELS
        raise OSError("disk gone")

    made = one_ahead(broken())
    assert next(made) == (IMAGES, LABELS)
    with pytest.raises(OSError, match="disk gone"):
        next(made)
    assert list(one_ahead(iter([]))) == []


class Counted:
    """Images that count how often some of them are taken."""

    def __init__(self, images: np.ndarray):
        self.images, self.shape, self.taken = images, images.shape, 0

    def __getitem__(self, chosen: np.ndarray) -> np.ndarray:
        self.taken += 1
        return self.images[chosen]


def test_a_loss_that_is_not_finite_ends_the_training_within_its_epoch():
    count = 20 * pieces.IMAGES
    images = Counted(RANDOM.integers(0, 256, (count, 4, 4), dtype=np.uint8))
    params = section(
        "mlp", hidden_units=[4], batch_norm=False, l2=100.0, batch_size=256, augmentation=NONE,
        optimizer={"name": "sgd", "learning_rate": 10.0, "schedule": "constant"},
    )  # fmt: skip
    network = build_mlp(params, 4, 4, 3)
    labels = RANDOM.integers(0, 3, count).astype(np.uint8)
    with pytest.raises(UserError, match="train_loss is (nan|inf) in epoch 1"):
        train_networks("mlp", network, params, Split(images, labels), VALIDATION, seed=0, on_epoch=lambda *_: None)
    # The first 4,096 images are 16 steps, and enough; the next are on their way.
    assert images.taken <= 3
