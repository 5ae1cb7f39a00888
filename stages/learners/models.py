"""The registry of the models: their names, and the places of their files."""

from dataclasses import dataclass
from pathlib import Path

from stages.params import views
from stages.paths import MODELS, REPORTS

# It deskews and augments images, and finds their gradients.
OPENCV = "opencv-python-headless"
KERAS = ("keras", "tensorflow", "numpy", OPENCV)
SCIKIT_LEARN = ("scikit-learn", "numpy", OPENCV)


@dataclass(frozen=True)
class Model:
    """`name` is the one in reports/ and params.yaml, and the stem of `file`.

    The weights come from the `packages`, which also load them. `history` is None where there are no epochs.
    """

    name: str
    title: str
    view: type
    file: Path
    packages: tuple[str, ...]
    history: Path | None = None

    @property
    def run_name(self) -> str:
        return self.name.replace("_", "-")

    @property
    def stage(self) -> str:
        return f"train-{self.run_name}"

    @property
    def reports(self) -> Path:
        return REPORTS / self.name


MLP = Model("mlp", "MLP", views.TrainMlpParams, MODELS / "mlp.keras", KERAS, MODELS / "mlp_history.csv")
CNN = Model("cnn", "CNN", views.TrainCnnParams, MODELS / "cnn.keras", KERAS, MODELS / "cnn_history.csv")
RANDOM_FOREST = Model(
    "random_forest",
    "Random forest",
    views.TrainRandomForestParams,
    MODELS / "random_forest.skops",
    (*SCIKIT_LEARN, "skops"),
)
ALL_MODELS = (MLP, CNN, RANDOM_FOREST)
