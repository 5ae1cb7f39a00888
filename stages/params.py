"""The schema of params.yaml, and each stage's typed view of it.

The schema only checks: it holds no default, so that editing it cannot change what a stage does.
Every `description` says what is allowed, in the words of the error message.
"""

import itertools
import math
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.dataset.catalogue import CATALOGUE, Dataset
from stages.errors import UserError
from stages.params_errors import explain
from stages.paths import LOCK, PARAMS
from stages.yaml_file import read_yaml

# Blocks, and hidden layers: deeper networks do not learn without residual connections, and take minutes to start.
MAX_LAYERS = 20
# Each takes 44 bytes in training (measured): its gradient, two moments of Adam, copies for the checkpoint.
MAX_WEIGHTS = 50_000_000
# What the layers hand on in one step, kept for the gradients: 9 bytes each (measured).
MAX_VALUES = 500_000_000


class Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def _choice(*values: str) -> Any:
    return Annotated[Literal[values], Field(description=" | ".join(values))]


Flag = Annotated[bool, Field(description="true | false")]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1, description="an integer, 0 … 4294967295")]
Count = Annotated[int, Field(ge=1, le=1_000_000, description="an integer, 1 … 1000000")]
Side = Annotated[int, Field(ge=1, le=1_000, description="an integer, 1 … 1000")]
OptionalCount = Annotated[
    Annotated[int, Field(ge=1, le=1_000_000)] | None,
    Field(description="an integer, 1 … 1000000, or null"),
]
Penalty = Annotated[float, Field(ge=0, le=100, description="a number, 0 … 100")]
Share = Annotated[float, Field(ge=0, le=0.95, description="a number, 0 … 0.95")]
Fraction = Annotated[float, Field(ge=0, le=1, description="a number, 0 … 1")]
Shares = Annotated[
    Annotated[float, Field(ge=0, le=0.95)]
    | Annotated[list[Annotated[float, Field(ge=0, le=0.95)]], Field(max_length=MAX_LAYERS)],
    Field(description="a number, 0 … 0.95, or a list of one per hidden layer"),
]
Activation = _choice("relu", "elu", "gelu", "leaky_relu", "selu", "sigmoid", "silu", "softplus", "tanh")


Extent = Annotated[float, Field(ge=0, le=0.5, description="a number, 0 … 0.5")]


class Data(Section):
    name: _choice(*CATALOGUE)
    offline: _choice("sample", "fail")


class Preprocess(Section):
    validation_fraction: float = Field(gt=0, le=0.5, description="a number above 0, at most 0.5")
    seed: Seed
    deskew: Flag


class Explore(Section):
    sample_size: int = Field(ge=50, le=1_000_000, description="an integer, 50 … 1000000")
    umap: Flag
    seed: Seed


class Runtime(Section):
    seed: Seed
    device: _choice("auto", "cpu", "gpu")
    precision: _choice("float32", "mixed_bfloat16", "mixed_float16")


class Optimizer(Section):
    name: _choice("adadelta", "adagrad", "adam", "adamax", "nadam", "rmsprop", "sgd")
    # Below that float32 has no digit left for the step, and the weights stay as they are.
    learning_rate: float = Field(ge=1e-8, le=10, description="a number, 0.00000001 … 10")
    schedule: _choice("constant", "cosine", "one_cycle")


class Augmentation(Section):
    shift: Extent
    rotation: float = Field(ge=0, le=180, description="a number, 0 … 180")
    zoom: Extent
    shear: Extent
    # Three times that leaves nothing of a digit: networks learn no more than chance (measured).
    elastic: float = Field(ge=0, le=0.2, description="a number, 0 … 0.2")


class Network(Section):
    """What the two Keras models have in common."""

    hidden_units: list[Count] = Field(
        max_length=MAX_LAYERS, description=f"a list of integers, 1 … 1000000, at most {MAX_LAYERS} of them"
    )
    activation: Activation
    dropout: Shares
    batch_norm: Flag
    l1: Penalty
    l2: Penalty
    augmentation: Augmentation
    test_time_shift: int = Field(ge=0, le=3, description="an integer, 0 … 3")
    optimizer: Optimizer
    epochs: Count
    batch_size: Count
    early_stopping_patience: OptionalCount
    weights: _choice("last", "best")

    @model_validator(mode="after")
    def _one_dropout_per_layer(self):
        if isinstance(self.dropout, list) and len(self.dropout) != len(self.hidden_units):
            raise ValueError(
                f"dropout: {len(self.dropout)} values for {len(self.hidden_units)} hidden_units; "
                "give one number for all or one per layer"
            )
        return self

    @model_validator(mode="after")
    def _normalizes_more_than_one_image(self):
        if self.batch_norm and self.batch_size == 1:
            raise ValueError(
                "batch_size: 1 with batch_norm: true, which makes 0 of every value of a lone image; "
                "raise it, or batch_norm: false"
            )
        return self

    def _dense_size(self, inputs: int, classes: int) -> tuple[int, int]:
        layers = [inputs, *self.hidden_units, classes]
        return sum(before * after for before, after in itertools.pairwise(layers)), sum(layers)


