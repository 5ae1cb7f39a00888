"""docs/a-fourth-model.md names all that must change: a clone that it is applied to has one model more.

A block of the page is a new file, or goes after a line, or replaces one. A line is found after the one named before it
("after A, then B"), whatever its indentation; "…" stands for the rest of it.
"""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from stages.fingerprints import file_md5
from tests.conftest import PROJECT, SMALL, Audit, Clone, make_clone
from tests.project import metrics, runs

PAGE = (PROJECT / "docs/a-fourth-model.md").read_text()
BLOCK = re.compile(
    r"^`(?P<file>[^`]+)`, (?P<how>a new file|after|instead of)(?P<lines>[^\n]*):\n\n```\w*\n(?P<content>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
NAME = "logistic_regression"
PREDICT = """
import sys, mlflow, numpy as np
mlflow.set_tracking_uri("sqlite:///mlflow.db")
model = mlflow.pyfunc.load_model(f"runs:/{sys.argv[1]}/model")
np.save("y_proba.npy", model.predict(np.load("images.npy")))
"""


def apply(page: str, folder: Path) -> None:
    for block in BLOCK.finditer(page):
        path, how, content = folder / block["file"], block["how"], block["content"]
        if how == "a new file":
            path.write_text(content)
            continue
        lines, found = path.read_text().splitlines(keepends=True), -1
        for wanted in re.findall("`([^`]+)`", block["lines"]):
            pattern = re.compile(rf"\s*{re.escape(wanted).replace('…', '.*')}\n")
            later = [number for number, line in enumerate(lines) if number > found and pattern.fullmatch(line)]
            assert later, f"{block['file']} has no line {wanted!r} that the page could mean"
            found = later[0]
        lines[found : found + 1] = [content] if how == "instead of" else [lines[found], content]
        path.write_text("".join(lines))


def make_edited(folder: Path) -> Clone:
    """Make a clone that has what the page shows."""
    assert PAGE.count("\n```\n") == len(BLOCK.findall(PAGE)), "a block without a head that the test understands"
    edited = make_clone(folder, {})
    # As it stands, not as YAML writes it.
    shutil.copyfile(PROJECT / "params.yaml", edited.folder / "params.yaml")
    apply(PAGE, edited.folder)
    edited.commit("a fourth model")
    return edited


@pytest.fixture(scope="module")
def with_it(audit: Audit, tmp_path_factory) -> Clone:
    """A clone with the model, trained and evaluated beside the others as they were made without it."""
    clone = make_edited(tmp_path_factory.mktemp("edited"))
    clone.set_params(SMALL)
    assert audit.returncode == 0, audit.output
    for name in ("data", "models"):
        shutil.copytree(Path(audit.folder) / name, clone.folder / name, dirs_exist_ok=True)
    for stage in ("train_logistic_regression", "evaluate"):
        clone.run("python", "-m", f"stages.{stage}")
    return clone


def test_the_page_leaves_clean_code_and_an_honest_graph(tmp_path):
    clone = make_edited(tmp_path)
    clone.run(sys.executable, "-m", "ruff", "check", ".")
    clone.run(sys.executable, "-m", "ruff", "format", "--check", ".")
    # The tests of the graph that need no run.
    static = "modules_it_imports or params_its_view_reads or runs_its_own_module"
    output = clone.run(
        sys.executable, "-m", "pytest", "-n0", "-k", static, "tests/test_graph.py", PYTHONPATH="."
    ).stdout
    # Two for each of eight stages.
    assert "17 passed" in output


@pytest.mark.long
def test_with_the_model_a_real_run_opens_and_writes_what_dvc_yaml_says(tmp_path):
    edited = make_edited(tmp_path / "edited")
    # These tests run the pipeline themselves, in a clone of the clone.
    ran = tmp_path / "tests"
    edited.run(sys.executable, "-m", "pytest", "-n0", f"--basetemp={ran}", "tests/test_graph.py", PYTHONPATH=".")
    assert NAME in metrics(Clone(ran / "audited0"))


@pytest.mark.long
def test_it_is_measured_and_compared_like_the_others(with_it):
    measured = metrics(with_it)
    assert list(measured) == ["mlp", "cnn", "random_forest", NAME]
    assert measured[NAME]["test_accuracy"] > 0.9
    # Nobody has set a minimum for it.
    assert measured[NAME]["gate_passed"] is True
    assert measured[NAME].keys() == measured["mlp"].keys() - {"multiply_adds"}
    comparison = json.loads((with_it.folder / "reports/comparison.json").read_text())
    assert {f"{other}_vs_{NAME}" for other in ("mlp", "cnn", "random_forest")} < comparison.keys()
    report = (with_it.folder / "reports/index.html").read_text()
    assert '<h2 id="logistic_regression">Logistic regression: ' in report
    assert report.count("no minimum") == 1
    drawn = {path.name for path in (with_it.folder / "reports" / NAME).iterdir()}
    assert {"confusion_matrix.png", "filters.png", "importance.png", "reliability.png", "per_class.csv"} < drawn


@pytest.mark.long
def test_its_run_has_model_metrics_and_params(with_it):
    (run,) = runs(with_it)["logistic-regression"]
    assert run.data.tags["dvc.model_md5"] == file_md5(with_it.folder / "models/logistic_regression.npz")
    assert run.data.params["C"] == "0.1"
    assert run.data.metrics["test_accuracy"] == pytest.approx(metrics(with_it)[NAME]["test_accuracy"])


@pytest.mark.long
def test_its_logged_model_predicts(with_it):
    (run,) = runs(with_it)["logistic-regression"]
    digits = load_digits()
    raw = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    _, images, _, labels = train_test_split(raw, digits.target, test_size=0.2, stratify=digits.target, random_state=0)
    np.save(with_it.folder / "images.npy", images)
    # In a process of its own: the modules of the project that this one has loaded do not know the model.
    with_it.run(sys.executable, "-c", PREDICT, run.info.run_id)
    y_proba = np.load(with_it.folder / "y_proba.npy")
    assert y_proba.shape == (len(images), 10)
    assert np.mean(y_proba.argmax(axis=1) == labels) == metrics(with_it)[NAME]["test_accuracy"]
