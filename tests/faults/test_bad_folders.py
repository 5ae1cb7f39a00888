"""Folders in which nothing can be written, or that are something else: a short error, and the earlier data stays."""

import os
import shutil

import pytest

from tests.conftest import SMALL, Clone, make_clone
from tests.faults.refusal import contents, refusal

pytestmark = pytest.mark.faults

STAGES = {"raw": "stages.download", "prepared": "stages.preprocess"}
# Root may write everywhere, unless it gives that up.
AS_A_USER = () if os.geteuid() else ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Clone:
    clone = make_clone(tmp_path_factory.mktemp("filled"), SMALL)
    for module in STAGES.values():
        clone.run("python", "-m", module)
    return clone


@pytest.fixture
def clone(filled, tmp_path) -> Clone:
    """A clone with the outputs of both stages, for one test."""
    yield Clone(shutil.copytree(filled.folder, tmp_path / "clone", symlinks=True))
    # Else it could not be removed.
    for folder, _, _ in os.walk(tmp_path):
        os.chmod(folder, 0o755)


@pytest.mark.parametrize("name", ["raw", pytest.param("prepared", marks=pytest.mark.long)])
def test_a_read_only_folder_is_named(clone, name):
    data = clone.folder / "data"
    data.chmod(0o555)
    error = refusal(clone, *AS_A_USER, "python", "-m", STAGES[name])
    assert error.startswith(f"error: data/{name} cannot be written: data/{name}.partial: Permission denied")
    data.chmod(0o755)
    clone.run("python", "-m", STAGES[name])


@pytest.mark.parametrize("name", [pytest.param("raw", marks=pytest.mark.long), "prepared"])
def test_read_only_earlier_data_stays_whole(clone, name):
    (clone.folder / "data" / name).chmod(0o555)
    error = refusal(clone, *AS_A_USER, "python", "-m", STAGES[name])
    assert f"error: data/{name} cannot be written: " in error
    assert "Permission denied" in error


def test_what_a_killed_preprocess_left_behind_does_not_get_into_the_data(clone):
    good = contents(clone.folder / "data")
    (clone.folder / "data/prepared.partial").mkdir()
    (clone.folder / "data/prepared.partial/train_images.npy.old").write_bytes(b"half")
    clone.run("python", "-m", STAGES["prepared"])
    assert contents(clone.folder / "data") == good


@pytest.mark.parametrize("name", STAGES)
def test_a_file_in_place_of_the_unfinished_folder_is_named(clone, name):
    (clone.folder / "data" / f"{name}.partial").write_text("mine")
    error = refusal(clone, "python", "-m", STAGES[name])
    assert error.startswith(f"error: data/{name} cannot be written: data/{name}.partial: File exists")


def test_a_file_in_place_of_the_data_folder_is_named(clone):
    shutil.rmtree(clone.folder / "data")
    (clone.folder / "data").write_text("mine")
    for stage in ("download", "preprocess"):
        error = refusal(clone, "python", "-m", f"stages.{stage}")
        assert error == "error: data/sets: has no data set\nGet them back with git checkout data/sets"
    assert (clone.folder / "data").read_text() == "mine"


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize(
    "kind", ["a link", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("a file", "a dangling link"))]
)
def test_what_stands_in_place_of_an_output_is_replaced_and_a_linked_folder_kept(clone, tmp_path, name, kind):
    folder = clone.folder / "data" / name
    good = contents(folder)
    linked = folder.rename(tmp_path / "linked")
    if kind == "a file":
        folder.write_text("something")
    else:
        folder.symlink_to(linked if kind == "a link" else tmp_path / "nowhere")
    clone.run("python", "-m", STAGES[name])
    assert not folder.is_symlink()
    assert contents(folder) == good
    assert contents(linked) == good


@pytest.mark.long
def test_a_data_folder_on_another_disk_is_used_through_its_link(clone, tmp_path):
    before = contents(clone.folder / "data")
    (clone.folder / "data").rename(tmp_path / "disk")
    (clone.folder / "data").symlink_to(tmp_path / "disk")
    for module in STAGES.values():
        clone.run("python", "-m", module)
    assert contents(tmp_path / "disk") == before
