"""The schema of params.yaml, and each stage's typed view of it.

The schema only checks: it holds no default, so that editing it cannot change what a stage does.
Every `description` says what is allowed, in the words of the error message.
"""

import difflib
from dataclasses import dataclass, field, fields
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

from stages.dataset.catalogue import CATALOGUE
from stages.errors import UserError
from stages.paths import LOCK, PARAMS


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
    Annotated[float, Field(ge=0, le=0.95)] | list[Annotated[float, Field(ge=0, le=0.95)]],
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
    learning_rate: float = Field(gt=0, le=10, description="a number above 0, at most 10")
    schedule: _choice("constant", "cosine", "one_cycle")


class Augmentation(Section):
    shift: Extent
    rotation: float = Field(ge=0, le=180, description="a number, 0 … 180")
    zoom: Extent
    shear: Extent
    elastic: Extent


class Network(Section):
    """What the two Keras models have in common."""

    hidden_units: list[Count] = Field(description="a list of integers, 1 … 1000000")
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

    @property
    def dropout_per_layer(self) -> list[float]:
        """One share per hidden layer."""
        if isinstance(self.dropout, list):
            return self.dropout
        return [self.dropout] * len(self.hidden_units)


class Mlp(Network):
    pass


class Block(Section):
    filters: Count
    kernel_size: Side
    strides: Side
    padding: _choice("same", "valid")
    pool_size: Side
    dropout: Share

    def output_side(self, side: int) -> int:
        """Pixels per side of the block's maps for an input of `side`; below 1 where it does not fit."""
        side = -(-side // self.strides) if self.padding == "same" else (side - self.kernel_size) // self.strides + 1
        return side // self.pool_size


class Cnn(Network):
    blocks: list[Block] = Field(min_length=1, description="a list of at least one block")
    global_pooling: _choice("none", "average", "max")


class RandomForest(Section):
    features: _choice("pixels", "gradient_histograms")
    n_estimators: Count
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
        validation = int(dataset.train_count * self.preprocess.validation_fraction)
        if validation < 2 * len(dataset.class_names):
            raise ValueError(
                f"preprocess.validation_fraction: leaves {validation} images of {dataset.name} for "
                f"validation, too few for its {len(dataset.class_names)} classes; raise it"
            )
        samples = self.train.random_forest.train_samples
        if samples is not None and samples > dataset.train_count - validation:
            raise ValueError(
                f"train.random_forest.train_samples: {samples} of {dataset.name}'s "
                f"{dataset.train_count - validation} training images; lower it, or null for all"
            )
        features = self.train.random_forest.max_features
        # 3x3 overlapping blocks of 2x2 cells with 9 orientations, whatever the size of the image.
        histograms = self.train.random_forest.features == "gradient_histograms"
        available = 324 if histograms else dataset.height * dataset.width
        if isinstance(features, int) and features > available:
            raise ValueError(
                f"train.random_forest.max_features: {features} of {dataset.name}'s "
                f"{available} {'gradient histogram values' if histograms else 'pixels'}; lower it"
            )
        side = min(dataset.height, dataset.width)
        for number, block in enumerate(self.train.cnn.blocks):
            side_before, side = side, block.output_side(side)
            if side < 1:
                raise ValueError(
                    f"train.cnn.blocks.{number}: its filters and pooling do not fit the "
                    f"{side_before}x{side_before} maps that reach it from {dataset.name}'s "
                    f"{dataset.height}x{dataset.width} images; lower kernel_size, strides or pool_size"
                )
        return self


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
    params = _validated(_read_yaml())
    return view(**{part.name: _resolve(params, part.metadata["key"]) for part in fields(view)})


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


def _read_yaml() -> Any:
    # The YAML version that DVC reads the file with; not its parser, which has no such messages.
    try:
        return YAML(typ="safe", pure=True).load(PARAMS.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{PARAMS}{line}: not valid YAML: {_first_line(error.problem)}") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{PARAMS}: not valid YAML: {_first_line(error)}") from None
    except OSError as error:
        raise UserError(f"{PARAMS}: cannot be read: {error.strerror}") from None


def _first_line(error: object) -> str:
    return (str(error).strip() or "unreadable").splitlines()[0]


def _validated(content: Any) -> Params:
    if not isinstance(content, dict):
        raise UserError(f"{PARAMS}: must be a mapping of the sections {', '.join(Params.model_fields)}")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        details = error.errors(include_url=False)
    except RecursionError:
        raise UserError(f"{PARAMS}: nested too deep") from None
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
    text = str(value) if bare else repr(value)
    text = {"None": "null", "True": "true", "False": "false"}.get(text, text)
    return text if len(text) <= 60 else text[:57] + "…"
