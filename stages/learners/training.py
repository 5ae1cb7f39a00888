"""The Keras training loop: images in, trained model and history out."""

import math
from collections.abc import Callable

import keras
import numpy as np

from stages.dataset.prepared import Split
from stages.errors import UserError
from stages.learners.networks import optimizer
from stages.progress import progress_bar
from stages.runtime import jit_compile

HISTORY = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


class ShuffledImages(keras.utils.PyDataset):
    """Batches in an order that is a function of (seed, epoch) alone.

    Keras' own shuffling depends on everything that drew random numbers before.
    """

    def __init__(self, split: Split, batch_size: int, seed: int):
        super().__init__()
        self.images, self.labels = np.asarray(split.images), np.asarray(split.labels)
        self.batch_size = batch_size
        self.seed = seed
        self._start_epoch(0)

    def __len__(self) -> int:
        return math.ceil(len(self.labels) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        batch = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        return self.images[batch], self.labels[batch]

    def on_epoch_end(self) -> None:
        self._start_epoch(self.epoch + 1)

    def _start_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.order = np.random.default_rng([self.seed, epoch]).permutation(len(self.labels))


def train(
    model: keras.Model,
    params,
    training: Split,
    validation: Split,
    *,
    seed: int,
    on_epoch: Callable[[int, dict[str, float]], None],
) -> tuple[dict[str, list[float]], int]:
    """Train `model` in place, and return its history and the epoch (from 1) whose weights it has.

    The history has a list with one value per epoch for each name in `HISTORY`. `on_epoch` gets the
    epoch and these values as they happen. Loss includes the l1 and l2 penalties.
    Raises `UserError` after the first epoch whose loss is not finite.
    """
    batches = ShuffledImages(training, params.batch_size, seed)
    model.compile(
        optimizer=optimizer(params.optimizer, steps=params.epochs * len(batches)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=jit_compile(),
    )
    keep_best = params.weights == "best"
    stopping = keras.callbacks.EarlyStopping(
        monitor="val_loss",
        mode="min",
        patience=params.early_stopping_patience or params.epochs,
        restore_best_weights=keep_best,
    )
    with progress_bar(params.epochs * len(batches), f"train {model.name}", "step") as bar:
        history = model.fit(
            batches,
            epochs=params.epochs,
            validation_data=(np.asarray(validation.images), np.asarray(validation.labels)),
            validation_batch_size=1000,
            verbose=0,
            callbacks=[_Reporter(bar, on_epoch, params.epochs), stopping],
        ).history
    renamed = {name: history[name.removeprefix("train_")] for name in HISTORY}
    epochs = len(renamed["train_loss"])
    return renamed, stopping.best_epoch + 1 if keep_best else epochs


class _Reporter(keras.callbacks.Callback):
    def __init__(self, bar, on_epoch: Callable[[int, dict[str, float]], None], epochs: int):
        super().__init__()
        self.bar = bar
        self.on_epoch = on_epoch
        self.epochs = epochs

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update()

    def on_epoch_end(self, epoch, logs=None):
        values = {name: float(logs[name.removeprefix("train_")]) for name in HISTORY}
        _check_finite(self.model.name, epoch + 1, values)
        self.bar.set_postfix_str(f"epoch {epoch + 1}/{self.epochs}, val_accuracy {values['val_accuracy']:.4f}")
        self.on_epoch(epoch + 1, values)


def _check_finite(name: str, epoch: int, values: dict[str, float]) -> None:
    for quantity, value in values.items():
        if not math.isfinite(value):
            raise UserError(
                f"train.{name}: {quantity} is {value} after epoch {epoch}; no model was written\n"
                f"Lower train.{name}.optimizer.learning_rate or the penalties in params.yaml."
            )
