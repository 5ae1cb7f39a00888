"""Prepared arrays that were damaged: every stage after preprocess says so before it computes anything."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.faults.refusal import contents, refusal

pytestmark = pytest.mark.faults

EXPLORE = ("python", "-m", "stages.explore")


def array(name: str, change: Callable[[np.ndarray], object]) -> Callable[[Path], None]:
    """Save the array `name` as `change` makes it, with pickle where it has objects."""

    def damage(folder: Path) -> None:
        path = folder / f"{name}.npy"
        np.save(path, change(np.load(path)), allow_pickle=True)

    return damage


def rewritten(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def about(**values: object) -> Callable[[Path], object]:
    return rewritten("dataset.json", lambda good: json.dumps({**json.loads(good), **values}).encode())


# The damage to data/prepared, the file that the error names, and its words.
FAULTS = {
    "an array cut short": (
        rewritten("train_images.npy", lambda good: good[:-9]),
        "train_images.npy",
        "not a whole .npy file",
    ),
    "half a header": (
        rewritten("train_labels.npy", lambda good: good.replace(b"}", b"(")),
        "train_labels.npy",
        "not a whole .npy file",
    ),
    "an empty array file": (rewritten("test_labels.npy", lambda good: b""), "test_labels.npy", "not a whole .npy file"),
    "no array": (lambda folder: (folder / "test_images.npy").unlink(), "test_images.npy", "No such file"),
    "pickled objects": (
        array("train_labels", lambda good: good.astype(object)),
        "train_labels.npy",
        "not a whole .npy file of numbers",
    ),
    "float64": (
        array("validation_images", lambda good: good.astype(float)),
        "validation_images.npy",
        "float64 of shape (144, 8, 8) instead of uint8 (n, 8, 8)",
    ),
    "flat images": (
        array("train_images", lambda good: good.reshape(-1, 64)),
        "train_images.npy",
        "instead of uint8 (n, 8, 8)",
    ),
    "a label less": (
        array("train_labels", lambda good: good[:-1]),
        "train_labels.npy",
        "uint8 of shape (1292,) for images of shape (1293, 8, 8)",
    ),
    "labels of another type": (
        array("train_labels", lambda good: good.astype(np.int64)),
        "train_labels.npy",
        "int64 of shape (1293,)",
    ),
    "a label out of range": (
        array("test_labels", lambda good: good + np.uint8(1)),
        "test_labels.npy",
        "label 10 is not one of 0 … 9",
    ),
    "images from 0 to 1": (
        array("train_images", lambda good: (good / 255).astype(np.float32)),
        "train_images.npy",
        "float32 of shape (1293, 8, 8) instead of uint8 (n, 8, 8)",
    ),
    "half a description": (rewritten("dataset.json", lambda good: good[:50]), "dataset.json", "Invalid JSON"),
    "a deep description": (rewritten("dataset.json", lambda good: b"[" * 100_000), "dataset.json", "Invalid JSON"),
    "no description": (lambda folder: (folder / "dataset.json").unlink(), "dataset.json", "No such file"),
    "a height in words": (about(height="8"), "dataset.json", "height: Input should be a valid integer"),
    "another height": (about(height=9), "train_images.npy", "instead of uint8 (n, 9, 8)"),
    "names that are a number": (about(class_names=10), "dataset.json", "class_names: Input should be a valid array"),
    "a name less": (about(class_names=list("012345678")), "train_labels.npy", "label 9 is not one of 0 … 8"),
}

# Hardly ever seen, or noticed by the same check as another one.
RARE = {
    "a deep description",
    "a height in words",
    "a label less",
    "a name less",
    "an empty array file",
    "another height",
    "flat images",
    "float64",
    "half a description",
    "half a header",
    "labels of another type",
    "names that are a number",
    "no array",
    "no description",
}


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=pytest.mark.long) if fault in RARE else fault for fault in FAULTS]
)
def test_a_damaged_array_is_named_before_anything_is_drawn(prepared, arrays, fault):
    damage, file, reason = FAULTS[fault]
    damage(arrays)
    reports = contents(prepared.folder / "reports")
    error = refusal(prepared, *EXPLORE)
    assert error.startswith(f"error: data/prepared/{file}: ")
    assert reason in error
    assert error.endswith("Make it again: dvc repro --force preprocess")
    assert contents(prepared.folder / "reports") == reports


@pytest.mark.parametrize(
    "stage",
    [
        "train_random_forest",
        # Seconds for the import of TensorFlow.
        *(pytest.param(name, marks=pytest.mark.long) for name in ("train_mlp", "train_cnn", "evaluate")),
    ],
)
def test_each_stage_names_it_before_it_computes(prepared, arrays, stage):
    FAULTS["images from 0 to 1"][0](arrays)
    models = contents(prepared.folder / "models")
    error = refusal(prepared, "python", "-m", f"stages.{stage}")
    assert "data/prepared/train_images.npy: float32 of shape" in error
    assert contents(prepared.folder / "models") == models
    # Nor is a run left in MLflow of a training that never began.
    assert not (prepared.folder / "mlflow.db").exists()


@pytest.mark.long
def test_the_remedy_of_the_error_mends_it(prepared, arrays):
    good = contents(arrays)
    FAULTS["an array cut short"][0](arrays)
    assert "dvc repro --force preprocess" in refusal(prepared, *EXPLORE)
    prepared.run("dvc", "repro", "--force", "preprocess")
    assert contents(arrays) == good
