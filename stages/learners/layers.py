"""Layers of Keras, worded so that they give the same bits on every processor.

Processors approximate 1/x and 1/sqrt(x) each in its maker's way, and TensorFlow's reciprocal, rsqrt and erfc of float32
use that. The layers have the names and settings of Keras' own, and are saved as those.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
from keras import layers, ops


class BatchNormalization(layers.BatchNormalization):
    """Normalizes the last axis (Ioffe & Szegedy, "Batch Normalization", 2015), for inputs without a mask."""

    def call(self, inputs, training=None, mask=None):
        values = ops.cast(inputs, "float32")
        if training and self.trainable:
            mean, variance = ops.moments(values, axes=list(range(len(values.shape) - 1)))
            for moving, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + new * (1 - self.momentum))
        else:
            mean, variance = self.moving_mean, self.moving_variance
        # In float64 it is a division by a square root; written as one, TensorFlow makes rsqrt of it. JAX has none.
        wide = "float64" if keras.config.backend() == "tensorflow" else "float32"
        scale = ops.cast(ops.rsqrt(ops.cast(variance, wide) + self.epsilon), "float32") * self.gamma
        return ops.cast(values * scale + (self.beta - mean * scale), self.compute_dtype)


def recompute_statistics(
    network: keras.Sequential, batches: Iterable[np.ndarray], compiled: Callable[[keras.Sequential, Callable], Callable]
) -> None:
    """Set what batch normalization predicts with to its means over the `batches` of images, all other layers at rest.

    Images that were changed at random have other statistics than those that the network is asked about. (Wu & Johnson,
    "Rethinking 'Batch' in BatchNorm", 2021.)
    """

    def observe(values: Any, number: Any) -> None:
        for layer in network.layers:
            if isinstance(layer, BatchNormalization):
                # The moving average becomes the mean of all so far.
                momentum, layer.momentum = layer.momentum, number / (number + 1)
                values = layer(values, training=True)
                layer.momentum = momentum
            else:
                values = layer(values)

    observe = compiled(network, observe)
    for number, values in enumerate(batches):
        observe(values, number)


class Activation(layers.Activation):
    def call(self, inputs):
        if self.activation is keras.activations.gelu:
            # By erf (Hendrycks & Gimpel, "Gaussian Error Linear Units", 2016).
            return 0.5 * inputs * (1 + ops.erf(inputs / math.sqrt(2)))
        return super().call(inputs)


WORDED = {layer.__name__: layer for layer in (BatchNormalization, Activation)}
