"""Which pixels an answer rests on."""

import math
from collections.abc import Callable

import numpy as np
from sklearn.metrics import log_loss

from stages.evaluation.scores import normalized
from stages.learners.networks import network_inside
from stages.runtime import input_gradients

# Points on the way from a black image: enough for the sum to be the probability within a percent (measured).
STEPS = 64
# Images of an average that go through the network at once, for each image and point. Of the CNN with 49, all at once
# took 6.3 GB, nine 1.8 GB and no longer (measured).
AVERAGED = 9
# Side of the blocks whose pixels are exchanged, and how many images are enough for a stable picture.
BLOCK = 4
IMAGES = 1000


def integrated_gradients(model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return what each pixel adds to the probability of its image's class: float32 (n, height, width).

    They add up to that probability less that of a black image. `images` are float32 (n, height, width), `classes`
    integers (n,). (Sundararajan, Taly & Yan, "Axiomatic Attribution for Deep Networks", 2017.)
    """
    shares = ((np.arange(STEPS) + 0.5) / STEPS).astype(np.float32)
    _, averaged = network_inside(model)
    gradients = []
    for some in np.array_split(shares, math.ceil(averaged / AVERAGED)):
        path = (some[:, None, None, None] * images).reshape(-1, *images.shape[1:])
        gradients.append(input_gradients(model, path, np.tile(classes, len(some))).reshape(-1, *images.shape))
    return np.concatenate(gradients).mean(axis=0) * images


def block_importance(predict: Callable, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how much the log loss grows when a block of pixels is taken from other images: (height, width).

    For each block of `BLOCK` x `BLOCK` pixels the images exchange it at random; all that the model computes from
    the pixels follows. (After Breiman, "Random Forests", 2001.)
    """
    images, labels = images[:IMAGES], labels[:IMAGES]
    random = np.random.default_rng(0)
    _, height, width = images.shape
    importance = np.zeros((height, width))

    def loss(changed: np.ndarray) -> float:
        probabilities = normalized(predict(changed))
        return log_loss(labels, probabilities, labels=np.arange(probabilities.shape[1]))

    before = loss(images)
    for top in range(0, height, BLOCK):
        for left in range(0, width, BLOCK):
            block = np.s_[:, top : top + BLOCK, left : left + BLOCK]
            changed = images.copy()
            changed[block] = images[random.permutation(len(images))][block]
            importance[block[1:]] = loss(changed) - before
    return importance


def first_layer(model, count: int) -> np.ndarray:
    """Return the filters of the first layer with weights, at most `count`: float32 (n, height, width).

    Of a dense layer, whose filters are as large as the image, those with the largest weights.
    """
    network, _ = network_inside(model)
    layer = next(layer for layer in network.layers if layer.weights)
    weights = np.asarray(layer.get_weights()[0])
    if weights.ndim == 4:
        return weights[:, :, 0, :count].transpose(2, 0, 1)
    _, height, width = model.input_shape
    strongest = np.argsort(-np.linalg.norm(weights, axis=0), kind="stable")[:count]
    return weights[:, strongest].T.reshape(-1, height, width)
