"""A training whose numbers overflow: stopped as soon as it shows, the run says why, and nothing of it is left."""

import re

import pytest

from tests.conftest import Clone
from tests.project import client, runs

pytestmark = pytest.mark.faults

# Each step multiplies the weights by 1 - 2 * 10 * 100.
DIVERGING = {"optimizer": {"name": "sgd", "learning_rate": 10.0, "schedule": "constant"}, "l2": 100.0, "epochs": 1000}
# A broken step shows in the validation that follows it: all images are one step.
ONE_STEP = {**DIVERGING, "batch_size": 2000}
# Activations beyond 65,504.
HALF = {"optimizer": {"name": "adam", "learning_rate": 10.0, "schedule": "constant"}, "epochs": 1000}


def set_network(clone: Clone, model: str, values: dict, precision: str = "float32") -> None:
    clone.set_params({f"train.{model}.{name}": value for name, value in values.items()})
    arithmetic = "portable" if precision == "float32" else "native"
    clone.set_params({"runtime.precision": precision, "runtime.arithmetic": arithmetic})


@pytest.mark.long
@pytest.mark.parametrize(
    ("model", "values", "precision", "quantity", "epochs"),
    [
        ("cnn", DIVERGING, "float32", "train_loss", "1"),
        ("mlp", ONE_STEP, "float32", "val_loss", "[2-9]"),
        ("mlp", {**DIVERGING, "batch_norm": False}, "float32", "train_loss", "1"),
        ("cnn", ONE_STEP, "float32", "val_loss", "[2-9]"),
        ("mlp", ONE_STEP, "mixed_bfloat16", "val_loss", "[2-9]"),
        ("cnn", HALF, "mixed_float16", "train_loss", "[1-9]"),
    ],
)
def test_it_stops_at_once_fails_its_run_and_leaves_no_file(checked_out, model, values, precision, quantity, epochs):
    set_network(checked_out, model, values, precision)
    done = checked_out.run("dvc", "repro", "--single-item", f"train-{model}", check=False)
    assert done.returncode == 255
    assert "Traceback" not in done.stdout
    said = re.search(
        rf"^error: (train\.{model}: {quantity} is (?:nan|inf) in epoch ({epochs});.*)\n", done.stdout, re.M
    )
    assert said, done.stdout
    assert f"\nLower train.{model}.optimizer.learning_rate or the penalties in params.yaml.\n" in done.stdout

    (run,) = runs(checked_out)[model]
    assert run.info.status == "FAILED"
    assert said[1] in run.data.tags["failure"]
    recorded = client(checked_out).get_metric_history(run.info.run_id, "val_loss")
    assert [point.step for point in recorded] == list(range(1, int(said[2])))
    assert "dvc.model_md5" not in run.data.tags
    assert not list((checked_out.folder / "models").glob(f"{model}*"))
    # Not even that of the epochs before.
    assert not (checked_out.folder / ".checkpoints").exists()


@pytest.mark.long
def test_the_stage_itself_leaves_an_earlier_model_alone(checked_out):
    """It is DVC that removes it, before it runs the stage."""
    set_network(checked_out, "mlp", ONE_STEP)
    files = [checked_out.folder / f"models/{name}" for name in ("mlp.keras", "mlp_history.csv")]
    kept = [file.read_bytes() for file in files]
    assert checked_out.run("python", "-m", "stages.train_mlp", check=False).returncode == 1
    assert [file.read_bytes() for file in files] == kept
