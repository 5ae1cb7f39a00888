"""A trained model of any kind, as evaluation and MLflow know it.

A new kind of model has `predict` and `size`. All else has an answer for a model that has no such thing.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np


class Classifier(ABC):
    """Images are prepared ones: uint8 (n, height, width), in colour (n, height, width, 3)."""

    @abstractmethod
    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return class probabilities: float32 (n, classes)."""

    # What was fitted on the validation images to have probabilities that are right as often as they say.
    temperature: float | None = None

    def uncalibrated(self, images: np.ndarray) -> np.ndarray:
        """Return what `predict` would without the temperature."""
        return self.predict(images)

    @abstractmethod
    def size(self) -> dict[str, int]:
        """Return how large the model is, under the names that reports/metrics.json has for it."""

    def layers(self) -> list[dict[str, Any]]:
        """Return a row for each layer: layer, kind, output (its shape), weights and multiply_adds."""
        return []

    def input_gradients(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
        """Return the gradients of the probability of each image's class (n,): float32, of the shape of the images.

        These are float32 from 0 to 1.
        """
        return None

    def filters(self, count: int) -> np.ndarray | None:
        """Return at most `count` patterns that the model compares an image with: float32 (n, height, width)."""
        return None

    def impurity_importance(self) -> np.ndarray | None:
        """Return the mean decrease in impurity of each value of an image: float64 (height * width * channels,)."""
        return None
