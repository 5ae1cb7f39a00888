"""A run that is made from DVC's files has the params, the data and the code that dvc.lock records for its model."""

import json
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.fingerprints import file_md5
from stages.learners.models import MLP
from stages.tracking import record as records
from tests.tracking.conftest import evaluation

MODULE = Path("stages/learners/networks.py")


def git(*arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    return subprocess.run(("git", *identity, *arguments), check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def locked(clone) -> str:
    """The commit of the code that dvc.lock has for the MLP; another one came after it."""
    git("init", "--quiet")
    git("add", "stages", "params.yaml")
    git("commit", "--quiet", "--message", "trained")
    stage = {
        "deps": [{"path": str(MODULE), "md5": file_md5(MODULE)}, {"path": "data/prepared", "md5": "0" * 32 + ".dir"}],
        "params": {"params.yaml": locked_params()},
        "outs": [{"path": str(MLP.file), "md5": file_md5(MLP.file)}],
    }
    YAML().dump({"stages": {MLP.stage: stage}}, Path("dvc.lock"))
    commit = git("rev-parse", "HEAD")
    MODULE.write_text("later = True\n")
    git("commit", "--quiet", "--all", "--message", "later")
    return commit


def locked_params() -> dict:
    params = YAML(typ="safe").load(Path("params.yaml"))
    return {"train.mlp": params["train"]["mlp"] | {"epochs": 77}, "runtime": params["runtime"]}


def restored() -> tuple[dict, str]:
    """The state of the record of the MLP, and the module as the record has it."""
    record = evaluation()
    return records.read(record), (record / "files/code" / MODULE).read_text()


def test_the_commit_that_has_the_code_is_found(locked):
    state, module = restored()
    assert state["tags"]["git.commit"] == locked
    assert state["tags"]["git.dirty"] == "false"
    assert "later" not in module
    assert "dvc.other_code" not in state["tags"]
    assert state["params"]["epochs"] == "77"
    assert state["tags"]["dvc.data_md5"] == "0" * 32 + ".dir"


def test_today_s_code_is_taken_where_it_is_the_training_s(locked):
    MODULE.write_text(git("show", f"{locked}:{MODULE}") + "\n")
    Path("README.md").write_text("edited")
    state, module = restored()
    assert state["tags"]["git.commit"] == git("rev-parse", "HEAD")
    assert state["tags"]["git.dirty"] == "true"
    assert module == MODULE.read_text()


@pytest.mark.parametrize("lost", ["code", "lock"])
def test_other_code_is_said(locked, lost):
    lock = YAML(typ="safe").load(Path("dvc.lock"))
    if lost == "code":
        lock["stages"][MLP.stage]["deps"][0]["md5"] = "1" * 32
    else:
        lock["stages"][MLP.stage]["outs"][0]["md5"] = "1" * 32
    Path("dvc.lock").write_text(json.dumps(lock))
    state, module = restored()
    assert "no commit has the code" in state["tags"]["dvc.other_code"]
    assert module == "later = True\n"
    assert state["params"]["epochs"] == ("77" if lost == "code" else "10")
