"""A disk that is full in the middle of a stage: a short error, nothing half-written kept, and on it goes with space."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stages.tracking import record as records
from tests.conftest import Audit, Clone, copy_of
from tests.faults.test_killed import files
from tests.project import STAGES, locked

pytestmark = pytest.mark.faults


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system of `size` on `folder`."""
    if subprocess.run(("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder), check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(("umount", "--lazy", folder), check=True)


@pytest.fixture
def clone_on_a_small_disk(audit: Audit, tmp_path: Path) -> Iterator[Clone]:
    with small_disk(tmp_path, "100m"):
        yield copy_of(audit, tmp_path)


def fill(folder: Path, left: int) -> Path:
    """Write a file that leaves `left` bytes of the disk."""
    ballast = folder / "ballast"
    free = shutil.disk_usage(folder).free
    ballast.write_bytes(bytes(max(0, free - left)))
    return ballast


def check_it_fails_and_goes_on(clone: Clone, undisturbed: Path, stage: str, left: int) -> None:
    """As after an edit: DVC removes the outputs that it keeps, and the test has removed those in its cache."""
    shutil.rmtree(clone.folder / ".dvc/tmp", ignore_errors=True)
    command = ("dvc", "repro", "--force", "--single-item", stage)
    ballast = fill(clone.folder, left)
    done = clone.run(*command, check=False)
    ballast.unlink()
    assert done.returncode or left, "nothing was written"
    if done.returncode:
        assert "Traceback" not in done.stdout, done.stdout
        assert re.search("No space left|make room|RWLock-file", done.stdout), done.stdout
        # The stage's own, where it was not DVC that met the full disk.
        for error in re.findall(r"^error: .*?(?=^ERROR: |\Z)", done.stdout, re.MULTILINE | re.DOTALL):
            assert len(error.strip().splitlines()) <= 2, error
    # DVC writes the list of its locks in place: where that was cut off docs/faults.md says what to do.
    (clone.folder / ".dvc/tmp/rwlock").unlink(missing_ok=True)
    clone.run("dvc", "repro")
    assert "up to date" in clone.run("dvc", "status").stdout
    expected, found = files(undisturbed), files(clone.folder)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []


def test_a_record_for_mlflow_is_whole_or_not_there(tmp_path, monkeypatch):
    with small_disk(tmp_path, "64k"):
        (tmp_path / ".dvc").mkdir()
        monkeypatch.chdir(tmp_path)
        record = records.create({"params": {}})
        records.append(record, 1, {"val_loss": 0.5})
        with pytest.raises(OSError, match="No space left"):
            records.append(record, 2, {"x" * 100_000: 0.5})
        with pytest.raises(OSError, match="No space left"):
            records.update(record, tags={"long": "x" * 100_000})
        (record / "run.json.part").unlink()
        records.append(record, 3, {"val_loss": 0.25})
        records.update(record, status=records.FINISHED)
        assert [row[1:] for row in records.metrics(record)] == [(1, "val_loss", 0.5), (3, "val_loss", 0.25)]
        assert records.read(record)["status"] == records.FINISHED
        with pytest.raises(OSError, match="No space left"):
            records.create({"diff": "x" * 100_000})
        assert records.waiting() == list(record.parent.iterdir()) == [record]
        monkeypatch.chdir("/")


@pytest.mark.parametrize(
    "stage",
    ["preprocess", *(pytest.param(each, marks=pytest.mark.long) for each in ("train-random-forest", "train-mlp"))],
)
def test_a_disk_that_fills_up_in_a_stage(clone_on_a_small_disk, reproduced, stage):
    cache = clone_on_a_small_disk.folder / ".dvc/cache"
    shutil.rmtree(cache / "runs")
    for md5 in locked(clone_on_a_small_disk, stage).values():
        (cache / "files/md5" / md5[:2] / md5[2:]).unlink()
    check_it_fails_and_goes_on(clone_on_a_small_disk, reproduced.folder, stage, 64 * 1024)


@pytest.mark.long
@pytest.mark.parametrize("left", [0, 20_000, 100_000, 300_000])
@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_fills_up_in_any_stage(clone_on_a_small_disk, reproduced, stage, left):
    shutil.rmtree(clone_on_a_small_disk.folder / ".dvc/cache")
    check_it_fails_and_goes_on(clone_on_a_small_disk, reproduced.folder, stage, left)
