"""Why a model says what it says of one image, fast enough for a page."""

import math
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from stages.dataset.prepared import Split
from stages.dataset.scaling import scaled
from stages.evaluation.attribution import block_sides
from stages.learners.classifier import Classifier

if TYPE_CHECKING:
    from stages.learners.keras_classifier import KerasClassifier

# Points on the way from a black image, and images whose gradients are computed at once, enough for a network that
# averages over nine shifts. Between two such calls the answers of others have their turn.
POINTS = 16
AT_ONCE = 9 * POINTS
# Training images are compared at this side and are at most so many: they then take 50 MB, and 5 ms for an answer.
SIDE = 14
COMPARED = 60_000


def explainer(classifier: Classifier, keras: Executor) -> Callable[[np.ndarray, int], np.ndarray]:
    """Return a function that takes a prepared image uint8 (height, width[, 3]) and a class.

    It returns what each pixel adds to the probability of that class: float32 (height, width). For networks these are
    integrated gradients, for other models what covering takes away. Calls of Keras are made by `keras`, an executor of
    one thread.
    """
    from stages.learners.keras_classifier import KerasClassifier

    gradients = classifier.input_gradients
    if isinstance(classifier, KerasClassifier):
        gradients = _averaged_gradients(classifier, keras)

    def explain(image: np.ndarray, label: int) -> np.ndarray:
        found = _integrated(gradients, image, label)
        return covering(classifier, image, label) if found is None else found

    return explain


def _integrated(gradients: Callable, image: np.ndarray, label: int) -> np.ndarray | None:
    """Return the integrated gradients of one image, as stages/evaluation/attribution.py has them.

    The points are those of Gauss and Legendre, of which a quarter is as exact as evenly spaced ones.
    """
    points, weights = np.polynomial.legendre.leggauss(POINTS)
    image = scaled(image)
    path = ((points + 1) / 2).astype(np.float32).reshape(-1, *[1] * image.ndim) * image
    found = gradients(path, np.full(POINTS, label))
    if found is None:
        return None
    shares = np.tensordot((weights / 2).astype(np.float32), found, axes=1) * image
    return shares if shares.ndim == 2 else shares.sum(axis=2)


def _averaged_gradients(
    classifier: "KerasClassifier", keras: Executor
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return what `classifier.input_gradients` does, several times as fast for few images.

    A model that averages over shifts calls its network for each of them. Here the shifted images are made first,
    and are one batch of the network inside: for few images the time goes into the number of calls.
    """
    from stages.learners.keras_classifier import KerasClassifier
    from stages.learners.networks import networks_inside

    inside, shift = networks_inside(classifier.model)
    networks = [KerasClassifier(network) for network in inside]

    def gradients(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        height, width = images.shape[1:3]
        padded = np.pad(images, [(0, 0), (shift, shift), (shift, shift), *[(0, 0)] * (images.ndim - 3)])
        corners = [*product(range(2 * shift + 1), repeat=2)]
        places = [np.s_[:, top : top + height, left : left + width] for top, left in corners]
        shifted = np.concatenate([padded[place] for place in places])
        classes = np.tile(classes, len(places))
        starts = range(0, len(shifted), AT_ONCE)
        pairs = [(shifted[start : start + AT_ONCE], classes[start : start + AT_ONCE]) for start in starts]
        total = np.zeros_like(padded)
        for network in networks:
            found = np.concatenate([keras.submit(network.input_gradients, *pair).result() for pair in pairs])
            for place, part in zip(places, np.split(found, len(places)), strict=True):
                total[place] += part
        return total[:, shift : shift + height, shift : shift + width] / (len(places) * len(networks))

    return gradients


def covering(classifier: Classifier, image: np.ndarray, label: int) -> np.ndarray:
    """Return what the probability of class `label` loses where a block is black: float32 (height, width).

    The blocks, of `block_sides`, overlap by half; a pixel has the mean of those over it.
    (Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", 2014.)
    """
    height, width = image.shape[:2]
    down, across = block_sides(height, width)
    corners = product(range(-down // 2, height, down // 2), range(-across // 2, width, across // 2))
    places = [np.s_[max(0, top) : top + down, max(0, left) : left + across] for top, left in corners]
    # Where it is black, covering changes nothing.
    shown = [place for place in places if image[place].any()]
    covered = np.repeat(image[None], len(shown) + 1, axis=0)
    for index, place in enumerate(shown):
        covered[index][place] = 0
    probabilities = classifier.predict(covered)[:, label]
    loss, times = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    for place in places:
        times[place] += 1
    for place, probability in zip(shown, probabilities, strict=False):
        loss[place] += probabilities[-1] - probability
    return loss / np.maximum(times, 1)


@dataclass(frozen=True)
class Neighbours:
    """Training images and their labels, with the `features` float32 (n, k) that they are compared by."""

    images: np.ndarray
    labels: np.ndarray
    chosen: np.ndarray
    features: np.ndarray

    def nearest(self, image: np.ndarray, count: int) -> list[tuple[np.ndarray, int]]:
        """Return the `count` training images most like a prepared image, the likest first, each with its label."""
        likeness = self.features @ _features(image[None])[0]
        count = min(count, len(likeness))
        best = np.argpartition(-likeness, count - 1)[:count]
        best = self.chosen[best[np.argsort(-likeness[best], kind="stable")]]
        return [(np.asarray(self.images[index]), int(self.labels[index])) for index in best]


def neighbours(training: Split) -> Neighbours:
    """Return what finds the nearest of the `training` images, of evenly spaced ones where there are very many.

    They are compared by the correlation of the images shrunk to 14x14 pixels, which forgives small shifts.
    """
    count = len(training.labels)
    chosen = np.unique(np.linspace(0, count - 1, min(count, COMPARED)).astype(int))
    return Neighbours(training.images, training.labels, chosen, _features(training.images, chosen))


def _features(images: np.ndarray, chosen: np.ndarray | None = None) -> np.ndarray:
    import cv2

    chosen = np.arange(len(images)) if chosen is None else chosen
    height, width = images.shape[1:3]
    # OpenCV names the width first.
    size = (min(SIDE, width), min(SIDE, height))
    features = np.empty((len(chosen), math.prod((*size, *images.shape[3:]))), np.float32)
    for row, index in enumerate(chosen):
        features[row] = cv2.resize(images[index], size, interpolation=cv2.INTER_AREA).ravel()
    features -= features.mean(axis=1, keepdims=True)
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-6)
    return features
