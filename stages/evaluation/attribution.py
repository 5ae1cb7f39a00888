"""The pixels that an answer rests on."""

from itertools import product

import numpy as np
from sklearn.metrics import log_loss

from stages.dataset.pieces import pieces
from stages.dataset.scaling import scaled
from stages.evaluation.scores import normalized
from stages.learners.classifier import Classifier

# Points on the way from a black image: enough for the sum to be the probability within a percent (measured).
STEPS = 64
# Side of the blocks whose pixels are exchanged, and the number of images that gives stable values.
BLOCK = 4
IMAGES = 1000


def integrated_gradients(classifier: Classifier, images: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
    """Return the share of each pixel in the probability of its image's class: float32 (n, height, width).

    The shares of an image add up to that probability less that of a black image; in colour those of the channels are
    added up. `images` are uint8 (n, height, width) or (n, height, width, 3), `classes` integers (n,). Return None for a
    classifier without gradients. (Sundararajan, Taly & Yan, "Axiomatic Attribution for Deep Networks", 2017.)
    """
    shares = ((np.arange(STEPS) + 0.5) / STEPS).astype(np.float32)
    found = []
    for piece in pieces(len(images), (STEPS, *images.shape[1:])):
        some = scaled(images[piece])
        path = (shares.reshape(-1, *[1] * some.ndim) * some).reshape(-1, *some.shape[1:])
        gradients = classifier.input_gradients(path, np.tile(classes[piece], STEPS))
        if gradients is None:
            return None
        attributions = gradients.reshape(STEPS, *some.shape).mean(axis=0) * some
        found.append(attributions if attributions.ndim == 3 else attributions.sum(axis=3))
    return np.concatenate(found)


def block_sides(height: int, width: int) -> tuple[int, int]:
    """Return height and width of a block, `BLOCK` x `BLOCK` of a small image, so that there are at most 7x7 of them.

    As many as 28x28 pixels have: each costs a prediction.
    """
    return BLOCK * -(-height // (7 * BLOCK)), BLOCK * -(-width // (7 * BLOCK))


def block_importance(classifier: Classifier, images: np.ndarray, y_true: np.ndarray) -> np.ndarray:
    """Return the rise of the log loss when a block of pixels is taken from other images: float64 (height, width).

    Images are uint8 (n, height, width) or (n, height, width, 3), labels integers (n,). For each block, `BLOCK` x
    `BLOCK` pixels of a small image, the images exchange it at random; everything that the model computes from the
    pixels changes with them. (After Breiman, "Random Forests", 2001.)
    """
    random = np.random.default_rng(0)
    if len(images) > IMAGES:
        # Own images may be sorted by class.
        chosen = np.sort(random.choice(len(images), IMAGES, replace=False))
        images, y_true = images[chosen], y_true[chosen]
    height, width = images.shape[1:3]
    importance = np.zeros((height, width))

    def loss(changed: np.ndarray) -> float:
        y_proba = normalized(classifier.predict(changed))
        return log_loss(y_true, y_proba, labels=np.arange(y_proba.shape[1]))

    before = loss(images)
    down, across = block_sides(height, width)
    for top, left in product(range(0, height, down), range(0, width, across)):
        block = np.s_[:, top : top + down, left : left + across]
        changed = images.copy()
        changed[block] = images[random.permutation(len(images))][block]
        importance[block[1:]] = loss(changed) - before
    return importance
