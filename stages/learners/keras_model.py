"""What the two Keras train stages have in common: load, build, train, save."""

import time

import keras
import pandas as pd

from stages.dataset.prepared import load_info, load_split
from stages.learners.checkpoint import checkpoint_path, remove_checkpoint
from stages.learners.keras_file import save_keras
from stages.learners.models import Model
from stages.learners.networks import build_network
from stages.learners.training import train
from stages.params.views import TrainCnnParams, TrainMlpParams
from stages.process.errors import UserError
from stages.process.provenance import cores, cpu_name
from stages.runtime import gpu_name
from stages.tracking.training_run import training_run


def train_keras_model(kind: Model, params: TrainMlpParams | TrainCnnParams, device: str) -> None:
    """Train what `params.network` describes; write the model and its history."""
    info = load_info()
    training, validation = load_split("train"), load_split("validation")
    network = build_network(kind.name, params.network, info.height, info.width, len(info.class_names))
    network.summary()
    processor = gpu_name() if device == "gpu" else cpu_name()
    print(f"{kind.name}: training on the {device.upper()} ({processor})", flush=True)

    checkpoint = checkpoint_path(kind, params.resolved(), device)
    with training_run(kind, params.resolved(), info, training) as run:
        run.set_tags(
            {
                "runtime.device": device,
                "runtime.processor": processor,
                "runtime.cores": str(cores()),
                "runtime.backend": keras.config.backend(),
            }
        )
        if checkpoint.exists():
            run.set_tags({"runtime.resumed": "true"})
        start = time.perf_counter()
        try:
            model, history, kept = train(
                kind.name,
                network,
                params.network,
                training,
                validation,
                seed=params.runtime.seed,
                on_epoch=run.log_epoch,
                checkpoint=checkpoint,
            )
        except UserError:
            # From there it would only fail again.
            remove_checkpoint(checkpoint)
            raise
        seconds = time.perf_counter() - start
        epochs = pd.RangeIndex(1, len(history["train_loss"]) + 1, name="epoch")
        kind.history.parent.mkdir(exist_ok=True)
        pd.DataFrame(history, index=epochs).to_csv(kind.history)
        save_keras(model, kind.file)
        run.log_metrics({"training_seconds": seconds})
        run.finish()
    print(
        f"{kind.name}: {len(epochs)} epochs trained in {seconds:.1f} s, weights of epoch {kept}, "
        f"validation accuracy {history['val_accuracy'][kept - 1]:.4f}",
        flush=True,
    )
    # Last: from here on DVC alone keeps the model.
    remove_checkpoint(checkpoint)
