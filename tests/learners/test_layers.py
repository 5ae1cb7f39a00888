"""The layers that compute the same on every processor are those of Keras, but for the last bits."""

import keras
import numpy as np
import pytest

from stages.learners import layers
from stages.learners.keras_file import load_keras, save_keras

RANDOM = np.random.default_rng(0)
VALUES = RANDOM.normal(1, 2, (50, 4, 3)).astype(np.float32)


def trained(layer: keras.Layer, values: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the output in training, and the weights after it."""
    output = layer(values, training=True)
    return np.asarray(output), layer.get_weights()


@pytest.mark.parametrize("values", [VALUES, VALUES[:, 0]], ids=["maps", "rows"])
def test_batch_normalization_normalizes_and_moves_its_statistics_as_keras_does(values):
    found, weights = trained(layers.BatchNormalization(momentum=0.9), values)
    wanted, wanted_weights = trained(keras.layers.BatchNormalization(momentum=0.9), values)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(found.mean(axis=tuple(range(values.ndim - 1))), 0, atol=1e-5)
    for one, other in zip(weights, wanted_weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_gelu_is_keras_gelu():
    values = np.linspace(-5, 5, 1001, dtype=np.float32)
    np.testing.assert_allclose(layers.Activation("gelu")(values), keras.activations.gelu(values), atol=1e-6)
    np.testing.assert_array_equal(layers.Activation("tanh")(values), keras.activations.tanh(values))


def test_a_file_has_layers_of_keras_that_need_no_project(tmp_path):
    parts = [keras.layers.Dense(5), layers.BatchNormalization(), layers.Activation("gelu"), keras.layers.Dense(2)]
    network = keras.Sequential([keras.Input((3,)), *parts])
    save_keras(network, tmp_path / "mlp.keras")
    ours, of_keras = load_keras(tmp_path / "mlp.keras"), keras.models.load_model(tmp_path / "mlp.keras")
    assert type(ours.layers[1]) is layers.BatchNormalization
    assert type(of_keras.layers[1]) is keras.layers.BatchNormalization
    np.testing.assert_allclose(ours.predict(VALUES[:, 0]), of_keras.predict(VALUES[:, 0]), atol=1e-5)
