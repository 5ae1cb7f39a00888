"""Several networks that answer together, on small random data."""

import keras
import numpy as np
import pytest

from stages.dataset.scaling import scaled
from stages.learners.ensemble import training_words
from stages.learners.keras_classifier import KerasClassifier, input_gradients
from stages.learners.keras_file import load_keras, save_keras
from stages.learners.networks import networks_inside
from tests.learners import test_checkpoint
from tests.learners.test_checkpoint import KilledError
from tests.learners.test_training import TRAINING, VALIDATION, run


@pytest.fixture(scope="module")
def one():
    return run(networks=1, test_time_shift=1)


@pytest.fixture(scope="module")
def two():
    return run(networks=2, test_time_shift=1)


def check_mean(one: keras.Model, two: keras.Model) -> None:
    """Check that the model of `two` networks is the mean of the first, which is `one`, and of another one."""
    own, both, images = one.get_weights(), two.get_weights(), scaled(VALIDATION.images)
    for mine, alone in zip(both[: len(own)], own, strict=True):
        np.testing.assert_array_equal(mine, alone)
    first = one.predict(images, verbose=0)
    one.set_weights(both[len(own) :])
    second = one.predict(images, verbose=0)
    one.set_weights(own)
    assert np.abs(first - second).max() > 0.01
    np.testing.assert_allclose(two.predict(images, verbose=0), (first + second) / 2, atol=1e-6)


def test_the_model_is_the_mean_over_networks_of_other_seeds(one, two):
    check_mean(one[0], two[0])


@pytest.mark.long
def test_it_is_without_shifts_too():
    check_mean(run(networks=1)[0], run(networks=2)[0])


def test_it_is_saved_and_loaded(two, tmp_path):
    images = scaled(VALIDATION.images)
    save_keras(two[0], tmp_path / "model.keras")
    loaded = load_keras(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), two[0].predict(images, verbose=0))


def test_the_epochs_of_all_networks_are_counted_through(one, two):
    _, history, kept, told = two
    assert kept == [4, 8]
    assert history["network"] == [1, 1, 1, 1, 2, 2, 2, 2]
    assert "network" not in one[1]
    assert [epoch for epoch, _ in told] == [*range(1, 9)]
    assert history["val_loss"][:4] == one[1]["val_loss"]
    assert history["val_loss"] == [values["val_loss"] for _, values in told]


def test_its_size_and_its_filters(one, two):
    one, two = (KerasClassifier(model) for model, *_ in (one, two))
    assert two.size() == {name: 2 * value for name, value in one.size().items()}
    np.testing.assert_array_equal(two.filters(4), one.filters(4))


def test_it_says_what_each_network_has_reached(one, two):
    said = training_words("mlp", two[1], two[2], 1.25)
    first, second = (f"{two[1]['val_accuracy'][epoch]:.4f}" for epoch in (3, 7))
    assert said == (
        "mlp: 8 epochs of 2 networks trained in 1.2 s, weights of epochs 4, 8, "
        f"validation accuracy of each {first}, {second}"
    )
    said = training_words("mlp", one[1], one[2], 1.25)
    assert said == f"mlp: 4 epochs trained in 1.2 s, weights of epoch 4, validation accuracy {first}"


def test_its_gradients_are_the_mean_of_those_of_its_networks(two):
    images, classes = scaled(VALIDATION.images[:20]), VALIDATION.labels[:20].astype(int)
    whole = input_gradients(two[0], images, classes)
    np.testing.assert_allclose(KerasClassifier(two[0]).input_gradients(images, classes), whole, atol=1e-6)
    assert np.abs(whole).max() > 1e-3


def test_each_network_has_recomputed_statistics_of_its_own():
    # Whole batches: a mean over all images, in any order.
    model, *_ = run(networks=2, batch_size=50, batch_norm=True, batch_norm_statistics="recomputed")
    means = []
    for network in networks_inside(model)[0]:
        dense = next(layer for layer in network.layers if isinstance(layer, keras.layers.Dense))
        normalization = next(layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization))
        expected = (scaled(TRAINING.images).reshape(150, -1) @ np.asarray(dense.kernel)).mean(axis=0)
        np.testing.assert_allclose(normalization.moving_mean, expected, rtol=1e-3, atol=1e-5)
        means.append(expected)
    assert np.abs(means[0] - means[1]).max() > 0.1


@pytest.mark.long
def test_another_seed_gives_all_of_them_others():
    found = [network for seed in (0, 1) for network in networks_inside(run(seed, networks=3)[0])[0]]
    assert len({network.get_weights()[0].tobytes() for network in found}) == 6


@pytest.mark.long
def test_a_killed_training_goes_on_in_the_network_that_it_was_at(tmp_path, capsys):
    whole = test_checkpoint.run(networks=2)
    path = tmp_path / "folder" / "checkpoint.npz"
    with pytest.raises(KilledError):
        # Six epochs are the first network's.
        test_checkpoint.run(path, kill_after=8, networks=2)
    capsys.readouterr()
    resumed = test_checkpoint.run(path, seed=9, networks=2)
    said = capsys.readouterr().out
    assert "mlp: its 6 epochs were trained before the interruption" in said
    assert "mlp: goes on after epoch 2 of 6, where it was interrupted" in said
    for a, b in zip(whole[0], resumed[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert resumed[1:] == whole[1:]
