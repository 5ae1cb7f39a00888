"""dvc.yaml tells the truth: a stage depends on the modules it imports and the params its view reads."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages import params
from tests.conftest import PROJECT

# They check, show and record, and cannot change an output: editing them reruns nothing.
OBSERVERS = {
    "stages/errors.py",
    "stages/params.py",
    "stages/progress.py",
    "stages/provenance.py",
    "stages/tracking.py",
}
# Printed by download, and part of the report that evaluate writes.
SPOKEN = {"download": {"stages/notices.py"}}
VIEWS = {
    "download": params.DownloadParams,
    "preprocess": params.PreprocessParams,
    "explore": params.ExploreParams,
    "train-mlp": params.TrainMlpParams,
    "train-cnn": params.TrainCnnParams,
    "train-random-forest": params.TrainRandomForestParams,
    "evaluate": params.EvaluateParams,
}
PIPELINE = YAML(typ="safe").load(PROJECT / "dvc.yaml")["stages"]


def imports(path: Path) -> set[Path]:
    """The project's modules that `path` imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        candidates = [PROJECT / (name.replace(".", "/") + ".py") for name in names]
        found |= {candidate for candidate in candidates if candidate.is_file()}
    return found


def modules(stage: str) -> set[str]:
    """What `stage` imports, directly or not, without looking behind an observer."""
    skipped = OBSERVERS | SPOKEN.get(stage, set())
    start = PROJECT / "stages" / f"{stage.replace('-', '_')}.py"
    seen, waiting = set(), [start]
    while waiting:
        module = waiting.pop()
        name = module.relative_to(PROJECT).as_posix()
        if name in seen or name in skipped:
            continue
        seen.add(name)
        waiting += imports(module)
    return seen


@pytest.mark.parametrize("stage", VIEWS)
def test_a_stage_depends_on_the_modules_it_imports(stage):
    declared = {name for name in PIPELINE[stage]["deps"] if name.endswith(".py")}
    assert declared == modules(stage)


@pytest.mark.parametrize("stage", VIEWS)
def test_a_stage_depends_on_the_params_its_view_reads(stage):
    declared = PIPELINE[stage].get("params", [])
    read = [field.metadata["key"] for field in fields(VIEWS[stage])]
    whole_file = [{"params.yaml": None}]
    assert declared == whole_file if read == [""] else sorted(declared) == sorted(read)


def test_every_stage_says_what_it_does_and_runs_its_own_module():
    assert list(PIPELINE) == list(VIEWS)
    for stage, declared in PIPELINE.items():
        assert declared["cmd"] == f"python -m stages.{stage.replace('-', '_')}"
        assert len(declared["desc"]) > 30
