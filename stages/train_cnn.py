"""Train the convolutional network of `train.cnn` in params.yaml, into models/cnn.keras.

python -m stages.train_cnn
"""

import time

from stages.dataset.prepared import load_info, load_split
from stages.learners.models import CNN
from stages.params.views import TrainCnnParams, check_fit, load_params
from stages.runtime import machine_tags, start_keras
from stages.tracking.stage import run_stage
from stages.tracking.training_run import training_run


def main() -> None:
    params = load_params(TrainCnnParams)
    device = start_keras(params.runtime)

    from stages.learners.checkpoint import checkpointed
    from stages.learners.ensemble import train_networks, training_words
    from stages.learners.history import save_history
    from stages.learners.keras_file import save_keras
    from stages.learners.networks import build_cnn

    info, training, validation = load_info(), load_split("train"), load_split("validation")
    check_fit(info, len(training.labels))
    network = build_cnn(params.network, info.height, info.width, len(info.class_names), info.channels)
    network.summary()
    tags, resolved = machine_tags(params.runtime, device), params.resolved()
    print(f"cnn: training on the {device.upper()} ({tags['runtime.processor']})", flush=True)

    with checkpointed(CNN, resolved, tags) as checkpoint, training_run(CNN, resolved, info, training) as run:
        run.set_tags(tags | ({"runtime.resumed": "true"} if checkpoint.exists() else {}))
        start = time.perf_counter()
        model, history, kept = train_networks(
            CNN.name, network, params.network, training, validation, params.runtime.seed, run.log_epoch, checkpoint
        )
        seconds = time.perf_counter() - start
        save_history(history, CNN.history)
        save_keras(model, CNN.file)
        run.finish(seconds)
    print(training_words(CNN.name, history, kept, seconds), flush=True)


if __name__ == "__main__":
    run_stage(main, __doc__, publishes=True)
