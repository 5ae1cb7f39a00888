"""Train the convolutional network of `train.cnn` in params.yaml, into models/cnn.keras.

python -m stages.train_cnn
"""

from stages.learners.models import CNN
from stages.params.views import TrainCnnParams, load_params
from stages.tracking.stage import run_stage
from stages.train_network import train_network


def main() -> None:
    train_network(CNN, load_params(TrainCnnParams))


if __name__ == "__main__":
    run_stage(main, __doc__, publishes=True)
