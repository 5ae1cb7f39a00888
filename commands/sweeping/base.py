"""All that a sweep's stage depends on besides the params that the sweep proposes: while it stays, trials compare."""

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from commands.sweeping.file import Sweep
from commands.sweeping.space import fixed_params, params_content
from stages.fingerprints import file_md5
from stages.params.dotted import flat, set_values, value_at
from stages.params.yaml_file import read_yaml
from stages.paths import PARAMS

PIPELINE = Path("dvc.yaml")


def base_of(sweep: Sweep) -> dict[str, Any]:
    """Return the fingerprint of each module, data set and package, and each param, by its path or dotted key.

    They are those that dvc.yaml declares for the stage and for the stages before it. Raises `UserError` for a
    params.yaml or a recipe that is not in order, as while an editor writes it.
    """
    params = params_content()
    set_values(params, fixed_params(sweep))
    stages = read_yaml(PIPELINE)["stages"]
    found: dict[str, Any] = {}
    for stage in _with_those_before(sweep.stage, stages):
        made = {path for other in stages.values() for path in _outputs(other)}
        for path in stages[stage].get("deps", []):
            if path not in made:
                found |= _fingerprints(Path(_filled_in(path, params)))
        for file, key in _param_keys(stages[stage]):
            value = value_at(params if file == PARAMS.name else _toml(Path(file)), key)
            found |= flat({key if file == PARAMS.name else f"{file}: {key}": value})
    return {key: value for key, value in found.items() if not _is_swept(key, sweep)}


def keys_read(sweep: Sweep) -> list[str]:
    """Return the dotted keys of params.yaml that the stage and those before it read, each once."""
    stages = read_yaml(PIPELINE)["stages"]
    keys = (
        key
        for stage in _with_those_before(sweep.stage, stages)
        for file, key in _param_keys(stages[stage])
        if file == PARAMS.name
    )
    return [*dict.fromkeys(keys)]


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return in words what differs between two bases, or two files."""
    words = []
    for key in sorted(before.keys() | now.keys()):
        if key not in now:
            words.append(f"{key} is gone")
        elif key not in before:
            words.append(f"{key} is new")
        elif before[key] != now[key]:
            is_file = "/" in key and isinstance(now[key], str)
            words.append(f"{key} has changed" if is_file else f"{key} was {before[key]} and is {now[key]}")
    return words


def _with_those_before(stage: str, stages: dict[str, Any]) -> list[str]:
    deps = set(stages[stage].get("deps", []))
    before = [name for name, other in stages.items() if deps & set(_outputs(other))]
    return [*dict.fromkeys(each for name in before for each in _with_those_before(name, stages)), stage]


def _outputs(stage: dict[str, Any]) -> list[str]:
    return [next(iter(out)) if isinstance(out, dict) else out for out in stage.get("outs", [])]


def _param_keys(stage: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for entry in stage.get("params", []):
        named = entry.items() if isinstance(entry, dict) else [(PARAMS.name, [entry])]
        found += [(file, key) for file, keys in named for key in keys or []]
    return found


def _filled_in(path: str, params: dict[str, Any]) -> str:
    """Return the path with the params that dvc.yaml names in it as ${key}."""
    return re.sub(r"\$\{([^}]+)\}", lambda match: str(value_at(params, match[1])), path)


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _fingerprints(path: Path) -> dict[str, str]:
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    return {each.as_posix(): _md5(each, each.stat().st_size, each.stat().st_mtime_ns) for each in files}


@cache
def _md5(path: Path, size: int, time: int) -> str:
    """Return the md5 of the file: read again only when its size or its time has changed."""
    return file_md5(path)


def _is_swept(key: str, sweep: Sweep) -> bool:
    return any(f"{key}.".startswith(f"{swept}.") for swept in sweep.parameters)
