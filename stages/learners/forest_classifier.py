"""A trained random forest, and the evidence that its answers rest on."""

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from stages.dataset.features import FEATURES
from stages.learners.classifier import Classifier

# Images whose features are in memory at once.
PREDICTED = 10_000


class ForestClassifier(Classifier):
    def __init__(self, forest: RandomForestClassifier, features: str):
        self.forest, self.features = forest, features

    def predict(self, images: np.ndarray) -> np.ndarray:
        parts = (images[start : start + PREDICTED] for start in range(0, len(images), PREDICTED))
        features = FEATURES[self.features]
        return np.concatenate([self.forest.predict_proba(features(part)).astype(np.float32) for part in parts])

    def size(self) -> dict[str, int]:
        return {
            "trees": len(self.forest.estimators_),
            "nodes": sum(tree.tree_.node_count for tree in self.forest.estimators_),
            "depth": max(tree.get_depth() for tree in self.forest.estimators_),
        }

    def impurity_importance(self) -> np.ndarray | None:
        # Other features than pixels are not places in the image.
        return self.forest.feature_importances_ if self.features == "pixels" else None
