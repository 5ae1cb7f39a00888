"""The answers of the two kinds of classifiers: sizes counted by hand, and filters."""

import keras
import numpy as np
from sklearn.ensemble import RandomForestClassifier

from stages.dataset.features import pixels
from stages.learners.forest_classifier import ForestClassifier
from stages.learners.keras_classifier import KerasClassifier
from stages.learners.networks import BUILDERS, averaged, build_cnn, build_mlp
from tests.learners.test_networks import section


def small(name: str) -> keras.Model:
    return BUILDERS[name](section(name, batch_norm=False), 8, 8, 3)


def test_multiply_adds_are_those_of_convolutions_and_dense_layers():
    mlp = build_mlp(section("mlp", hidden_units=[256, 128], batch_norm=False), 28, 28, 10)
    expected = 784 * 256 + 256 * 128 + 128 * 10
    assert KerasClassifier(mlp).size() == {"weights": 235_146, "multiply_adds": expected}
    cnn = build_cnn(section("cnn"), 28, 28, 10)
    layers = KerasClassifier(cnn).layers()
    convolution = next(layer for layer in layers if layer["kind"] == "Conv2D")
    assert convolution["multiply_adds"] == 14 * 14 * 25 * 24
    assert convolution["output"] == "14x14x24"
    assert sum(layer["weights"] for layer in layers) == cnn.count_params()


def test_an_average_has_to_do_all_of_it():
    network = build_mlp(section("mlp", hidden_units=[8]), 4, 4, 3)
    one = KerasClassifier(network).size()
    assert KerasClassifier(averaged([network], shift=1)).size() == {
        "weights": one["weights"],
        "multiply_adds": 9 * one["multiply_adds"],
    }


def test_the_nodes_of_a_forest_are_counted():
    forest = RandomForestClassifier(3, max_depth=1, random_state=0).fit(np.arange(10).reshape(-1, 1), np.arange(10) > 4)
    assert ForestClassifier(forest, "pixels", None).size() == {"trees": 3, "nodes": 9, "depth": 1}


def test_a_forest_has_an_importance_of_its_pixels_and_nothing_that_networks_have():
    forest = RandomForestClassifier(3, random_state=0).fit(np.eye(9, 4), np.arange(9) % 3)
    assert ForestClassifier(forest, "pixels", None).impurity_importance().shape == (4,)
    other = ForestClassifier(forest, "gradient_histograms", None)
    assert other.impurity_importance() is None
    assert other.layers() == []
    assert other.filters(4) is None
    assert other.input_gradients(np.zeros((1, 2, 2), np.float32), np.zeros(1, int)) is None


def test_a_temperature_changes_how_sure_a_forest_is_and_not_its_answers():
    images = np.random.default_rng(0).integers(0, 256, (90, 4, 4), dtype=np.uint8)
    forest = RandomForestClassifier(9, max_depth=2, random_state=0).fit(pixels(images), np.arange(90) % 3)
    plain, calibrated = (ForestClassifier(forest, "pixels", temperature) for temperature in (None, 0.25))
    np.testing.assert_array_equal(calibrated.uncalibrated(images), plain.predict(images))
    np.testing.assert_array_equal(plain.uncalibrated(images), plain.predict(images))
    y_proba = calibrated.predict(images)
    assert y_proba.dtype == np.float32
    np.testing.assert_array_equal(y_proba.argmax(axis=1), plain.predict(images).argmax(axis=1))
    assert y_proba.max(axis=1).mean() > plain.predict(images).max(axis=1).mean() + 0.1


def test_predictions_are_the_same_in_smaller_steps(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    classifier = KerasClassifier(small("cnn"))
    at_once = classifier.predict(images)
    monkeypatch.setattr("stages.learners.networks.MAX_PREDICTED_VALUES", 1)
    np.testing.assert_allclose(classifier.predict(images), at_once, atol=1e-6)


def test_one_image_has_gradients_under_many_shifts():
    average = KerasClassifier(averaged([small("cnn")], shift=3))
    images = np.random.default_rng(0).random((1, 8, 8), dtype=np.float32)
    assert average.input_gradients(images, np.array([2])).shape == (1, 8, 8)


def test_the_first_layer_is_shown_as_images():
    assert KerasClassifier(small("mlp")).filters(32).shape == (32, 8, 8)
    assert KerasClassifier(small("cnn")).filters(32).shape == (24, 5, 5)


def test_of_an_average_the_first_layer_is_that_of_a_network_in_it():
    model = small("cnn")
    np.testing.assert_array_equal(
        KerasClassifier(averaged([model], shift=1)).filters(32), KerasClassifier(model).filters(32)
    )
