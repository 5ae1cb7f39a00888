"""The training loop: its order, its stopping and its determinism, on small random data."""

import keras
import numpy as np
import pytest

from stages.dataset.prepared import Split
from stages.errors import UserError
from stages.learners.networks import build_mlp
from stages.learners.training import HISTORY, ShuffledImages, train
from tests.learners.test_networks import section

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 3, 200).astype(np.uint8)
IMAGES = (RANDOM.random((200, 4, 4)) * 0.5 + LABELS[:, None, None] * 0.2).astype(np.float32)
TRAINING, VALIDATION = Split(IMAGES[:150], LABELS[:150]), Split(IMAGES[150:], LABELS[150:])


def run(seed: int = 0, **changes):
    keras.utils.set_random_seed(seed)
    changes = {"hidden_units": [8], "epochs": 4, "batch_size": 16, **changes}
    params = section("mlp", **changes)
    model = build_mlp(params, 4, 4, 3)
    epochs = []
    history, kept = train(
        model, params, TRAINING, VALIDATION, seed=seed, on_epoch=lambda *values: epochs.append(values)
    )
    return model, history, kept, epochs


def test_each_epoch_sees_every_image_once_in_an_order_of_its_own():
    batches = ShuffledImages(TRAINING, 16, seed=3)
    orders = []
    for _ in range(2):
        orders.append(np.concatenate([batches[index][0] for index in range(len(batches))]))
        batches.on_epoch_end()
    assert orders[0].shape == TRAINING.images.shape
    assert (orders[0] != orders[1]).any()
    for order in orders:
        np.testing.assert_array_equal(np.sort(order.sum(axis=(1, 2))), np.sort(TRAINING.images.sum(axis=(1, 2))))
    np.testing.assert_array_equal(
        ShuffledImages(TRAINING, 7, seed=3).order, np.random.default_rng([3, 0]).permutation(150)
    )


def test_fit_asks_for_the_epochs_in_turn():
    seen = []

    class Watched(ShuffledImages):
        def __getitem__(self, index):
            if index == 0:
                seen.append(self.epoch)
            return super().__getitem__(index)

    model = build_mlp(section("mlp", hidden_units=[4]), 4, 4, 3)
    model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
    model.fit(Watched(TRAINING, 16, seed=0), epochs=3, verbose=0)
    # Keras looks at the first batch more than once, and after the last epoch at one that it never uses.
    assert list(dict.fromkeys(seen))[:3] == [0, 1, 2]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first, second, other = run(seed=1), run(seed=1), run(seed=2)
    for a, b in zip(first[0].get_weights(), second[0].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert first[1] == second[1]
    assert first[1] != other[1]


def test_the_history_is_what_on_epoch_got():
    _, history, kept, epochs = run()
    assert kept == 4
    assert [epoch for epoch, _ in epochs] == [1, 2, 3, 4]
    assert set(history) == set(HISTORY)
    for name in HISTORY:
        assert history[name] == pytest.approx([values[name] for _, values in epochs])


def test_early_stopping_stops_and_best_weights_are_kept():
    model, history, kept, _ = run(
        epochs=60, early_stopping_patience=2, weights="best",
        optimizer={"name": "sgd", "learning_rate": 1.0, "schedule": "constant"},
    )  # fmt: skip
    losses = history["val_loss"]
    assert len(losses) < 60
    assert kept == np.argmin(losses) + 1 == len(losses) - 2
    loss, _ = model.evaluate(VALIDATION.images, VALIDATION.labels, verbose=0)
    assert loss == pytest.approx(min(losses), rel=1e-5)


def test_a_loss_that_is_not_finite_ends_the_training():
    with pytest.raises(UserError, match=r"train\.mlp: train_loss is (nan|inf) after epoch 1(?s:.*)learning_rate"):
        run(batch_norm=False, l2=100.0, optimizer={"name": "sgd", "learning_rate": 10.0, "schedule": "constant"})
