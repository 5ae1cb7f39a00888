"""Train the multilayer perceptron of `train.mlp` in params.yaml, into models/mlp.keras.

python -m stages.train_mlp
"""

from stages.learners.models import MLP
from stages.params.views import TrainMlpParams, load_params
from stages.tracking.stage import run_stage
from stages.train_network import train_network


def main() -> None:
    train_network(MLP, load_params(TrainMlpParams))


if __name__ == "__main__":
    run_stage(main, __doc__, publishes=True)
