"""The model of a training: one network, or several with other seeds, whose answers are averaged."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from stages.dataset.prepared import Split
from stages.learners.checkpoint import HISTORY
from stages.learners.history import NETWORK
from stages.learners.networks import averaged
from stages.learners.training import say_length, train
from stages.params.schema import Network


def train_networks(
    name: str,
    network: keras.Sequential,
    params: Network,
    training: Split,
    validation: Split,
    seed: int,
    on_epoch: Callable[[int, dict[str, float]], None],
    checkpoint: Path | None = None,
) -> tuple[keras.Model, dict[str, list[float]], list[int]]:
    """Train `network` and as many like it as `params.networks` says; return their model, history and epochs.

    The model's probabilities are the mean over the networks and over `params.test_time_shift`. (Lakshminarayanan,
    Pritzel & Blundell, "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles", 2017.) The first
    network has the `seed`, the others have seeds made of it. They are trained one after the other by `train`, and the
    epochs are counted through, from 1: history and `on_epoch` have those of the second network after those of the
    first, each with the values of that network alone. The history of several networks says in `network` whose an epoch
    is. The epochs returned are those whose weights the networks have.
    """
    networks, history, kept = [], {metric: [] for metric in HISTORY}, []
    say_length(name, params, len(training.labels))
    for number in range(1, params.networks + 1):
        one, own_seed, file, before = network, seed, checkpoint, len(history["val_loss"])
        if params.networks > 1:
            print(f"{name}: network {number} of {params.networks}", flush=True)
        if number > 1:
            own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
            keras.utils.set_random_seed(own_seed)
            one = keras.models.clone_model(network)
            # Layers of one model have different names.
            one.name = f"{network.name}_{number}"
            file = checkpoint and checkpoint.with_stem(f"{checkpoint.stem}-{number}")

        def counted_on(epoch: int, values: dict[str, float], before: int = before) -> None:
            on_epoch(before + epoch, values)

        own_history, best = train(name, one, params, training, validation, own_seed, counted_on, file)
        if params.networks > 1:
            own_history[NETWORK] = [number] * len(own_history["val_loss"])
        history = {metric: history.get(metric, []) + values for metric, values in own_history.items()}
        networks, kept = [*networks, one], [*kept, before + best]
    return averaged(networks, params.test_time_shift), history, kept


def training_words(name: str, history: dict[str, list[float]], kept: list[int], seconds: float) -> str:
    """Return in a line what `train_networks` has done for the model of that `name`."""
    accuracies = ", ".join(f"{history['val_accuracy'][epoch - 1]:.4f}" for epoch in kept)
    trained = f"{name}: {len(history['val_loss'])} epochs"
    if len(kept) == 1:
        return f"{trained} trained in {seconds:.1f} s, weights of epoch {kept[0]}, validation accuracy {accuracies}"
    return (
        f"{trained} of {len(kept)} networks trained in {seconds:.1f} s, weights of epochs {', '.join(map(str, kept))}, "
        f"validation accuracy of each {accuracies}"
    )
