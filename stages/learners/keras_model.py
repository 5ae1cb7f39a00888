"""What the two Keras train stages have in common: load, build, train, save."""

from collections.abc import Callable

import keras
import pandas as pd

from stages.dataset.prepared import load_about, load_split
from stages.learners.storage import save_keras
from stages.learners.training import train
from stages.paths import history as history_path
from stages.paths import keras_model
from stages.provenance import cpu_name
from stages.runtime import gpu_name
from stages.tracking import training_run


def train_keras_model(name: str, stage: str, build: Callable[..., keras.Model], network, runtime, device: str) -> None:
    """Train the network that `build` makes of the params `network`; write the model and its history."""
    about = load_about()
    training, validation = load_split("train"), load_split("validation")
    model = build(network, about.height, about.width, len(about.class_names))
    model.summary()
    processor = gpu_name() if device == "gpu" else cpu_name()
    print(f"{name}: training on the {device.upper()} ({processor})", flush=True)

    used = {**network.model_dump(), "runtime": runtime.model_dump()}
    packages = ("keras", keras.config.backend(), "numpy")
    with training_run(name, stage, used, about, packages) as run:
        run.set_tags(
            {
                "runtime.device": device,
                "runtime.processor": processor,
                "runtime.backend": keras.config.backend(),
            }
        )
        history, kept = train(
            model,
            network,
            training,
            validation,
            seed=runtime.seed,
            on_epoch=run.log_epoch,
        )
        epochs = pd.RangeIndex(1, len(history["train_loss"]) + 1, name="epoch")
        history_path(name).parent.mkdir(exist_ok=True)
        pd.DataFrame(history, index=epochs).to_csv(history_path(name))
        save_keras(model, keras_model(name))
        run.finish(keras_model(name), history_path(name))
    print(
        f"{name}: {len(epochs)} epochs, weights of epoch {kept}, "
        f"validation accuracy {history['val_accuracy'][kept - 1]:.4f}"
    )
