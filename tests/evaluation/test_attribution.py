"""Attributions have the properties that must hold for any model."""

import keras
import numpy as np
import pytest

from stages.dataset.scaling import scaled
from stages.evaluation.attribution import block_importance, integrated_gradients
from stages.learners.classifier import Classifier
from stages.learners.keras_classifier import KerasClassifier
from stages.learners.networks import BUILDERS, averaged
from tests.learners.test_networks import section

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (6, 8, 8), dtype=np.uint8)
CLASSES = np.array([0, 1, 2, 0, 1, 2])


def network(name: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    # Without batch normalization, whose untrained statistics make probabilities jump.
    return BUILDERS[name](section(name, batch_norm=False), 8, 8, 3)


@pytest.mark.parametrize(("name", "shift"), [("mlp", 0), ("cnn", 0), ("mlp", 2)])
def test_integrated_gradients_add_up_to_the_difference_to_a_black_image(name, shift):
    model = averaged([network(name)], shift)
    attributions = integrated_gradients(KerasClassifier(model), IMAGES, CLASSES)
    assert attributions.shape == IMAGES.shape
    classifier = KerasClassifier(model)
    images, black = (classifier.predict(each)[np.arange(6), CLASSES] for each in (IMAGES, np.zeros_like(IMAGES)))
    np.testing.assert_allclose(attributions.sum(axis=(1, 2)), images - black, atol=0.002)


class FirstPixel(Classifier):
    """The first pixel is the probability of the second of two classes, nearly."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        second = 0.1 + 0.8 * scaled(images[:, 0, 0])
        return np.stack([1 - second, second], axis=1)

    def size(self) -> dict[str, int]:
        return {}


def test_a_classifier_without_gradients_has_no_integrated_ones():
    assert integrated_gradients(FirstPixel(), IMAGES, CLASSES) is None


def test_a_block_that_the_answer_rests_on_stands_out():
    labels = RANDOM.integers(0, 2, 500)
    images = RANDOM.integers(0, 256, (500, 8, 8), dtype=np.uint8)
    images[:, 0, 0] = 255 * labels
    importance = block_importance(FirstPixel(), images, labels)
    assert (importance[:4, :4] > 0.5).all()
    assert importance[4:].tolist() == np.zeros((4, 8)).tolist()
