"""Each stage's typed view of params.yaml, checked as a whole before any of it is used."""

from dataclasses import dataclass, field, fields
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from stages.dataset.prepared import DatasetInfo
from stages.params.dotted import set_values, value_at
from stages.params.errors import explain
from stages.params.schema import Cnn, Explore, Mlp, Params, Preprocess, RandomForest, Runtime
from stages.params.yaml_file import read_yaml
from stages.paths import PARAMS
from stages.process.code import check_code
from stages.process.errors import UserError


def _key(path: str) -> Any:
    return field(metadata={"key": path})


@dataclass(frozen=True)
class DownloadParams:
    name: str = _key("data.name")
    offline: str = _key("data.offline")


@dataclass(frozen=True)
class PreprocessParams:
    name: str = _key("data.name")
    size: list[int] | None = _key("data.size")
    channels: int | None = _key("data.channels")
    resize: str = _key("data.resize")
    test_fraction: float = _key("data.test_fraction")
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
class TrainCnnParams(TrainMlpParams):
    network: Cnn = _key("train.cnn")


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


# What this process has read of a params.yaml, by its whole path and by dotted key.
_used: dict[Path, dict[str, Any]] = {}


def load_params(view: type[View]) -> View:
    """Check the whole of params.yaml and return the `view` of it; raises `UserError` for any mistake in it."""
    content = read_yaml(PARAMS)
    params = check_content(content)
    keys = [part.metadata["key"] for part in fields(view)]
    _used.setdefault(PARAMS.absolute(), {}).update({key: value_at(content, key) for key in keys})
    return view(**{part.name: _part(params, part.metadata["key"]) for part in fields(view)})


def check_unchanged() -> None:
    """Raise `UserError` where params.yaml has other values by now than this process used, or its code was edited.

    DVC reads both once a stage has ended, and would record what is new for what the old has made.
    """
    check_code()
    used = _used.get(PARAMS.absolute(), {})
    content = read_yaml(PARAMS) if used else {}
    for key, value in used.items():
        if value_at(content, key) != value:
            raise UserError(
                f"{PARAMS}: {key or 'it'} was edited while this ran, so what was made is not of these values\n"
                "Run dvc repro again. With the old values back, a finished training of a network is not made anew."
            )


def _part(params: Params, key: str) -> Any:
    return reduce(getattr, filter(None, key.split(".")), params)


def check_fit(info: DatasetInfo, training: int) -> None:
    """Raise `UserError` unless the models of params.yaml can train on so many `training` images of these data."""
    try:
        check_content(read_yaml(PARAMS)).check_fit(info, training)
    except ValueError as error:
        raise UserError(f"{PARAMS}: {error}") from None


def check_params(changes: dict[str, Any]) -> None:
    """Raise `UserError` unless params.yaml is valid, both as it stands and with `changes` (dotted keys) to it."""
    content = read_yaml(PARAMS)
    check_content(content)
    set_values(content, changes)
    check_content(content)


def check_content(content: Any) -> Params:
    """Return the params of a params.yaml with that `content`; raises `UserError` where they are not valid."""
    if not isinstance(content, dict):
        raise UserError(f"{PARAMS}: must be a mapping of the sections {', '.join(Params.model_fields)}")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{PARAMS}: {explain(error, Params)}") from None
