"""Which model of models/ is marked as the champion."""

import json

import pytest
from ruamel.yaml import YAML

from commands.trained import best_trained
from stages.fingerprints import file_md5
from stages.learners.models import ALL_MODELS, CNN, MLP, RANDOM_FOREST
from stages.paths import LOCK, METRICS

ACCURACIES = {MLP: 0.98, CNN: 0.99, RANDOM_FOREST: 0.97}


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """A function that has models/ evaluated: they pass the gate, but for those that `missed` it."""
    monkeypatch.chdir(tmp_path)

    def evaluate(missed=()) -> None:
        METRICS.parent.mkdir(exist_ok=True)
        metrics = {
            model.name: {"val_accuracy": accuracy, "gate_passed": model not in missed}
            for model, accuracy in ACCURACIES.items()
        }
        METRICS.write_text(json.dumps(metrics))
        for model in ALL_MODELS:
            model.file.parent.mkdir(exist_ok=True)
            model.file.write_bytes(model.name.encode())
        files = {
            key: [{"path": path.as_posix(), "md5": file_md5(path)} for path in paths]
            for key, paths in (("deps", [model.file for model in ALL_MODELS]), ("outs", [METRICS]))
        }
        with open(LOCK, "w") as lock:
            YAML().dump({"stages": {"evaluate": files}}, lock)

    return evaluate


def test_it_is_the_best_of_those_that_pass_the_gate(evaluated):
    evaluated()
    assert best_trained() == CNN
    evaluated(missed=[CNN])
    assert best_trained() == MLP
    evaluated(missed=ALL_MODELS)
    assert best_trained() is None


@pytest.mark.parametrize("model", ALL_MODELS, ids=lambda model: model.name)
def test_none_is_marked_where_one_was_trained_since(evaluated, model):
    evaluated()
    model.file.write_bytes(b"another")
    assert best_trained() is None


def test_none_is_marked_where_nothing_was_evaluated(evaluated):
    assert best_trained() is None
    evaluated()
    METRICS.write_text("{}")
    assert best_trained() is None
