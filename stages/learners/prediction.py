"""A saved model of any kind, and its class probabilities; the kind is found by the file's suffix."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Predict = Callable[[np.ndarray], np.ndarray]


def load_model(path: Path) -> tuple[Any, Predict]:
    """Return the Keras model or the scikit-learn forest in the file, and how to predict with it.

    That is a function from prepared float32 images (n, height, width) to float32 probabilities (n, classes).
    Raises `UserError` for a file that is no model of ours.
    """
    # Each kind imports its own package only: a forest is served where there is no Keras.
    if path.suffix == ".keras":
        from stages.learners.keras_file import load_keras

        model = load_keras(path)
        return model, lambda images: np.asarray(model.predict(images, batch_size=1000, verbose=0), dtype=np.float32)

    from stages.dataset.features import FEATURES
    from stages.learners.forest_file import load_forest

    forest, features = load_forest(path)
    return forest, lambda images: forest.predict_proba(FEATURES[features](images)).astype(np.float32)
