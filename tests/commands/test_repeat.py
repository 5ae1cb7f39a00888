"""`mnist repeat`: several seeds, separate runs, mean and standard deviation."""

import json
import statistics

import pytest

from tests.project import MODELS, measured_by, metrics, runs

# Metrics that are a function of the seed, in place of all stages: DVC runs it as it runs those.
MEASURE = """
import json
from pathlib import Path
from ruamel.yaml import YAML
seed = YAML(typ="safe").load(Path("params.yaml"))["runtime"]["seed"]
values = {"test_accuracy": 0.9 + seed / 50, "test_loss": 0.5, "val_accuracy": 0.8, "gate_passed": True}
Path("reports/metrics.json").write_text(json.dumps(dict.fromkeys(("mlp", "cnn", "random_forest"), values)))
"""


def test_the_summary_has_mean_and_standard_deviation_of_the_seeds(clone):
    measured_by(clone, MEASURE, "runtime.seed")
    output = clone.run("mnist", "repeat", "--seeds", "2").stdout
    repeats = json.loads((clone.folder / "reports/repeats.json").read_text())
    assert repeats["seeds"] == [0, 1]
    for model in MODELS:
        accuracy = repeats[model]["test_accuracy"]
        assert accuracy["values"] == pytest.approx([0.9, 0.92])
        assert (accuracy["mean"], accuracy["std"]) == pytest.approx((0.91, 0.02 / 2**0.5))
        assert "gate_passed" not in repeats[model]
    assert output.count("91.00% ± 1.41") == 3
    assert "warning: MLflow does not have these trainings" in output
    # The workspace stays as it was.
    assert clone.run("git", "status", "--porcelain").stdout == " M reports/repeats.json\n"
    assert clone.run("dvc", "exp", "list", "--names-only").stdout.count("repeat-seed-") == 2


@pytest.mark.long
def test_two_seeds_give_mean_and_standard_deviation(checked_out):
    output = checked_out.run("mnist", "repeat", "--seeds", "2").stdout
    repeats = json.loads((checked_out.folder / "reports/repeats.json").read_text())
    assert repeats["seeds"] == [0, 1]
    for model, name in MODELS.items():
        accuracy = repeats[model]["test_accuracy"]
        assert accuracy["values"][0] == metrics(checked_out)[model]["test_accuracy"]
        assert accuracy["mean"] == pytest.approx(statistics.mean(accuracy["values"]))
        assert accuracy["std"] == pytest.approx(statistics.stdev(accuracy["values"]))
        assert f"{accuracy['mean']:.2%} ± {100 * accuracy['std']:.2f}" in output
        (run,) = runs(checked_out)[name]
        assert run.data.params["runtime.seed"] == "1"
        assert run.data.tags["dvc.experiment"] == "repeat-seed-1"
        assert run.data.metrics["test_accuracy"] == pytest.approx(accuracy["values"][1])
        # The model of the first seed came without its run: how long it took is not known, and so no mean of both.
        assert "training_seconds" in run.data.metrics
        assert "training_seconds" not in repeats[model]
    (together,) = runs(checked_out)["repeat: 2 seeds"]
    mean = json.loads((checked_out.folder / "reports/repeats.json").read_text())["cnn"]["test_accuracy"]["mean"]
    assert together.data.metrics["cnn.test_accuracy.mean"] == pytest.approx(mean)
    # The workspace stays as it was.
    assert checked_out.run("git", "status", "--porcelain").stdout == " M reports/repeats.json\n"

    # Again, nothing is trained, and nothing is there twice.
    output = checked_out.run("mnist", "repeat", "--seeds", "2").stdout
    assert "Running stage 'train" not in output
    assert [len(runs(checked_out)[name]) for name in (*MODELS.values(), "repeat: 2 seeds")] == [1, 1, 1, 1]


def test_one_seed_has_no_deviation(checked_out):
    done = checked_out.run("mnist", "repeat", "--seeds", "1", check=False)
    assert done.returncode == 1
    assert "--seeds 1" in done.stdout
