"""The two Keras networks, built from params.yaml alone, and the mean of several."""

import itertools
import math

import keras
from keras import layers, regularizers

from stages.learners.layers import Activation, BatchNormalization
from stages.params.schema import Cnn, Mlp, Network
from stages.runtime import PREDICTED

# Keras' 0.99 needs hundreds of steps until the moving statistics are right: too many for a small
# data set with a large batch, where accuracy on validation images starts near chance.
BATCH_NORM_MOMENTUM = 0.9
# The layers hand on so many values in a step of a prediction, 4 bytes each; a few layers at a time are in memory.
MAX_PREDICTED_VALUES = 1 << 28


def build_mlp(params: Mlp, height: int, width: int, classes: int, channels: int = 1) -> keras.Sequential:
    """Return a multilayer perceptron from float images to probabilities (n, classes).

    The images are (n, height, width) with one channel, (n, height, width, channels) with more.
    """
    model = keras.Sequential(name="mlp")
    model.add(keras.Input(_shape(height, width, channels), name="images"))
    model.add(layers.Flatten())
    _add_dense_part(model, params, classes)
    return model


def build_cnn(params: Cnn, height: int, width: int, classes: int, channels: int = 1) -> keras.Sequential:
    """Return a convolutional network from float images, as `build_mlp` takes them, to probabilities (n, classes)."""
    model = keras.Sequential(name="cnn")
    model.add(keras.Input(_shape(height, width, channels), name="images"))
    if channels == 1:
        model.add(layers.Reshape((height, width, 1)))
    for block in params.blocks:
        shape = {"strides": block.strides, "padding": block.padding, "use_bias": not params.batch_norm}
        model.add(layers.Conv2D(block.filters, block.kernel_size, **shape, kernel_regularizer=_penalty(params)))
        # Before normalization and activation, which then have a fraction of the values to work on.
        if block.pool_size > 1:
            model.add(layers.MaxPooling2D(block.pool_size))
        _add_activation(model, params)
        if block.dropout:
            model.add(layers.Dropout(block.dropout))
    pooling = {"none": layers.Flatten, "average": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}
    model.add(pooling[params.global_pooling]())
    _add_dense_part(model, params, classes)
    return model


BUILDERS = {"mlp": build_mlp, "cnn": build_cnn}


def averaged(networks: list[keras.Sequential], shift: int) -> keras.Model:
    """Return the model whose probabilities are the mean of those of the `networks` for shifted images.

    The shifts are all of up to `shift` pixels to each side, (2 * shift + 1)² of them; beyond the edge is 0. One network
    without shifts is itself that model. (Krizhevsky, Sutskever & Hinton, "ImageNet Classification with Deep
    Convolutional Neural Networks", 2012.)
    """
    if len(networks) == 1 and not shift:
        return networks[0]
    shape = networks[0].input_shape[1:]
    images = keras.Input(shape, name="images")
    height, width, channels = (*shape, 1)[:3]
    padded = layers.ZeroPadding2D(shift, name="margin")(layers.Reshape((height, width, channels))(images))
    probabilities = []
    for top, left in itertools.product(range(2 * shift + 1), repeat=2):
        crop = ((top, 2 * shift - top), (left, 2 * shift - left))
        shifted = layers.Reshape(shape)(layers.Cropping2D(crop, name=f"from_{top}_{left}")(padded))
        probabilities += [network(shifted) for network in networks]
    mean = layers.Average(name="mean", dtype="float32")(probabilities)
    return keras.Model(images, mean, name=f"{networks[0].name}_averaged")


def _shape(height: int, width: int, channels: int) -> tuple[int, ...]:
    return (height, width) if channels == 1 else (height, width, channels)


def networks_inside(model: keras.Model) -> tuple[list[keras.Model], int]:
    """Return the networks in a model that `averaged` returned, and its `shift`."""
    networks = [layer for layer in model.layers if isinstance(layer, keras.Sequential)]
    if not networks:
        return [model], 0
    return networks, model.get_layer("margin").padding[0][0]


def images_at_once(model: keras.Model) -> int:
    """Return how many images a step of a prediction or validation has, of a network or a model that `averaged` made."""
    (network, *_), _ = networks_inside(model)
    values = sum(math.prod(layer.output.shape[1:]) for layer in network.layers)
    return max(1, min(PREDICTED, MAX_PREDICTED_VALUES // values))


def _add_dense_part(model: keras.Sequential, params: Network, classes: int) -> None:
    rates = params.dropout if isinstance(params.dropout, list) else [params.dropout] * len(params.hidden_units)
    for units, dropout in zip(params.hidden_units, rates, strict=True):
        model.add(layers.Dense(units, use_bias=not params.batch_norm, kernel_regularizer=_penalty(params)))
        _add_activation(model, params)
        if dropout:
            model.add(layers.Dropout(dropout))
    # Probabilities in float32 under every precision, so that the loss keeps its digits.
    kind = {"activation": "softmax", "dtype": "float32", "name": "probabilities"}
    model.add(layers.Dense(classes, **kind, kernel_regularizer=_penalty(params)))


def _add_activation(model: keras.Sequential, params: Network) -> None:
    if params.batch_norm:
        model.add(BatchNormalization(momentum=BATCH_NORM_MOMENTUM))
    model.add(Activation(params.activation))


def _penalty(params: Network) -> regularizers.Regularizer | None:
    if params.l1 == 0 and params.l2 == 0:
        return None
    return regularizers.L1L2(params.l1, params.l2)
