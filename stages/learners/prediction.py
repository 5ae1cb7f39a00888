"""Class probabilities from a saved model of any kind, found by its file's suffix."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from stages.learners.storage import load_forest, load_keras

Predict = Callable[[np.ndarray], np.ndarray]


def load_predictor(path: Path) -> Predict:
    """Return a function from scaled float32 images (n, height, width) to float32 probabilities (n, classes)."""
    if path.suffix == ".keras":
        model = load_keras(path)
        return lambda images: np.asarray(model.predict(images, batch_size=1000, verbose=0), dtype=np.float32)
    forest = load_forest(path)
    return lambda images: forest.predict_proba(images.reshape(len(images), -1)).astype(np.float32)
