"""A trained random forest, and the evidence that its answers rest on."""

from collections.abc import Callable

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from stages.dataset.features import FEATURES
from stages.dataset.pieces import pieces
from stages.learners.classifier import Classifier
from stages.learners.temperature import calibrated


class ForestClassifier(Classifier):
    def __init__(self, forest: RandomForestClassifier, features: str, temperature: float | None):
        self.forest, self.features, self.temperature = forest, features, temperature

    def predict(self, images: np.ndarray) -> np.ndarray:
        if self.temperature is None:
            return self.uncalibrated(images)
        trees, temperature = len(self.forest.estimators_), self.temperature
        return self._predict(images, lambda shares: calibrated(shares, trees, temperature))

    def uncalibrated(self, images: np.ndarray) -> np.ndarray:
        return self._predict(images, lambda shares: shares)

    def _predict(self, images: np.ndarray, probabilities: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return the `probabilities` for the shares of votes, float32."""
        parts = (images[piece] for piece in pieces(len(images), images.shape[1:]))
        shares = (self.forest.predict_proba(FEATURES[self.features](part)) for part in parts)
        return np.concatenate([probabilities(part).astype(np.float32) for part in shares])

    def size(self) -> dict[str, int]:
        return {
            "trees": len(self.forest.estimators_),
            "nodes": sum(tree.tree_.node_count for tree in self.forest.estimators_),
            "depth": max(tree.get_depth() for tree in self.forest.estimators_),
        }

    def impurity_importance(self) -> np.ndarray | None:
        # Other features than pixels are not places in the image.
        return self.forest.feature_importances_ if self.features == "pixels" else None
