"""The model that MLflow loads and serves: raw images in, class probabilities out, the same for all models.

MLflow runs this file when it loads a logged model ("models from code"): no pickle.
"""

import warnings
from pathlib import Path

import mlflow
import numpy as np


class ImageClassifier(mlflow.pyfunc.PythonModel):
    def load_context(self, context) -> None:
        from stages.learners.loading import load_classifier

        self.classifier = load_classifier(Path(context.artifacts["model"]))
        self.deskew = context.model_config["deskew"]

    def predict(self, context, model_input: np.ndarray, params: dict | None = None) -> np.ndarray:
        """Return probabilities float32 (n, classes) for raw images uint8 (n, height, width), in colour (…, 3)."""
        from stages.dataset.images import prepare

        if len(model_input) and model_input.max() <= 1:
            warnings.warn(
                "These images have no value above 1. The model takes raw images from 0 to 255; "
                "scaled ones lose all but 0 and 1.",
                stacklevel=2,
            )
        return self.classifier.predict(prepare(model_input, self.deskew))


mlflow.models.set_model(ImageClassifier())
