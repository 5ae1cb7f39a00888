"""Train the convolutional network of `train.cnn` in params.yaml, into models/cnn.keras.

python -m stages.train_cnn
"""

from stages.learners.models import CNN
from stages.params.views import TrainCnnParams, load_params
from stages.runtime import start_keras
from stages.tracking.stage import run_stage


def main() -> None:
    params = load_params(TrainCnnParams)
    device = start_keras(params.runtime)

    from stages.learners.keras_model import train_keras_model

    train_keras_model(CNN, params, device)


if __name__ == "__main__":
    run_stage(main, __doc__)
