"""What the trained models say of one image, and why, for many people at once."""

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from commands.reasons import Neighbours, explainer, neighbours
from commands.trained import Trained
from stages.dataset.prepared import DatasetInfo, Split, load_split

NEAREST = 10
# Test images among which the examples are looked for, a part at a time, and how many of them are shown.
LOOKED_AT, PART = 4_000, 500
AGREED, DISAGREED = 10, 10
# What speaks for the answer, and against it: red and blue, as on the page.
FOR, AGAINST = (255, 70, 60), (60, 130, 255)


@dataclass
class Answers:
    """The `trained` models on the data that `info` tells of.

    Keras computes in one thread, first come, first served: so one person's reasons never hold up all the others.
    """

    info: DatasetInfo
    trained: list[Trained]
    test: Split
    neighbours: Neighbours
    keras: ThreadPoolExecutor

    def prepared(self, image: np.ndarray) -> np.ndarray:
        """Return what the models get for a raw image uint8 (height, width[, 3])."""
        return self.trained[0].prepared(image[None])[0]

    def probabilities(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return for each model its probabilities float32 (n, classes) for prepared images."""
        asked = {
            each.model.name: self.keras.submit(each.classifier.predict, images)
            for each in self.trained
            if each.model.history
        }
        found = {each.model.name: each.classifier.predict(images) for each in self.trained if not each.model.history}
        found |= {name: answer.result() for name, answer in asked.items()}
        return {each.model.name: found[each.model.name] for each in self.trained}

    def answer(self, image: np.ndarray) -> dict[str, Any]:
        """Return what the page shows at once of a prepared image."""
        probabilities = self.probabilities(image[None]) if image.any() else {}
        return {
            "seen": _data_url(image),
            "models": {name: [round(float(each), 5) for each in y_proba[0]] for name, y_proba in probabilities.items()},
        }

    def reasons(self, image: np.ndarray) -> dict[str, Any]:
        """Return the evidence for each model's answer, as a picture to lay over the image, and the nearest images."""
        if not image.any():
            return {"models": {}, "nearest": []}
        models = {}
        for name, y_proba in self.probabilities(image[None]).items():
            label = int(y_proba[0].argmax())
            models[name] = {"label": label, "evidence": _evidence(self._explainers[name](image, label))}
        nearest = self.neighbours.nearest(image, NEAREST)
        return {"models": models, "nearest": [{"image": _data_url(each), "label": label} for each, label in nearest]}

    @cached_property
    def _explainers(self) -> dict[str, Callable[[np.ndarray, int], np.ndarray]]:
        return {each.model.name: explainer(each.classifier, self.keras) for each in self.trained}

    @cached_property
    def examples(self) -> list[dict[str, Any]]:
        """Test images to begin with: one of each class that all models know, and some on which they disagree."""
        agreed: dict[int, int] = {}
        disagreed: list[int] = []
        for start in range(0, min(len(self.test.labels), LOOKED_AT), PART):
            images = np.asarray(self.test.images[start : start + PART])
            said = np.stack([y_proba.argmax(axis=1) for y_proba in self.probabilities(images).values()])
            for index, answers in enumerate(said.T, start):
                label = int(self.test.labels[index])
                if len(set(answers)) > 1:
                    disagreed.append(index)
                elif answers[0] == label and len(agreed) < AGREED:
                    agreed.setdefault(label, index)
            if len(disagreed) >= DISAGREED and len(agreed) >= min(AGREED, len(self.info.class_names)):
                break
        chosen = [(agreed[label], True) for label in sorted(agreed)]
        chosen += [(index, False) for index in disagreed[:DISAGREED]]
        return [
            {
                "test": index,
                "label": int(self.test.labels[index]),
                "image": _data_url(np.asarray(self.test.images[index])),
                "agreed": agree,
            }
            for index, agree in chosen
        ]


def load_answers(info: DatasetInfo, trained: list[Trained]) -> Answers:
    """Return the answers of the `trained` models after a first round, so that the first visitor need not wait."""
    keras = ThreadPoolExecutor(max_workers=1, thread_name_prefix="keras")
    answers = Answers(info, trained, load_split("test"), neighbours(load_split("train")), keras)
    image = np.asarray(answers.test.images[0])
    for _ in range(2):
        answers.answer(image)
        answers.reasons(image)
    assert answers.examples is not None
    return answers


def _evidence(shares: np.ndarray) -> str:
    """Return the `shares` float32 (height, width) as a transparent picture: red for the answer, blue against it."""
    strength = np.abs(shares) / max(float(np.abs(shares).max()), 1e-9)
    colours = np.where((shares > 0)[..., None], np.uint8(FOR), np.uint8(AGAINST))
    alpha = np.rint(255 * strength**0.7).astype(np.uint8)
    return _data_url(np.dstack([colours, alpha]))


def _data_url(pixels: np.ndarray) -> str:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
