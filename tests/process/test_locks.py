"""Living and ended processes are told apart, on real ones."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stages.process.locks import is_gone, process_name
from tests.conftest import PROJECT

WAITING = "from stages.process.locks import process_name; print(process_name(), flush=True); input()"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".dvc/tmp/processes"


@contextmanager
def waiting() -> Iterator[tuple[subprocess.Popen, str]]:
    """Start a process that waits for a line, and yield it with its name."""
    command = (sys.executable, "-c", WAITING)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env={"PYTHONPATH": str(PROJECT)}, text=True, **pipes) as process:
        yield process, process.stdout.readline().strip()


@pytest.mark.parametrize("end", [subprocess.Popen.kill, subprocess.Popen.communicate], ids=["killed", "over"])
def test_a_process_is_there_until_it_ends(folder, end):
    with waiting() as (process, name):
        assert not is_gone(name)
        end(process)
        process.wait()
        assert is_gone(name)
        assert is_gone(name)
    assert list(folder.iterdir()) == []


def test_this_process_is_there():
    assert process_name() == process_name()
    assert not is_gone(process_name())


def test_what_a_killed_process_left_is_removed_by_the_next(folder):
    with waiting() as (killed, name):
        killed.kill()
    assert [path.stem for path in folder.iterdir()] == [name]
    with waiting() as (process, other):
        assert [path.stem for path in folder.iterdir()] == [other]
        process.communicate()


@pytest.mark.parametrize("name", ["", "None", "another-host-12-34", "../12-34"])
def test_what_is_no_name_of_a_process_is_never_gone(name):
    assert not is_gone(name)
