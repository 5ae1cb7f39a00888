"""Raw files that are no longer what download verified: preprocess names the file, and the earlier data stays."""

import gzip
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.dataset.catalogue import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from stages.dataset.idx import write_idx
from tests.faults.refusal import BOMB, PEAK, contents, peak, refusal

pytestmark = pytest.mark.faults

PREPROCESS = ("python", "-m", "stages.preprocess")
HEADER = struct.pack(">BBBBIII", 0, 0, 8, 3, 1437, 8, 8)
ZEROS = bytes(1437 * 64)


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def rewritten(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda raw: (raw / name).write_bytes(change((raw / name).read_bytes()))


def flipped(content: bytes) -> bytes:
    return content[:1000] + bytes([content[1000] ^ 1]) + content[1001:]


def labels(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def damage(raw: Path) -> None:
        values = np.frombuffer(gzip.decompress((raw / TRAIN_LABELS).read_bytes())[8:], np.uint8)
        write_idx(raw / TRAIN_LABELS, change(values).astype(np.uint8))

    return damage


def a_folder(raw: Path) -> None:
    (raw / TRAIN_IMAGES).unlink()
    (raw / TRAIN_IMAGES).mkdir()


def a_link_to_itself(raw: Path) -> None:
    (raw / TRAIN_IMAGES).unlink()
    (raw / TRAIN_IMAGES).symlink_to(TRAIN_IMAGES)


def manifest(content: object) -> Callable[[bytes], bytes]:
    return lambda good: content if isinstance(content, bytes) else json.dumps(content).encode()


# The damage to data/raw, the file that the error names, and its words.
FAULTS = {
    "cut short": (rewritten(TRAIN_IMAGES, lambda good: good[:-9]), TRAIN_IMAGES, "not a whole gzip file"),
    "a second file after it": (rewritten(TRAIN_IMAGES, lambda good: good + good), TRAIN_IMAGES, "more values"),
    "longer": (rewritten(TRAIN_IMAGES, lambda good: good + b"x"), TRAIN_IMAGES, "not a whole gzip file"),
    "a flipped bit": (rewritten(TEST_IMAGES, flipped), TEST_IMAGES, "not a whole gzip file"),
    "empty": (rewritten(TRAIN_LABELS, lambda good: b""), TRAIN_LABELS, "magic number"),
    "labels for images": (
        lambda raw: (raw / TRAIN_IMAGES).write_bytes((raw / TRAIN_LABELS).read_bytes()),
        TRAIN_IMAGES,
        "magic number 0x00000801",
    ),
    "images for labels": (
        lambda raw: (raw / TEST_LABELS).write_bytes((raw / TEST_IMAGES).read_bytes()),
        TEST_LABELS,
        "magic number 0x00000803",
    ),
    "test for training": (
        lambda raw: (raw / TRAIN_LABELS).write_bytes((raw / TEST_LABELS).read_bytes()),
        TRAIN_LABELS,
        "shape (360,) instead of (1437,)",
    ),
    "a gzip bomb": (rewritten(TRAIN_IMAGES, lambda good: BOMB), TRAIN_IMAGES, "more values"),
    "a huge count": (
        rewritten(TRAIN_IMAGES, lambda good: packed(HEADER[:4] + b"\xff" * 12 + ZEROS)),
        TRAIN_IMAGES,
        "shape (4294967295, 4294967295, 4294967295)",
    ),
    "a wrong type code": (
        rewritten(TRAIN_IMAGES, lambda good: packed(b"\0\0\x0d\x03" + HEADER[4:] + ZEROS)),
        TRAIN_IMAGES,
        "magic number 0x00000d03",
    ),
    "a label out of range": (labels(lambda good: np.where(good == 3, 10, good)), TRAIN_LABELS, "label 10 is not one"),
    "a class is gone": (labels(lambda good: np.where(good == 3, 4, good)), TRAIN_LABELS, "no image of class 3"),
    "HTML": (rewritten(TRAIN_IMAGES, lambda good: b"<html>"), TRAIN_IMAGES, "not a whole gzip file"),
    "missing": (lambda raw: (raw / TEST_LABELS).unlink(), TEST_LABELS, "No such file"),
    "a folder": (a_folder, TRAIN_IMAGES, "Is a directory"),
    "a link to itself": (a_link_to_itself, TRAIN_IMAGES, "symbolic links"),
    "no manifest": (lambda raw: (raw / "manifest.json").unlink(), "manifest.json", "No such file"),
    "half a manifest": (rewritten("manifest.json", lambda good: good[:20]), "manifest.json", "not valid JSON"),
    "a manifest of bytes": (rewritten("manifest.json", manifest(b"\xff\xfe\0")), "manifest.json", "not valid JSON"),
    "a deep manifest": (rewritten("manifest.json", manifest(b"[" * 100_000)), "manifest.json", "not valid JSON"),
    "a manifest of nothing": (rewritten("manifest.json", manifest({})), "manifest.json", "not what download writes"),
    "a manifest of numbers": (
        rewritten("manifest.json", manifest({"requested": 1, "dataset": ["digits"], "fallback": "no"})),
        "manifest.json",
        "not what download writes",
    ),
    "a manifest of other data": (
        rewritten("manifest.json", manifest({"requested": "mnist", "dataset": "mnist", "fallback": False})),
        "manifest.json",
        "not what download writes for digits",
    ),
}

# Hardly ever seen, or noticed by the same check as another one.
RARE = {
    "a class is gone",
    "a deep manifest",
    "a folder",
    "a link to itself",
    "a manifest of bytes",
    "a manifest of nothing",
    "a manifest of numbers",
    "a manifest of other data",
    "a second file after it",
    "a wrong type code",
    "empty",
    "half a manifest",
    "labels for images",
    "longer",
    "no manifest",
    "test for training",
}


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=pytest.mark.long) if fault in RARE else fault for fault in FAULTS]
)
def test_damaged_raw_data_is_named_and_what_was_prepared_before_stays(prepared, raw, fault):
    damage, file, reason = FAULTS[fault]
    damage(raw)
    error = refusal(prepared, *PREPROCESS)
    assert error.startswith(f"error: data/raw/{file}: ")
    assert reason in error
    assert error.endswith("Fetch the data again: dvc repro --force download")


@pytest.mark.long
def test_the_remedy_of_the_error_mends_it(prepared, raw):
    before = contents(prepared.folder / "data/prepared")
    (raw / TRAIN_IMAGES).write_bytes(b"")
    assert "dvc repro --force download" in refusal(prepared, *PREPROCESS)
    prepared.run("dvc", "repro", "--force", "download")
    prepared.run("dvc", "repro", "preprocess")
    assert contents(prepared.folder / "data/prepared") == before


@pytest.mark.long
def test_a_gzip_bomb_and_a_huge_count_take_no_more_memory_than_the_right_files(prepared, raw):
    command = (sys.executable, "-c", PEAK, "stages.preprocess")
    good = peak(prepared.run(*command).stdout)
    for fault in ("a gzip bomb", "a huge count"):
        FAULTS[fault][0](raw)
        done = prepared.run(*command, check=False)
        assert done.returncode == 1
        assert peak(done.stdout) < good + 16_000
