"""Data of a clone for a test to damage, whole again afterwards."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SMALL, Clone, make_clone
from tests.faults.refusal import contents


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone that has the raw digits and what preprocess makes of them, for tests that mend what they damage."""
    clone = make_clone(tmp_path_factory.mktemp("prepared"), SMALL)
    for stage in ("download", "preprocess"):
        clone.run("python", "-m", f"stages.{stage}")
    return clone


@pytest.fixture
def raw(prepared: Clone) -> Iterator[Path]:
    """Its data/raw."""
    yield from _mended(prepared.folder / "data/raw")


@pytest.fixture
def arrays(prepared: Clone) -> Iterator[Path]:
    """Its data/prepared."""
    yield from _mended(prepared.folder / "data/prepared")


def _mended(folder: Path) -> Iterator[Path]:
    good = contents(folder)
    yield folder
    shutil.rmtree(folder)
    folder.mkdir()
    for name, content in good.items():
        (folder / name).write_bytes(content)
