"""Train the convolutional network of `train.cnn` in params.yaml, into models/cnn.keras.

python -m stages.train_cnn
"""

from stages.errors import run_stage
from stages.params import TrainCnnParams, load_params
from stages.runtime import start_keras


def main() -> None:
    params = load_params(TrainCnnParams)
    device = start_keras(params.runtime)

    from stages.learners.keras_model import train_keras_model
    from stages.learners.networks import build_cnn

    train_keras_model("cnn", "train-cnn", build_cnn, params.network, params.runtime, device)


if __name__ == "__main__":
    run_stage(main, __doc__)
