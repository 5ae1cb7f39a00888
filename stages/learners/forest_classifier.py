"""A trained random forest, and the evidence that its answers rest on."""

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
        return self.probabilities(images).astype(np.float32)

    def uncalibrated(self, images: np.ndarray) -> np.ndarray:
        return self.shares(images).astype(np.float32)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return what `predict` does, in float64."""
        shares = self.shares(images)
        if self.temperature is None:
            return shares
        return calibrated(shares, len(self.forest.estimators_), self.temperature)

    def shares(self, images: np.ndarray) -> np.ndarray:
        """Return the mean of the trees' answers: float64 (n, classes)."""
        parts = (images[piece] for piece in pieces(len(images), images.shape[1:]))
        return np.concatenate([self.forest.predict_proba(FEATURES[self.features](part)) for part in parts])

    def size(self) -> dict[str, int]:
        return {
            "trees": len(self.forest.estimators_),
            "nodes": sum(tree.tree_.node_count for tree in self.forest.estimators_),
            "depth": max(tree.get_depth() for tree in self.forest.estimators_),
        }

    def impurity_importance(self) -> np.ndarray | None:
        # Other features than pixels are not places in the image.
        return self.forest.feature_importances_ if self.features == "pixels" else None
