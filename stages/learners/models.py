"""The three models: what they are called, and where their files lie."""

import os
from dataclasses import dataclass
from pathlib import Path

from stages.params.views import TrainCnnParams, TrainMlpParams, TrainRandomForestParams
from stages.paths import MODELS, REPORTS

# It deskews and augments images, and finds their gradients.
OPENCV = "opencv-python-headless"


@dataclass(frozen=True)
class Model:
    """`name` is the one in reports/ and params.yaml; `history` is None where there are no epochs."""

    name: str
    title: str
    view: type
    file: Path
    history: Path | None

    @property
    def run_name(self) -> str:
        return self.name.replace("_", "-")

    @property
    def stage(self) -> str:
        return f"train-{self.run_name}"

    @property
    def reports(self) -> Path:
        return REPORTS / self.name

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that its weights come from, and that it needs to be loaded."""
        if self.history is None:
            return ("scikit-learn", "skops", "numpy", OPENCV)
        return ("keras", os.environ.get("KERAS_BACKEND", "tensorflow"), "numpy", OPENCV)


MLP = Model("mlp", "MLP", TrainMlpParams, MODELS / "mlp.keras", MODELS / "mlp_history.csv")
CNN = Model("cnn", "CNN", TrainCnnParams, MODELS / "cnn.keras", MODELS / "cnn_history.csv")
RANDOM_FOREST = Model("random_forest", "Random forest", TrainRandomForestParams, MODELS / "random_forest.skops", None)
ALL_MODELS = (MLP, CNN, RANDOM_FOREST)
