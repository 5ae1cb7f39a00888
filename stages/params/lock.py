"""What dvc.lock records of a stage that made an output, whatever stands in the workspace now."""

from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.params.views import View
from stages.paths import LOCK, PARAMS


def locked_inputs(stage: str, output_md5: str) -> dict[str, str]:
    """Return the md5 of each path that `stage` read to make the output; none where dvc.lock has no such output."""
    return {entry["path"]: entry["md5"] for entry in _locked(stage, output_md5).get("deps", [])}


def locked_params(view: type[View], stage: str, output_md5: str) -> View | None:
    """Return the `view` of the params with which `stage` made the output.

    None where dvc.lock has no such output, or params that are not those of the view.
    """
    try:
        values = _locked(stage, output_md5)["params"][str(PARAMS)]
        return view(
            **{part.name: TypeAdapter(part.type).validate_python(values[part.metadata["key"]]) for part in fields(view)}
        )
    except (KeyError, TypeError, ValidationError):
        return None


def _locked(stage: str, output_md5: str) -> dict[str, Any]:
    try:
        locked = YAML(typ="safe").load(LOCK.read_text(encoding="utf-8"))["stages"][stage]
        return locked if output_md5 in [out["md5"] for out in locked["outs"]] else {}
    except (OSError, YAMLError, KeyError, TypeError):
        return {}
