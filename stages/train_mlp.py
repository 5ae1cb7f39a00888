"""Train the multilayer perceptron of `train.mlp` in params.yaml, into models/mlp.keras.

python -m stages.train_mlp
"""

import time

from stages.dataset.prepared import load_info, load_split
from stages.learners.models import MLP
from stages.params.views import TrainMlpParams, load_params
from stages.process.provenance import cores, cpu_name
from stages.runtime import gpu_name, start_keras
from stages.tracking.stage import run_stage
from stages.tracking.training_run import training_run


def main() -> None:
    params = load_params(TrainMlpParams)
    device = start_keras(params.runtime)

    import keras

    from stages.learners.checkpoint import checkpoint_path, remove_checkpoint, removed_on_user_error
    from stages.learners.keras_file import save_history, save_keras
    from stages.learners.networks import build_mlp
    from stages.learners.training import train

    info, training, validation = load_info(), load_split("train"), load_split("validation")
    network = build_mlp(params.network, info.height, info.width, len(info.class_names))
    network.summary()
    processor = gpu_name() if device == "gpu" else cpu_name()
    print(f"mlp: training on the {device.upper()} ({processor})", flush=True)
    checkpoint = checkpoint_path(MLP, params.resolved(), device)

    with training_run(MLP, params.resolved(), info, training) as run:
        run.set_tags({"runtime.device": device, "runtime.processor": processor, "runtime.cores": str(cores())})
        run.set_tags({"runtime.backend": keras.config.backend()})
        if checkpoint.exists():
            run.set_tags({"runtime.resumed": "true"})
        start = time.perf_counter()
        with removed_on_user_error(checkpoint):
            model, history, kept = train(
                "mlp",
                network,
                params.network,
                training,
                validation,
                seed=params.runtime.seed,
                on_epoch=run.log_epoch,
                checkpoint=checkpoint,
            )
        seconds = time.perf_counter() - start
        save_history(history, MLP.history)
        save_keras(model, MLP.file)
        run.log_metrics({"training_seconds": seconds})
        run.finish()
    print(
        f"mlp: {len(history['val_loss'])} epochs trained in {seconds:.1f} s, weights of epoch {kept}, "
        f"validation accuracy {history['val_accuracy'][kept - 1]:.4f}",
        flush=True,
    )
    # Last: from here on DVC alone keeps the model.
    remove_checkpoint(checkpoint)


if __name__ == "__main__":
    run_stage(main, __doc__)
