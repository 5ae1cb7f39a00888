"""What `train_mlp` and `train_cnn` do: load, train a network, save it and log it."""

import time

from stages.dataset.prepared import load_info, load_split
from stages.learners.models import Model
from stages.params.views import TrainMlpParams, check_fit
from stages.runtime import machine_tags, start_keras
from stages.tracking.training_run import training_run


def train_network(model: Model, params: TrainMlpParams) -> None:
    """Train the network of `params` into the files of `model`; raises `UserError` for data that do not fit."""
    device = start_keras(params.runtime)

    # They import Keras, which now has its backend.
    from stages.learners.checkpoint import checkpointed
    from stages.learners.ensemble import train_networks, training_words
    from stages.learners.history import save_history
    from stages.learners.keras_file import save_keras
    from stages.learners.networks import BUILDERS

    info, training, validation = load_info(), load_split("train"), load_split("validation")
    check_fit(info, len(training.labels))
    network = BUILDERS[model.name](params.network, info.height, info.width, len(info.class_names), info.channels)
    network.summary()
    tags, resolved = machine_tags(params.runtime, device), params.resolved()
    print(f"{model.name}: training on the {device.upper()} ({tags['runtime.processor']})", flush=True)

    with checkpointed(model, resolved, tags) as checkpoint, training_run(model, resolved, info, training) as run:
        run.set_tags(tags | ({"runtime.resumed": "true"} if checkpoint.exists() else {}))
        start = time.perf_counter()
        trained, history, kept = train_networks(
            model.name, network, params.network, training, validation, params.runtime.seed, run.log_epoch, checkpoint
        )
        seconds = time.perf_counter() - start
        save_history(history, model.history)
        save_keras(trained, model.file)
        run.finish(seconds)
    print(training_words(model.name, history, kept, seconds), flush=True)
