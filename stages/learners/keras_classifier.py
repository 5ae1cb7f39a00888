"""A trained Keras model, and the evidence that its answers rest on."""

import math
from typing import Any

import keras
import numpy as np

from stages.dataset.scaling import scaled
from stages.learners.classifier import Classifier
from stages.learners.networks import averaged, images_at_once, networks_inside

# Predictions of an average that are differentiated at once for each image. The CNN with 49 of them took 6.3 GB for
# all at once, and 1.8 GB and no longer for nine (measured).
AVERAGED = 9
# Bytes of images that are differentiated at once: what the layers hand on takes many times as much.
BYTES = 1 << 26


class KerasClassifier(Classifier):
    def __init__(self, model: keras.Model):
        self.model = model

    def predict(self, images: np.ndarray) -> np.ndarray:
        # Keras' own `predict` takes a tenth of a second before its first step (measured).
        step = images_at_once(self.model)
        return np.concatenate(
            [self.model.predict_on_batch(scaled(images[start : start + step])) for start in range(0, len(images), step)]
        )

    def size(self) -> dict[str, int]:
        multiply_adds = sum(layer["multiply_adds"] for layer in self.layers())
        return {"weights": self.model.count_params(), "multiply_adds": multiply_adds}

    def layers(self) -> list[dict[str, Any]]:
        """Return them with the multiply-adds of convolutions and dense layers; the others' are a hundredth.

        Of several networks a row is a layer of all of them.
        """
        networks, shift = networks_inside(self.model)
        times = len(networks) * (2 * shift + 1) ** 2
        return [
            {
                "layer": layer.name,
                "kind": type(layer).__name__,
                "output": "x".join(map(str, layer.output.shape[1:])),
                "weights": len(networks) * layer.count_params(),
                "multiply_adds": times * _multiply_adds(layer),
            }
            for layer in networks[0].layers
        ]

    def input_gradients(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        networks, shift = networks_inside(self.model)
        if len(networks) > 1:
            each = (KerasClassifier(averaged([network], shift)) for network in networks)
            return np.mean([one.input_gradients(images, classes) for one in each], axis=0)
        parts = max(math.ceil((2 * shift + 1) ** 2 / AVERAGED), math.ceil(images.nbytes / BYTES))
        parts = min(parts, len(images))
        pairs = zip(np.array_split(images, parts), np.array_split(classes, parts), strict=True)
        return np.concatenate([input_gradients(self.model, *pair) for pair in pairs])

    def filters(self, count: int) -> np.ndarray:
        """Return those of the first layer with weights, of the first network; of a dense layer, those with the largest.

        Of colours it is the mean.
        """
        (network, *_), _ = networks_inside(self.model)
        layer = next(layer for layer in network.layers if layer.weights)
        weights = np.asarray(layer.get_weights()[0])
        if weights.ndim == 4:
            return weights[:, :, :, :count].mean(axis=2).transpose(2, 0, 1)
        height, width, channels = (*self.model.input_shape[1:], 1)[:3]
        strongest = np.argsort(-np.linalg.norm(weights, axis=0), kind="stable")[:count]
        return weights[:, strongest].T.reshape(-1, height, width, channels).mean(axis=3)


def input_gradients(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the gradient of the probability of each image's class: float32, of the shape of the images.

    `images` are float32 (n, height, width), in colour (n, height, width, 3), `classes` integers (n,).
    """
    chosen = np.eye(model.output_shape[-1], dtype=np.float32)[classes]

    def total(images):
        return keras.ops.sum(model(images, training=False) * chosen)

    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        variable = tf.Variable(images)
        with tf.GradientTape() as tape:
            result = total(variable)
        return tape.gradient(result, variable).numpy()
    import jax

    return np.asarray(jax.grad(total)(images))


def _multiply_adds(layer: keras.Layer) -> int:
    if isinstance(layer, keras.layers.Dense):
        return math.prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.Conv2D):
        return math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:3])
    return 0