class Mlp(Network):
    def size(self, side: int, classes: int) -> tuple[int, int]:
        """Return its weights, without biases, and the values that its layers hand on for an image of `side`."""
        return self._dense_size(side**2, classes)


class Block(Section):
    filters: Count
    kernel_size: Side
    strides: Side
    padding: _choice("same", "valid")
    pool_size: Side
    dropout: Share

    def convolved_side(self, side: int) -> int:
        """Pixels per side of the block's maps before pooling, for an input of `side`."""
        return -(-side // self.strides) if self.padding == "same" else (side - self.kernel_size) // self.strides + 1

    def output_side(self, side: int) -> int:
        """Pixels per side of the block's maps for an input of `side`; below 1 where it does not fit."""
        return self.convolved_side(side) // self.pool_size

    def fits(self, side: int) -> bool:
        """Whether an input of `side` leaves an output, and no weight of a filter sees nothing but padding."""
        return self.kernel_size < 2 * side and self.strides <= side and self.output_side(side) >= 1


class Cnn(Network):
    blocks: list[Block] = Field(min_length=1, max_length=MAX_LAYERS, description=f"a list of 1 … {MAX_LAYERS} blocks")
    global_pooling: _choice("none", "average", "max")

    def size(self, side: int, classes: int) -> tuple[int, int]:
        """Return its weights, without biases, and the values that its layers hand on for an image of `side`."""
        channels, weights, values = 1, 0, side**2
        for block in self.blocks:
            weights += block.kernel_size**2 * channels * block.filters
            channels = block.filters
            values += block.convolved_side(side) ** 2 * channels
            side = block.output_side(side)
        dense_weights, dense_values = self._dense_size(
            channels * (side**2 if self.global_pooling == "none" else 1), classes
        )
        return weights + dense_weights, values + dense_values


class RandomForest(Section):
    features: _choice("pixels", "gradient_histograms")
    # A tree of full MNIST takes more than a megabyte of memory.
    n_estimators: int = Field(ge=1, le=2_000, description="an integer, 1 … 2000")
    max_features: (
        Literal["sqrt", "log2"] | Annotated[int, Field(ge=1, le=1_000_000)] | Annotated[float, Field(gt=0, le=1)]
    ) = Field(description="sqrt | log2 | a number above 0, at most 1.0 | an integer from 1")
    max_depth: OptionalCount
    min_samples_leaf: Count
    bootstrap: Flag
    train_samples: Annotated[int, Field(ge=10, le=1_000_000)] | None = Field(
        description="an integer, 10 … 1000000, or null"
    )


class Train(Section):
    mlp: Mlp
    cnn: Cnn
    random_forest: RandomForest


class Accuracies(Section):
    mlp: Fraction
    cnn: Fraction
    random_forest: Fraction


AccuraciesByDataSet = create_model(
    "AccuraciesByDataSet", __base__=Section, **dict.fromkeys(CATALOGUE, (Accuracies, ...))
)


class Gate(Section):
    enforce: Flag
    minimum_accuracy: AccuraciesByDataSet


class Params(Section):
    data: Data
    preprocess: Preprocess
    explore: Explore
    runtime: Runtime
    train: Train
    gate: Gate

    @model_validator(mode="after")
    def _fits_the_data_set(self):
        dataset = CATALOGUE[self.data.name]
        # Rounded up, as scikit-learn splits.
        validation = math.ceil(dataset.train_count * self.preprocess.validation_fraction)
        if validation < 2 * len(dataset.class_names):
            raise ValueError(
                f"preprocess.validation_fraction: leaves {validation} images of {dataset.name} for "
                f"validation, too few for its {len(dataset.class_names)} classes; raise it"
            )
        training = dataset.train_count - validation
        self._check_forest(dataset, training)
        side = min(dataset.height, dataset.width)
        side_before = side
        for number, block in enumerate(self.train.cnn.blocks):
            if not block.fits(side_before):
                raise ValueError(
                    f"train.cnn.blocks.{number}: its filters and pooling do not fit the "
                    f"{side_before}x{side_before} maps that reach it from {dataset.name}'s "
                    f"{dataset.height}x{dataset.width} images; lower kernel_size, strides or pool_size"
                )
            side_before = block.output_side(side_before)
        for name, network, remedy in (
            ("mlp", self.train.mlp, "hidden_units"),
            ("cnn", self.train.cnn, "filters, kernel_size or hidden_units"),
        ):
            weights, values = network.size(side, len(dataset.class_names))
            if weights > MAX_WEIGHTS:
                raise ValueError(
                    f"train.{name}: has {weights:,} weights for {dataset.name}'s images, more than "
                    f"{MAX_WEIGHTS:,}; lower {remedy}"
                )
            step = values * min(network.batch_size, training)
            if step > MAX_VALUES:
                raise ValueError(
                    f"train.{name}.batch_size: {network.batch_size} images are {step:,} values in the layers, more "
                    f"than {MAX_VALUES:,}; lower it, or {remedy}"
                )
        return self

    def _check_forest(self, dataset: Dataset, training: int) -> None:
        forest = self.train.random_forest
        samples = forest.train_samples
        # One of each class must be left out, or all be taken: so are they drawn.
        most = training - len(dataset.class_names)
        if samples is not None and samples != training and samples > most:
            raise ValueError(
                f"train.random_forest.train_samples: {samples} of {dataset.name}'s "
                f"{training} training images; lower it to at most {most}, or null for all"
            )
        if 2 * forest.min_samples_leaf > (samples or training):
            raise ValueError(
                f"train.random_forest.min_samples_leaf: {forest.min_samples_leaf} of {samples or training} training "
                "images leaves no tree a split; lower it to at most half of them"
            )
        # 3x3 overlapping blocks of 2x2 cells with 9 orientations, whatever the size of the image.
        histograms = forest.features == "gradient_histograms"
        available = 324 if histograms else dataset.height * dataset.width
        if isinstance(forest.max_features, int) and forest.max_features > available:
            raise ValueError(
                f"train.random_forest.max_features: {forest.max_features} of {dataset.name}'s "
                f"{available} {'gradient histogram values' if histograms else 'pixels'}; lower it"
            )


def _key(path: str) -> Any:
    return field(metadata={"key": path})


@dataclass(frozen=True)
class DownloadParams:
    data: Data = _key("data")


@dataclass(frozen=True)
class PreprocessParams:
    preprocess: Preprocess = _key("preprocess")


@dataclass(frozen=True)
class ExploreParams:
    explore: Explore = _key("explore")


@dataclass(frozen=True)
class TrainMlpParams:
    network: Mlp = _key("train.mlp")
    runtime: Runtime = _key("runtime")

    def resolved(self) -> dict[str, Any]:
        """Return all that the training depends on, as MLflow shows it."""
        return {**self.network.model_dump(), "runtime": self.runtime.model_dump()}


@dataclass(frozen=True)
class TrainCnnParams:
    network: Cnn = _key("train.cnn")
    runtime: Runtime = _key("runtime")

    resolved = TrainMlpParams.resolved


@dataclass(frozen=True)
class TrainRandomForestParams:
    forest: RandomForest = _key("train.random_forest")
    seed: int = _key("runtime.seed")

    def resolved(self) -> dict[str, Any]:
        """Return all that the training depends on, as MLflow shows it."""
        return {**self.forest.model_dump(), "runtime": {"seed": self.seed}}


@dataclass(frozen=True)
class EvaluateParams:
    """The whole file: `evaluate` prints it in the report."""

    params: Params = _key("")


View = TypeVar("View")


def load_params(view: type[View]) -> View:
    """Check the whole of params.yaml and return the `view` of it; raises `UserError` for any mistake in it."""
    params = _validated(read_yaml(PARAMS))
    return view(**{part.name: _resolve(params, part.metadata["key"]) for part in fields(view)})


def check_params(changes: dict[str, Any]) -> None:
    """Raise `UserError` unless params.yaml is valid, both as it stands and with `changes` (dotted keys) to it."""
    content = read_yaml(PARAMS)
    _validated(content)
    set_values(content, changes)
    _validated(content)


def set_values(content: dict[str, Any], changes: dict[str, Any]) -> None:
    """Set `changes` (dotted keys) in the nested `content` of params.yaml; what is missing above a key is made."""
    for key, value in changes.items():
        *parents, name = key.split(".")
        section = content
        for parent in parents:
            if not isinstance(section.get(parent), dict):
                section[parent] = {}
            section = section[parent]
        section[name] = value


def locked_params(view: type[View], stage: str, output_md5: str) -> View | None:
    """Return the `view` of the params that dvc.lock records for `stage`; None where it knows no such output.

    They made the output, whatever params.yaml says now.
    """
    try:
        locked = YAML(typ="safe", pure=True).load(LOCK.read_text(encoding="utf-8"))["stages"][stage]
        if output_md5 not in [out["md5"] for out in locked["outs"]]:
            return None
        values = locked["params"][str(PARAMS)]
        return view(
            **{part.name: TypeAdapter(part.type).validate_python(values[part.metadata["key"]]) for part in fields(view)}
        )
    except (OSError, YAMLError, KeyError, TypeError, ValidationError):
        return None


def _resolve(params: Params, key: str) -> Any:
    value: Any = params
    for name in filter(None, key.split(".")):
        value = getattr(value, name)
    return value


def _validated(content: Any) -> Params:
    if not isinstance(content, dict):
        raise UserError(f"{PARAMS}: must be a mapping of the sections {', '.join(Params.model_fields)}")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{PARAMS}: {explain(error, Params)}") from None
