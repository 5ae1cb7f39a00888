"""Each stage's typed view of params.yaml, checked as a whole before any of it is used."""

from dataclasses import dataclass, field, fields
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.dataset.prepared import DatasetInfo
from stages.params.errors import explain
from stages.params.schema import Cnn, Explore, Mlp, Params, Preprocess, RandomForest, Runtime
from stages.params.yaml_file import read_yaml
from stages.paths import LOCK, PARAMS
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
    _used.setdefault(PARAMS.absolute(), {}).update({key: _at(content, key) for key in keys})
    return view(**{part.name: _part(params, part.metadata["key"]) for part in fields(view)})


def check_unchanged() -> None:
    """Raise `UserError` where params.yaml has other values by now than this process used, or its code was edited.

    DVC reads both once a stage has ended, and would record what is new for what the old has made.
    """
    check_code()
    used = _used.get(PARAMS.absolute(), {})
    content = read_yaml(PARAMS) if used else {}
    for key, value in used.items():
        if _at(content, key) != value:
            raise UserError(
                f"{PARAMS}: {key or 'it'} was edited while this ran, so what was made is not of these values\n"
                "Run dvc repro again. With the old values back, a finished training of a network is not made anew."
            )


def _part(params: Params, key: str) -> Any:
    return reduce(getattr, filter(None, key.split(".")), params)


def _at(content: Any, key: str) -> Any:
    """Return what stands at the dotted key of a params.yaml with that `content`, None where nothing does."""
    for part in filter(None, key.split(".")):
        content = content.get(part) if isinstance(content, dict) else None
    return content


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


def set_values(content: dict[str, Any], changes: dict[str, Any]) -> None:
    """Set `changes` (dotted keys) in the nested `content` of params.yaml; missing sections are made."""
    for key, value in changes.items():
        *parents, name = key.split(".")
        section = content
        for parent in parents:
            if not isinstance(section.get(parent), dict):
                section[parent] = {}
            section = section[parent]
        section[name] = value


def edit_file(path: Path, changes: dict[str, Any]) -> None:
    """Set `changes` (dotted keys) in the params.yaml at `path`, and leave its comments."""
    yaml = YAML()
    content = yaml.load(path)
    set_values(content, changes)
    yaml.dump(content, path)


def locked_stage(stage: str, output_md5: str) -> dict[str, Any] | None:
    """Return what dvc.lock records of the run of `stage` that made the output; None where it knows no such output."""
    try:
        locked = YAML(typ="safe").load(LOCK.read_text(encoding="utf-8"))["stages"][stage]
        return locked if output_md5 in [out["md5"] for out in locked["outs"]] else None
    except (OSError, YAMLError, KeyError, TypeError):
        return None


def locked_params(view: type[View], locked: dict[str, Any]) -> View | None:
    """Return the `view` of the params of a `locked_stage`, whatever params.yaml says now; None where it has others."""
    try:
        values = locked["params"][str(PARAMS)]
        return view(
            **{part.name: TypeAdapter(part.type).validate_python(values[part.metadata["key"]]) for part in fields(view)}
        )
    except (KeyError, TypeError, ValidationError):
        return None


def check_content(content: Any) -> Params:
    """Return the params of a params.yaml with that `content`; raises `UserError` where they are not valid."""
    if not isinstance(content, dict):
        raise UserError(f"{PARAMS}: must be a mapping of the sections {', '.join(Params.model_fields)}")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{PARAMS}: {explain(error, Params)}") from None
