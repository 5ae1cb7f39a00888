"""The Keras training loop: images in, trained network and history out."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np

from stages.dataset.prepared import Split
from stages.dataset.scaling import scaled
from stages.learners.checkpoint import HISTORY, Progress, load_checkpoint, save_checkpoint
from stages.learners.layers import recompute_statistics
from stages.learners.optimizers import optimizer
from stages.params.schema import Network
from stages.process.console import progress_bar, warn
from stages.process.errors import UserError
from stages.process.lifetime import interrupts_deferred

# With this module, and not in a training: a checkpoint is of the code that is loaded.
if keras.config.backend() == "jax":
    from stages.learners.jax_epochs import compiled, make_epochs
else:
    from stages.learners.tensorflow_epochs import compiled, make_epochs

# Networks that had fewer steps knew hardly more than chance, or far less than they could (measured on `digits`).
TOO_FEW_STEPS = 200


def train(
    name: str,
    network: keras.Sequential,
    params: Network,
    training: Split,
    validation: Split,
    seed: int,
    on_epoch: Callable[[int, dict[str, float]], None],
    checkpoint: Path | None = None,
) -> tuple[dict[str, list[float]], int]:
    """Train `network` in place; return its history, and the epoch (from 1) whose weights it has.

    The user knows the model by its `name`, "mlp" or "cnn". The history has a list with one value per epoch for each
    name in `HISTORY`, those of the network without shifts and with moving statistics: with shifts validation would take
    half the training's time, and statistics are recomputed at the end alone.
    `on_epoch` gets the epoch and these values as they happen. Loss includes the l1 and l2 penalties.
    With a `checkpoint` the state is kept there after each epoch, and a training that finds it goes on from it:
    `on_epoch` is then told of the epochs before.
    Raises `UserError` as soon as a loss or a weight is not finite, in whichever epoch.
    """
    steps, epochs = _length(params, len(training.labels))
    network.compile(
        optimizer=optimizer(params.optimizer, steps=epochs * steps),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    # A checkpoint has its variables, and within a graph it is too late to make them.
    network.optimizer.build(network.trainable_variables)
    train_epoch, validate = make_epochs(network, params, training, validation, seed)
    progress = checkpoint and load_checkpoint(checkpoint, network)
    progress = progress or Progress(history={name: [] for name in HISTORY})
    history, done = progress.history, progress.epochs
    for epoch in range(1, done + 1):
        on_epoch(epoch, {name: history[name][epoch - 1] for name in HISTORY})
    if done and _is_over(progress, params, epochs):
        print(f"{name}: its {done} epochs were trained before the interruption", flush=True)
        epochs = done
    elif done:
        print(f"{name}: goes on after epoch {done} of {epochs}, where it was interrupted", flush=True)
    with progress_bar(epochs * steps, f"train {name}", "step", initial=done * steps) as bar:
        for epoch in range(done + 1, epochs + 1):
            if _is_over(progress, params, epochs):
                break
            sums = dict.fromkeys(("loss", "accuracy"), 0.0)
            for means, count in train_epoch(epoch):
                # Not only at the end of the epoch: this costs nothing, and nothing good comes any more.
                _check_finite(name, epoch, {"train_loss": means["loss"]})
                for metric in sums:
                    sums[metric] += means[metric] * count
                bar.update(math.ceil(count / params.batch_size))
            validated = validate()
            values = {f"train_{metric}": total / len(training.labels) for metric, total in sums.items()}
            values |= {f"val_{metric}": validated[metric] for metric in sums}
            # Weights can be lost behind a loss that is not: a layer may make 0 of an infinite value.
            state = {"a weight": network.variables, "the state of the optimizer": network.optimizer.variables}
            _check_finite(name, epoch, values | {part: _not_finite(of_it) for part, of_it in state.items()})
            for metric, value in values.items():
                history[metric].append(value)
            bar.set_postfix_str(f"epoch {epoch}/{epochs}, val_accuracy {values['val_accuracy']:.4f}")
            on_epoch(epoch, values)

            if params.weights == "best" and progress.best == epoch:
                progress.best_weights = network.get_weights()
            if checkpoint:
                with interrupts_deferred():
                    save_checkpoint(checkpoint, network, progress)
    kept = progress.epochs
    if progress.best_weights is not None:
        network.set_weights(progress.best_weights)
        kept = progress.best
    if params.batch_norm and params.batch_norm_statistics == "recomputed":
        recompute_statistics(network, _whole_batches(training.images, params.batch_size, seed), compiled)
    return history, kept


def say_length(name: str, params: Network, images: int) -> None:
    """Say where a network's training has not `params.epochs` epochs, or is too short to learn."""
    steps, epochs = _length(params, images)
    if epochs > params.epochs:
        print(
            f"{name}: {epochs} epochs, more than train.{name}.epochs: {params.epochs}, to reach "
            f"train.{name}.min_steps: {params.min_steps}",
            flush=True,
        )
    if epochs * steps < TOO_FEW_STEPS:
        warn(
            f"{name}: {epochs * steps} training steps ({steps} for each of {epochs} epochs) are too few to learn; "
            f"raise train.{name}.min_steps or epochs, or lower batch_size"
        )


def _length(params: Network, images: int) -> tuple[int, int]:
    """Return the steps of an epoch and the number of epochs."""
    steps = math.ceil(images / params.batch_size)
    return steps, max(params.epochs, math.ceil((params.min_steps or 0) / steps))


def _is_over(progress: Progress, params: Network, epochs: int) -> bool:
    patience = params.early_stopping_patience
    return progress.epochs == epochs or (patience is not None and progress.epochs - progress.best >= patience)


def _whole_batches(images: np.ndarray, batch_size: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the images as they are; those that are too few for a last batch are left out, unless it is the only one.

    In random order: own images may be sorted by class, and a batch is to be like those of the training.
    """
    order = np.random.default_rng(seed).permutation(len(images))
    for start in range(0, max(1, len(images) - batch_size + 1), batch_size):
        yield scaled(images[order[start : start + batch_size]])


def _not_finite(variables: list[keras.Variable]) -> float:
    """Return one of their values that is not finite; 0 where all are."""
    for variable in variables:
        values = keras.ops.convert_to_numpy(variable)
        broken = values[~np.isfinite(values)]
        if broken.size:
            return float(broken[0])
    return 0.0


def _check_finite(name: str, epoch: int, values: dict[str, float]) -> None:
    for quantity, value in values.items():
        if not math.isfinite(value):
            raise UserError(
                f"train.{name}: {quantity} is {value} in epoch {epoch}; no model was written\n"
                f"Lower train.{name}.optimizer.learning_rate or the penalties in params.yaml."
            )
