"""The stage as DVC runs it: what it leaves behind, and when it falls back to the sample."""

import json
import os
from pathlib import Path

import pytest

from stages.dataset.catalogue import FILES, PACKAGED, TEST_IMAGES, TRAIN_IMAGES, load_dataset
from stages.dataset.idx import read_idx
from tests.conftest import PROJECT, Clone
from tests.project import OFFLINE


def download(clone: Clone, check: bool = True, **environment: str) -> str:
    done = clone.run("python", "-m", "stages.download", check=check, **environment)
    assert check or done.returncode == 1
    return done.stdout


def manifest(clone: Clone) -> dict:
    return json.loads((clone.folder / "data/raw/manifest.json").read_text())


@pytest.mark.parametrize("name", [pytest.param("mnist-sample", marks=pytest.mark.long), "digits"])
def test_a_packaged_data_set_needs_no_network(clone, name):
    clone.set_params({"data.name": name})
    download(clone, **OFFLINE)
    dataset = PACKAGED[name]
    raw = clone.folder / "data/raw"
    train = read_idx(raw / TRAIN_IMAGES, (dataset.train_count, dataset.height, dataset.width))
    read_idx(raw / TEST_IMAGES, (dataset.test_count, dataset.height, dataset.width))
    assert train.max() == 255
    assert manifest(clone) == {"requested": name, "dataset": name, "fallback": False}


def test_offline_mnist_falls_back_to_the_sample_and_says_so(clone):
    clone.set_params({"data.name": "mnist", "data.offline": "sample"})
    output = download(clone, **OFFLINE)
    assert manifest(clone) == {"requested": "mnist", "dataset": "mnist-sample", "fallback": True}
    assert "mnist-sample" in output
    assert "dvc repro --force download" in output


@pytest.mark.parametrize(
    ("params", "remedies"),
    [
        ({"data.name": "mnist", "data.offline": "fail"}, ["DATA_MIRROR", "data.offline: sample"]),
        pytest.param({"data.name": "fashion-mnist"}, ["DATA_MIRROR", "no offline sample"], marks=pytest.mark.long),
    ],
)
def test_without_a_sample_the_error_names_the_remedies(clone, params, remedies):
    clone.set_params(params)
    output = download(clone, check=False, **OFFLINE)
    assert "Traceback" not in output
    for part in ("no mirror", "can be reached", *remedies):
        assert part in output
    assert not (clone.folder / "data/raw").exists()


def test_a_mirror_that_answers_with_the_wrong_file_is_no_reason_to_fall_back(clone, tmp_path_factory):
    clone.set_params({"data.name": "mnist"})
    mirror = tmp_path_factory.mktemp("mirror")
    (mirror / "mnist").mkdir()
    (mirror / "mnist" / TRAIN_IMAGES).write_bytes(b"something else")
    output = download(clone, check=False, **{**OFFLINE, "DATA_MIRROR": str(mirror)})
    assert "wrong length" in output
    assert str(mirror) in output
    assert not (clone.folder / "data/raw").exists()


@pytest.mark.skipif("DATA_MIRROR" not in os.environ, reason="DATA_MIRROR is not set: no full data set here")
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_published_files_pass_their_checks(clone, name):
    clone.set_params({"data.name": name})
    download(clone, DATA_MIRROR=os.path.abspath(os.environ["DATA_MIRROR"]))
    assert manifest(clone)["dataset"] == name
    assert {path.name for path in Path(clone.folder / "data/raw").iterdir()} == {"manifest.json", *FILES}


def test_every_published_data_set_has_two_public_mirrors(monkeypatch):
    monkeypatch.chdir(PROJECT)
    for name in ("mnist", "fashion-mnist"):
        assert len(load_dataset(name).mirrors) >= 2


def test_what_a_killed_download_left_behind_does_not_get_into_the_data(clone):
    partial = clone.folder / "data/raw.partial"
    partial.mkdir(parents=True)
    (partial / f"{TRAIN_IMAGES}.part").write_bytes(b"half")
    download(clone)
    assert {path.name for path in (clone.folder / "data/raw").iterdir()} == {"manifest.json", *FILES}
    assert not partial.exists()


def test_nor_does_what_a_failed_download_of_another_data_set_left(clone):
    (clone.folder / "data/sets/mine/train").mkdir(parents=True)
    clone.set_params({"data.name": "mine"})
    partial = clone.folder / "data/raw.partial"
    partial.mkdir(parents=True)
    (partial / TRAIN_IMAGES).write_bytes(b"whole")
    download(clone)
    assert [path.name for path in (clone.folder / "data/raw").iterdir()] == ["manifest.json"]


@pytest.mark.parametrize("mirror", ["http://[::1", "http://", "ftp://user:secret@example.org", "file:///tmp"])
def test_a_mirror_that_cannot_be_is_refused(clone, mirror):
    clone.set_params({"data.name": "mnist"})
    output = download(clone, check=False, **{**OFFLINE, "DATA_MIRROR": mirror})
    assert "error: DATA_MIRROR=" in output
    assert "secret" not in output
    assert "Traceback" not in output
