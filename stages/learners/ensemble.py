"""The model of a training: one network, or several with other seeds, whose answers are averaged."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from stages.dataset.prepared import Split
from stages.learners.checkpoint import HISTORY
from stages.learners.networks import averaged
from stages.learners.training import train
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
) -> tuple[keras.Model, dict[str, list[float]], int]:
    """Train `network` and as many like it as `params.networks` says; return their model, history and epoch (from 1).

    The model's probabilities are the mean over the networks and over `params.test_time_shift`. (Lakshminarayanan,
    Pritzel & Blundell, "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles", 2017.) The first
    network has the `seed`, the others have seeds made of it. They are trained one after the other by `train`, and the
    epochs are counted through: history and `on_epoch` have those of the second network after those of the first, each
    with the values of that network alone, and the epoch returned is the last network's.
    """
    networks, history, kept = [], {metric: [] for metric in HISTORY}, 0
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
        history = {metric: history[metric] + own_history[metric] for metric in HISTORY}
        networks, kept = [*networks, one], before + best
    return averaged(networks, params.test_time_shift), history, kept
