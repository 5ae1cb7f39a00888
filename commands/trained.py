"""The models of models/, ready to answer for raw images."""

import json
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO

import numpy as np

from stages.dataset.images import prepare
from stages.dataset.prepared import DatasetInfo
from stages.fingerprints import file_md5
from stages.learners.classifier import Classifier
from stages.learners.loading import load_classifier
from stages.learners.models import ALL_MODELS, Model
from stages.params.lock import locked_inputs
from stages.params.views import EvaluateParams, load_params
from stages.paths import METRICS, PREPARED
from stages.process.errors import UserError


@dataclass(frozen=True)
class Trained:
    """A model with its `classifier`, which takes prepared images; `prepared` makes these of raw ones."""

    model: Model
    classifier: Classifier
    deskew: bool

    def prepared(self, images: np.ndarray) -> np.ndarray:
        """Return what the classifier takes, uint8 as `images`, which are as the data set had them."""
        return prepare(images, self.deskew)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return probabilities float32 (n, classes) for raw images uint8 (n, height, width), in colour (…, 3)."""
        return self.classifier.predict(self.prepared(images))


def load_trained(info: DatasetInfo, models: Iterable[Model] = ALL_MODELS) -> list[Trained]:
    """Load the `models` of models/, which learnt the data that `info` tells of; Keras only where one needs it.

    Raises `UserError` where one of them is not there, has learnt other data, or is for images of another size or for
    other classes.
    """
    models = [*models]
    check_there(models)
    for model in models:
        _check_data(model)
    start_for(models)
    trained = [Trained(model, load_classifier(model.file), info.deskew) for model in models]
    for each in trained:
        _check_fit(each, info)
    return trained


def check_there(models: Iterable[Model]) -> None:
    """Raise `UserError` for the first of the `models` that has no file in models/."""
    for model in models:
        if not model.file.is_file():
            raise UserError(f"{model.file}: missing; there is no trained model\nTrain it: uv run dvc repro")


def start_for(models: Iterable[Model]) -> None:
    """Start Keras as params.yaml says, where one of the `models` needs it: before it is loaded."""
    if any(model.history for model in models):
        from stages.runtime import start_keras

        # It prints the arithmetic for the log of a training.
        with redirect_stdout(StringIO()):
            start_keras(load_params(EvaluateParams).params.runtime)


def _check_data(model: Model) -> None:
    """Raise `UserError` where dvc.lock says that the model has learnt other data than data/prepared has now."""
    learnt = locked_inputs(model.stage, file_md5(model.file)).get(PREPARED.as_posix())
    if learnt and not locked_inputs("preprocess", learnt):
        raise UserError(f"{model.file}: has learnt other data than data/prepared has now\nTrain it: uv run dvc repro")


def _check_fit(trained: Trained, info: DatasetInfo) -> None:
    images = np.zeros((1, info.height, info.width, *([3] if info.channels == 3 else [])), np.uint8)
    try:
        classes = trained.predict(images).shape[1]
    # Each library has its own exception for an image of another size.
    except Exception:
        classes = None
    if classes != len(info.class_names):
        raise UserError(
            f"{trained.model.file}: is not for {info.dataset}, which data/prepared has now\nTrain it: uv run dvc repro"
        )


def best_trained() -> Model | None:
    """Return the model of models/ that MLflow's rule for a champion chooses: the best validation accuracy that passed.

    None where no model passed `gate`, or reports/metrics.json is not about all the models as they lie there.
    """
    try:
        measured = locked_inputs("evaluate", file_md5(METRICS))
        if any(measured.get(model.file.as_posix()) != file_md5(model.file) for model in ALL_MODELS):
            return None
        metrics = json.loads(METRICS.read_bytes())
        passed = [model for model in ALL_MODELS if metrics[model.name]["gate_passed"]]
        return max(passed, key=lambda model: metrics[model.name]["val_accuracy"], default=None)
    except (OSError, ValueError, KeyError, TypeError):
        return None
