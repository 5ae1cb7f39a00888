"""Train the multilayer perceptron of `train.mlp` in params.yaml, into models/mlp.keras.

python -m stages.train_mlp
"""

from stages.learners.models import MLP
from stages.params.views import TrainMlpParams, load_params
from stages.runtime import start_keras
from stages.tracking.stage import run_stage


def main() -> None:
    params = load_params(TrainMlpParams)
    device = start_keras(params.runtime)

    from stages.learners.keras_model import train_keras_model

    train_keras_model(MLP, params, device)


if __name__ == "__main__":
    run_stage(main, __doc__)
