"""The schema of params.yaml, and each stage's typed view of it.

The schema only checks: it holds no default, so that editing it cannot change what a stage does.
Every `description` says what is allowed, in the words of the error message.
"""

import difflib
import itertools
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

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
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent

from stages.dataset.catalogue import CATALOGUE, Dataset
from stages.errors import UserError
from stages.paths import LOCK, PARAMS

# Seven times this project's own file, and less than a second of the parser's time.
MAX_BYTES = 50_000
# Twice that of this project's own; the parser's time grows with its square.
MAX_DEPTH = 12
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

    @property
    def dropout_per_layer(self) -> list[float]:
        """One share per hidden layer."""
        if isinstance(self.dropout, list):
            return self.dropout
        return [self.dropout] * len(self.hidden_units)

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

    def minimum(self, dataset: str, model: str) -> float:
        """Return the accuracy that `model` must reach on `dataset`."""
        return getattr(getattr(self.minimum_accuracy, dataset), model)


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


# Pydantic's words for a key that is not in the schema, and for one that is no text.
UNKNOWN = ("extra_forbidden", "invalid_key")


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


def read_yaml(path: Path) -> Any:
    """Return what stands in a YAML file that a user edits; raises `UserError` for one that cannot be read.

    Anchors and aliases are refused: DVC's --set-param would change every place that shares a value, and few lines of
    them stand for more values than memory holds.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: is longer than {MAX_BYTES:,} bytes; it should hold params, no data")
    try:
        text, depth = content.decode("utf-8"), 0
        for event in _yaml().parse(text):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise UserError(f"{path}, line {event.start_mark.line + 1}: nested too deep")
            if getattr(event, "anchor", None) is not None:
                raise UserError(
                    f"{path}, line {event.start_mark.line + 1}: the anchor or alias {_line(event.anchor)} is not "
                    "allowed; write every value in its place"
                )
        return _yaml().load(text)
    except UserError:
        raise
    except MarkedYAMLError as error:
        mark = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{mark}: not valid YAML: {_line(error.problem)}") from None
    except Exception as error:
        # Beside its own errors the parser lets through what Python says of its values: `!!int ""` is an IndexError.
        raise UserError(f"{path}: not valid YAML: {_line(error) or type(error).__name__}") from None


def _yaml() -> YAML:
    # The YAML version that DVC reads the file with; not its parser, which has no such messages.
    return YAML(typ="safe", pure=True)


def _line(text: object, limit: int = 160) -> str:
    """Return `text` as one line that is no longer than `limit`, and without what a terminal would act upon."""
    line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in str(text)[: limit + 1])
    return line if len(line) <= limit else f"{line[: limit - 3]}…"


def _validated(content: Any) -> Params:
    if not isinstance(content, dict):
        raise UserError(f"{PARAMS}: must be a mapping of the sections {', '.join(Params.model_fields)}")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        details = error.errors(include_url=False)
    # A misspelt key is both unknown and missing: the unknown one says more, and names the other.
    details.sort(key=lambda detail: detail["type"] not in UNKNOWN)
    messages: dict[str, str] = {}
    for detail in details:
        path, message = _problem(detail)
        if detail["type"] != "missing" or not any(path in known for known in messages.values()):
            messages.setdefault(path, message)
    first, *others = messages.values()
    more = f"\n({len(others)} more like this)" if others else ""
    raise UserError(f"{PARAMS}: {first}{more}")


def _problem(detail: Any) -> tuple[str, str]:
    """Return the dotted key and the message."""
    path, section, name = _locate(detail["loc"])
    if detail["type"] in UNKNOWN:
        return _unknown_key(detail["loc"])
    if detail["type"] == "value_error":
        return path, ".".join(filter(None, (path, str(detail["ctx"]["error"]))))
    if detail["type"] == "missing":
        return path, f"{path}: this key is missing; {_allowed(section, name)}"
    given = _shorten(detail["input"])
    hint = _nearest(section, name, detail)
    return path, f"{path}: {given} is not allowed; {_allowed(section, name)}{hint}"


def _locate(loc: tuple) -> tuple[str, type[Section], str | None]:
    """Return the dotted key of a pydantic location, the section it stands in and its name there.

    Behind a key pydantic also names the member of a union that it tried: cut off here.
    """
    section: type[Section] | None = Params
    parts: list[str] = []
    owner, name = Params, None
    for part in loc:
        if isinstance(part, int):
            parts.append(str(part))
            continue
        if section is None or part not in section.model_fields:
            break
        parts.append(part)
        owner, name = section, part
        section = _subsection(section.model_fields[part].annotation)
    return ".".join(parts), owner, name


def _subsection(annotation: Any) -> type[Section] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def _allowed(section: type[Section], name: str | None) -> str:
    if name is None:
        return "allowed: a mapping"
    about = section.model_fields[name]
    subsection = _subsection(about.annotation)
    if about.description is None and subsection is not None:
        return f"allowed: a mapping of {', '.join(subsection.model_fields)}"
    return f"allowed: {about.description}"


def _nearest(section: type[Section], name: str | None, detail: Any) -> str:
    if detail["type"] != "literal_error" or not isinstance(detail["input"], str):
        return ""
    choices = str(section.model_fields[name].description).split(" | ")
    near = difflib.get_close_matches(detail["input"].lower(), choices, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _unknown_key(loc: tuple) -> tuple[str, str]:
    *parents, key = (str(part) for part in loc)
    section: type[Section] = Params
    for part in parents:
        if not part.isdigit():
            section = _subsection(section.model_fields[part].annotation) or section
    parent = "".join(f"{part}." for part in parents)
    names = list(section.model_fields)
    near = [parent + name for name in difflib.get_close_matches(key.lower(), names, n=1, cutoff=0.65)]
    if not near:
        # The right key in the wrong section.
        near = [known for known in _all_keys(Params) if known.rpartition(".")[2] == key][:1]
    hint = f"did you mean {near[0]}? " if near else ""
    path = parent + _shorten(key, bare=True)
    return path, f"{path}: unknown key; {hint}allowed: {', '.join(names)}"


def _all_keys(section: type[Section], prefix: str = "") -> list[str]:
    keys = []
    for name, about in section.model_fields.items():
        keys.append(prefix + name)
        subsection = _subsection(about.annotation)
        if subsection is not None:
            keys += _all_keys(subsection, f"{prefix}{name}.")
    return keys


def _shorten(value: Any, bare: bool = False) -> str:
    try:
        text = str(value) if bare else repr(value)
    except ValueError:
        # Python writes no more than 4,300 of an integer's digits.
        text = "a number of thousands of digits"
    return _line({"None": "null", "True": "true", "False": "false"}.get(text, text), 60)
