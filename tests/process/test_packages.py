"""A package that computes is a dependency; one that only observes is none."""

import re

import pytest


def upgrade(clone, package: str) -> None:
    path = clone.folder / "pyproject.toml"
    text, count = re.subn(rf'"({package})==[^"]+"', r'"\1==99.0"', path.read_text())
    assert count == 1
    path.write_text(text)


@pytest.mark.parametrize(
    ("package", "stages"),
    [
        ("keras", {"train-mlp", "train-cnn", "evaluate"}),
        ("skops", {"train-random-forest", "evaluate"}),
        ("numpy", {"download", "preprocess", "explore", "train-mlp", "train-cnn", "train-random-forest", "evaluate"}),
        ("mlflow", set()),
        ("pytest", set()),
    ],
)
def test_dvc_status_names_the_stages_that_an_upgrade_concerns(checked_out, package, stages):
    upgrade(checked_out, package)
    status = checked_out.run("dvc", "status").stdout
    assert set(re.findall(r"^([\w-]+):$", status, re.MULTILINE)) == stages
    assert stages or "up to date" in status


def test_one_that_is_not_pinned_is_no_traceback(checked_out):
    path = checked_out.folder / "pyproject.toml"
    path.write_text(path.read_text().replace('"numpy==', '"numpy>='))
    assert "Traceback" not in checked_out.run("python", "-m", "stages.download").stdout


def test_another_version_than_the_pinned_one_is_said(checked_out):
    upgrade(checked_out, "keras")
    (warning,) = (
        line for line in checked_out.run("python", "-m", "stages.explore").stdout.splitlines() if "warning" in line
    )
    assert "keras 3" in warning
    assert "uv sync" in warning
