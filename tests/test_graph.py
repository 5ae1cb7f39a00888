"""dvc.yaml tells the truth: each stage depends on all that it imports, reads and computes with, and on no more.

Where it does not, the message of the test is the block that belongs there. The tests do not see environment variables,
and files that native code or another process reads.
"""

import ast
import io
import sys
import textwrap
from dataclasses import fields
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.params import views
from tests.conftest import OBSERVERS, PROJECT, SMALL, Audit

# They check, show, fetch files that a checksum verifies, or stand in for another: no output depends on their version.
OBSERVING_PACKAGES = {"pydantic", "requests", "rich", "tqdm", "urllib3", "jax"}
# What DVC reads from params.yaml, and what it is in the small pipeline.
SET, SMALL_SET = "data/sets/${data.name}", f"data/sets/{SMALL['data.name']}"
PIPELINE = YAML(typ="safe").load((PROJECT / "dvc.yaml").read_text().replace(SET, SMALL_SET))["stages"]
EXTRA = "project.optional-dependencies."
# The view of each stage's params in stages/params/views.py is named as the stage.
VIEWS = {stage: getattr(views, f"{stage.title().replace('-', '')}Params") for stage in PIPELINE}


def imported_names(path: Path) -> set[str]:
    """The dotted names that `path` imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import is not followed"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def modules(stage: str, observers: bool = False) -> set[Path]:
    """The modules that `stage` imports, directly or not; behind an observer only if told so."""
    seen, waiting = set(), [PROJECT / "stages" / name for name in ("__init__.py", f"{stage.replace('-', '_')}.py")]
    while waiting:
        module = waiting.pop()
        name = module.relative_to(PROJECT).as_posix()
        if module in seen:
            continue
        if not observers and name.startswith(OBSERVERS):
            continue
        seen.add(module)
        candidates = (PROJECT / (name.replace(".", "/") + ".py") for name in imported_names(module))
        waiting += [candidate for candidate in candidates if candidate.is_file()]
    return seen


@cache
def distributions() -> dict[str, list[str]]:
    return packages_distributions()


def packages(stage: str) -> set[str]:
    """The installed distributions that the modules of `stage` import, as pyproject.toml spells them."""
    found = set()
    for module in modules(stage):
        for name in imported_names(module):
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names or top == "stages":
                continue
            # "ruamel" is shared: its distributions are told apart by the whole name.
            owners = distributions().get(top, [top])
            found |= {owner for owner in owners if len(owners) == 1 or owner in name}
    return found - OBSERVING_PACKAGES


def check(stage: str, key: str, needed: list[Any]) -> None:
    """Fail with the block to paste into dvc.yaml unless the stage has the entries `needed` under `key`."""
    if PIPELINE[stage].get(key, []) != needed:
        yaml, text = YAML(), io.StringIO()
        yaml.indent(mapping=2, sequence=4, offset=2)
        yaml.dump({key: needed}, text)
        pytest.fail(
            f"dvc.yaml: {stage} needs\n{textwrap.indent(text.getvalue().replace(SMALL_SET, SET), '    ')}",
            pytrace=False,
        )


@pytest.mark.parametrize("stage", VIEWS)
def test_a_stage_depends_on_the_modules_it_imports(stage):
    declared = PIPELINE[stage]["deps"]
    files = {name for name in declared if not name.endswith(".py")}
    needed = sorted(files | {module.relative_to(PROJECT).as_posix() for module in modules(stage)})
    check(stage, "deps", needed)


def test_a_package_has_no_code_of_its_own():
    """Else it would be one more module to depend on, that no import names; every stage depends on that of `stages`."""
    assert [path for path in (PROJECT / "stages").glob("*/**/__init__.py") if path.read_text().strip()] == []


@pytest.mark.parametrize("stage", VIEWS)
def test_a_stage_loads_no_module_that_its_imports_do_not_name(stage, audit: Audit):
    named = {module.relative_to(PROJECT).as_posix() for module in modules(stage, observers=True)}
    # A stage that trains or evaluates starts another process that sends to MLflow.
    named |= {path.relative_to(PROJECT).as_posix() for path in (PROJECT / "stages/tracking").glob("*.py")}
    loaded = {f"{name.replace('.', '/')}.py" for name in audit.loaded[stage]}
    assert {name for name in loaded if (PROJECT / name).is_file()} <= named


@pytest.mark.parametrize("stage", VIEWS)
def test_a_stage_loads_its_own_view_of_the_params(stage):
    loaded = [
        ast.unparse(node.args[0])
        for module in modules(stage)
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "load_params"
    ]
    assert loaded == [VIEWS[stage].__name__]


@pytest.mark.parametrize("stage", VIEWS)
def test_a_stage_depends_on_the_params_its_view_reads_and_the_packages_that_compute(stage):
    keys = sorted(field.metadata["key"] for field in fields(VIEWS[stage]))
    extras = sorted(name.lower().replace(".", "-") for name in packages(stage))
    # An empty key is the whole file.
    needed = [key or {"params.yaml": None} for key in keys]
    needed += [{"pyproject.toml": [f"{EXTRA}{name}" for name in extras]}] if extras else []
    check(stage, "params", needed)


def outputs(stage: str) -> set[str]:
    declared = [*PIPELINE[stage].get("outs", []), *PIPELINE[stage].get("metrics", [])]
    return {out if isinstance(out, str) else next(iter(out)) for out in declared}


def covering(declared: set[str], name: str) -> str | None:
    """The file or folder of `declared` that `name` is or lies in."""
    return next((entry for entry in declared if name == entry or name.startswith(f"{entry}/")), None)


@pytest.mark.parametrize("stage", VIEWS)
def test_a_stage_depends_on_the_files_it_reads(stage, audit: Audit):
    declared = PIPELINE[stage]["deps"]
    files = {name for name in declared if not name.endswith(".py")}
    read = {name for name in audit.read[stage] if not covering(outputs(stage), name)}
    needed = sorted({*declared} - files | {covering(files, name) or name for name in read})
    check(stage, "deps", needed)


@pytest.mark.parametrize("stage", VIEWS)
def test_a_stage_writes_its_outputs(stage, audit: Audit):
    written = set(audit.written[stage])
    assert {name for name in written if not covering(outputs(stage), name)} == set()
    assert {covering(outputs(stage), name) for name in written} == outputs(stage)


def test_nothing_is_written_beside_the_outputs(audit: Audit):
    """Also by native code, whose files Python's audit does not see."""
    declared = {name for stage in VIEWS for name in outputs(stage)}
    assert [name for name in audit.new if not covering(declared, name)] == []


def test_every_stage_says_what_it_does_and_runs_its_own_module():
    for stage, declared in PIPELINE.items():
        assert declared["cmd"] == f"python -m stages.{stage.replace('-', '_')}"
        assert len(declared["desc"]) > 30
