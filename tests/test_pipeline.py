"""The whole pipeline, as a user runs it: a real `dvc repro` with a real MLflow store."""

import json
import os
import re

import mlflow
import numpy as np
import pandas as pd
import pytest

from stages.dataset.prepared import ABOUT
from stages.fingerprints import folder_md5
from stages.paths import PREPARED
from stages.process.provenance import cores
from tests.project import MODELS, OFFLINE, STAGES, client, locked, metrics, ran, restored, runs

AWAY = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}


def test_the_first_repro_runs_every_stage_and_ends_with_a_table(reproduced, audit):
    output = audit.output
    assert ran(output) == STAGES
    for name, values in metrics(reproduced).items():
        assert values["test_accuracy"] >= 0.9, name
        assert f"{values['test_accuracy']:.2%}" in output
    assert set(metrics(reproduced)) == set(MODELS)
    assert "uv run mnist ui" in output


def test_the_console_is_no_wall_of_text(audit):
    output = audit.output
    for network in ("mlp", "cnn"):
        assert output.count(f'Model: "{network}"') == 1
    for noise in ("oneDNN", "cuda", "absl", "UserWarning", "alembic", "Traceback", "Epoch 1/"):
        assert noise not in output
    assert "random-forest: training on the CPU" in output


def test_a_second_repro_does_nothing(reproduced):
    assert ran(reproduced.run("dvc", "repro").stdout) == []
    assert "up to date" in reproduced.run("dvc", "status").stdout
    assert reproduced.run("git", "status", "--porcelain").stdout == ""


# A stage during which somebody edits params.yaml.
EDITED = """
import sys
from pathlib import Path
from stages.params.views import PreprocessParams, load_params
from stages.params.yaml_file import edit_file
from stages.tracking.stage import run_stage

key = sys.argv.pop()

def main():
    load_params(PreprocessParams)
    edit_file(Path("params.yaml"), {key: 7})

run_stage(main, None)
"""


@pytest.mark.parametrize(("key", "own"), [("preprocess.seed", True), ("runtime.seed", False)])
def test_values_that_are_edited_while_a_stage_runs_are_not_recorded_for_what_it_made(clone, key, own):
    (clone.folder / "edited.py").write_text(EDITED)
    done = clone.run("python", "edited.py", key, check=False, PYTHONPATH=str(clone.folder))
    assert done.returncode == own
    assert ("error: params.yaml: preprocess was edited while this ran" in done.stdout) == own
    assert "Traceback" not in done.stdout


# A stage that loads some modules, of which somebody edits one.
EDITED_CODE = """
import sys
from pathlib import Path
import stages.dataset.scaling, stages.process.console
from stages.tracking.stage import run_stage

file = Path(sys.argv.pop())

def main():
    file.write_text(file.read_text() + "# edited\\n")

run_stage(main, None)
"""


@pytest.mark.parametrize(
    ("file", "own"),
    [("stages/dataset/scaling.py", True), ("stages/process/console.py", False), ("stages/preprocess.py", False)],
)
def test_code_that_is_edited_while_a_stage_runs_is_not_recorded_for_what_it_made(clone, file, own):
    (clone.folder / "edited.py").write_text(EDITED_CODE)
    done = clone.run("python", "edited.py", file, check=False, PYTHONPATH=str(clone.folder))
    assert done.returncode == own
    assert (f"error: {file}: was edited while this ran" in done.stdout) == own
    assert "Traceback" not in done.stdout


def test_every_report_is_there(reproduced):
    reports = reproduced.folder / "reports"
    for model in MODELS:
        matrix = pd.read_csv(reports / model / "confusion_matrix.csv")
        assert list(matrix.columns) == ["actual", "predicted"]
        accuracy = (matrix["actual"] == matrix["predicted"]).mean()
        assert accuracy == pytest.approx(metrics(reproduced)[model]["test_accuracy"])
        assert matrix["actual"].tolist() == np.load(reproduced.folder / "data/prepared/test_labels.npy").tolist()
        assert (reports / model / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
        assert len(pd.read_csv(reports / model / "per_class.csv")) == 10
    for model in ("mlp", "cnn"):
        history = pd.read_csv(reports / model / "history.csv")
        assert list(history.columns) == ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]
    assert {path.name for path in (reports / "explore").iterdir()} == {
        "class_counts.csv",
        "class_counts.png",
        "examples.png",
        "explained_variance.csv",
        "explained_variance.png",
        "mean_images.png",
        "outliers.csv",
        "outliers.png",
        "pca.png",
        "purity.csv",
    }
    page = (reports / "index.html").read_text()
    assert f"{100 * metrics(reproduced)['cnn']['test_accuracy']:.2f} %" in page
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_dvc_shows_metrics_params_and_plots(reproduced):
    shown = json.loads(reproduced.run("dvc", "metrics", "show", "--json").stdout)
    assert shown[""]["data"]["reports/metrics.json"]["data"] == metrics(reproduced)
    assert "params.yaml" in reproduced.run("dvc", "params", "diff", "HEAD~1", "--all").stdout
    # The commit before has the reports of the project itself.
    assert "cnn.test_accuracy" in reproduced.run("dvc", "metrics", "diff", "HEAD~1").stdout
    plots = json.loads(reproduced.run("dvc", "plots", "show", "--json").stdout)["data"]
    assert {"reports/mlp/confusion_matrix.csv", "Loss per epoch (CNN)"} <= set(plots)


def test_mlflow_has_one_complete_run_per_model(reproduced):
    for model, name in MODELS.items():
        (run,) = runs(reproduced)[name]
        assert run.info.status == "FINISHED"
        for metric, value in metrics(reproduced)[model].items():
            if metric.startswith("test_"):
                assert run.data.metrics[metric] == pytest.approx(value)
        (lock_md5,) = (md5 for path, md5 in locked(reproduced, f"train-{name}").items() if not path.endswith(".csv"))
        tags = run.data.tags
        assert tags["dvc.model_md5"] == lock_md5
        assert tags["dvc.data_md5"] == locked(reproduced, "preprocess")["data/prepared"]
        assert tags["dvc.stage"] == f"train-{name}"
        assert tags["git.commit"] == reproduced.run("git", "rev-parse", "HEAD~1").stdout.strip()
        assert tags["git.dirty"] == "false"
        assert (tags["runtime.device"], tags["runtime.arithmetic"]) == ("cpu", "portable")
        assert tags["runtime.processor"]
        assert tags["runtime.cores"] == str(cores())
        assert tags["version.numpy"] == np.__version__
        (data,) = run.inputs.dataset_inputs
        assert data.dataset.name == "digits"
        assert f"{data.dataset.digest}.dir" == tags["dvc.data_md5"]
        (model_output,) = run.outputs.model_outputs
        logged = client(reproduced).get_logged_model(model_output.model_id)
        assert (logged.experiment_id, logged.source_run_id) == (run.info.experiment_id, run.info.run_id)
        artifacts = {file.path for file in client(reproduced).list_artifacts(run.info.run_id)}
        assert {"confusion_matrix.png", "confusion_matrix.csv", "per_class.csv"} <= artifacts
    (forest,) = runs(reproduced)["random-forest"]
    before, after = (forest.data.metrics[name] for name in ("val_loss_uncalibrated", "val_loss"))
    assert before > 2 * after
    # The evaluation has the loss of the training, which is marked.
    assert len(client(reproduced).get_metric_history(forest.info.run_id, "val_loss")) == 1
    temperature = metrics(reproduced)["random_forest"]["temperature"]
    assert forest.data.metrics["temperature"] == temperature
    marked = f"temperature {temperature}, fitted on the validation images: val_loss is that of the fit"
    assert forest.data.tags["calibration"] == marked
    (mlp,) = runs(reproduced)["mlp"]
    assert mlp.data.params["epochs"] == "12"
    assert mlp.data.params["optimizer.name"] == "adam"
    steps = client(reproduced).get_metric_history(mlp.info.run_id, "val_accuracy")
    history = pd.read_csv(reproduced.folder / "reports/mlp/history.csv")
    per_epoch = {point.step: point.value for point in steps}
    assert [per_epoch[epoch] for epoch in range(1, 13)] == pytest.approx(list(history["val_accuracy"]))


@pytest.mark.usefixtures("loaded_tensorflow")
def test_every_logged_model_takes_raw_images_and_scores_the_same(reproduced, monkeypatch):
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    raw = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    _, images, _, labels = train_test_split(raw, digits.target, test_size=0.2, stratify=digits.target, random_state=0)
    mlflow.set_tracking_uri(f"sqlite:///{reproduced.folder / 'mlflow.db'}")
    signatures = set()
    for model, name in MODELS.items():
        (run,) = runs(reproduced)[name]
        loaded = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
        signatures.add(str(loaded.metadata.signature))
        probabilities = loaded.predict(images)
        assert probabilities.shape == (360, 10)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        accuracy = (probabilities.argmax(axis=1) == labels).mean()
        assert accuracy == pytest.approx(metrics(reproduced)[model]["test_accuracy"])
        loss = -np.log(probabilities[np.arange(360), labels]).mean()
        assert loss == pytest.approx(metrics(reproduced)[model]["test_loss"], rel=1e-4)
        with pytest.warns(UserWarning, match="raw images from 0 to 255"):
            loaded.predict((images[:1] > 99).astype(np.uint8))
        folder = mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/model")
        assert not [name for _, _, files in os.walk(folder) for name in files if name.endswith(".pkl")]
    assert len(signatures) == 1


BREAKS_OFF = """
import stages.evaluate
write = stages.evaluate.write_model_report
def interrupted(result, *rest):
    if result.model.name == "cnn":
        raise KeyboardInterrupt
    write(result, *rest)
stages.evaluate.write_model_report = interrupted
stages.evaluate.main()
"""


def test_an_evaluation_that_breaks_off_leaves_the_reports_of_before(checked_out):
    # A new report lacks it.
    (checked_out.folder / "reports/mlp/before.txt").touch()
    before = folder_md5(checked_out.folder / "reports")
    assert checked_out.run("python", "-c", BREAKS_OFF, check=False).returncode
    assert folder_md5(checked_out.folder / "reports") == before


def test_an_evaluation_says_all_there_is_to_say_and_makes_the_runs_that_are_missing(checked_out):
    """The gate is missed, the data stand in for others, and the store has no run of the models."""
    clone = checked_out
    clone.set_params({f"gate.minimum_accuracy.digits.{model}": 1.0 for model in MODELS} | {"gate.enforce": True})
    # The models were not made with this.
    clone.set_params({"train.mlp.epochs": 3, "train.random_forest.n_estimators": 2})
    info = clone.folder / PREPARED / ABOUT
    info.write_text(json.dumps(json.loads(info.read_text()) | {"requested": "mnist", "fallback": True}))
    done = clone.run("python", "-m", "stages.evaluate", check=False)
    # An error, after everything is written.
    assert done.returncode == 1
    assert "gate: mlp, cnn, random_forest below gate.minimum_accuracy" in done.stdout
    assert "Everything is written" in done.stdout
    assert "dvc repro --force download" in done.stdout
    assert "Traceback" not in done.stdout
    assert not any(values["gate_passed"] for values in metrics(clone).values())
    page = (clone.folder / "reports/index.html").read_text()
    assert page.count('class="missed"') == 3
    assert "dvc repro --force download" in page
    for model, name in MODELS.items():
        (run,) = runs(clone)[name]
        assert run.data.tags["gate"] == "missed"
        assert "digits" in run.data.tags["data.fallback"]
        assert run.data.tags["dvc.restored"] == "true"
        assert run.info.status == "FINISHED"
        assert run.data.metrics["test_accuracy"] == pytest.approx(metrics(clone)[model]["test_accuracy"])
    assert runs(clone)["mlp"][0].data.params["epochs"] == "12"
    assert runs(clone)["random-forest"][0].data.params["n_estimators"] == "40"
    assert "val_loss is that of the fit" in runs(clone)["random-forest"][0].data.tags["calibration"]
    # None of them becomes the champion.
    with pytest.raises(mlflow.exceptions.MlflowException, match="digits"):
        client(clone).get_model_version_by_alias("digits", "champion")


@pytest.mark.long
def test_a_model_below_its_minimum_is_marked_everywhere_and_loses_the_alias(checked_out):
    clone = checked_out
    clone.run("mnist", "publish")
    assert client(clone).get_model_version_by_alias("digits", "champion")
    clone.set_params({f"gate.minimum_accuracy.digits.{model}": 1.0 for model in MODELS})
    output = clone.run("dvc", "repro").stdout
    assert ran(output) == ["evaluate"]
    assert "gate: mlp, cnn, random_forest below gate.minimum_accuracy" in output
    assert not any(values["gate_passed"] for values in metrics(clone).values())
    assert (clone.folder / "reports/index.html").read_text().count('class="missed"') == 3
    assert [runs(clone)[name][0].data.tags["gate"] for name in MODELS.values()] == ["missed"] * 3
    with pytest.raises(mlflow.exceptions.MlflowException, match="champion"):
        client(clone).get_model_version_by_alias("digits", "champion")

    # Enforced it is an error, after everything is written; and nothing to be surprised by once it is met.
    clone.set_params({"gate.enforce": True})
    done = clone.run("dvc", "repro", check=False)
    assert done.returncode != 0
    assert "Everything is written" in done.stdout
    assert "Traceback" not in done.stdout
    clone.set_params({f"gate.minimum_accuracy.digits.{model}": 0.5 for model in MODELS})
    clone.run("dvc", "repro")
    assert client(clone).get_model_version_by_alias("digits", "champion")


def test_an_edit_trains_what_depends_on_it_and_going_back_trains_nothing(checked_out):
    clone = checked_out
    command, stage = ("dvc", "repro", "train-random-forest"), "train-random-forest"
    before = locked(clone, stage)

    clone.set_params({"train.random_forest.n_estimators": 3})
    assert re.findall(r"^([\w-]+):$", clone.run("dvc", "status").stdout, re.MULTILINE) == [stage, "evaluate"]
    assert "train.random_forest.n_estimators" in clone.run("dvc", "params", "diff").stdout
    assert ran(clone.run(*command).stdout) == [stage]
    (run,) = runs(clone)["random-forest"]
    assert run.data.tags["git.dirty"] == "true"
    assert "+    n_estimators: 3" in mlflow.artifacts.load_text(f"{run.info.artifact_uri}/git.diff")

    # A mistake loses nothing, and going back trains nothing.
    clone.set_params({"train.random_forest.n_estimators": -1})
    refused = clone.run(*command, check=False)
    assert refused.returncode != 0
    assert "train.random_forest.n_estimators: -1 is not allowed" in refused.stdout
    assert "Traceback" not in refused.stdout
    clone.set_params({"train.random_forest.n_estimators": 40})
    params = clone.folder / "params.yaml"
    params.write_text(params.read_text() + "\n# a comment\n")
    output = clone.run("dvc", "repro").stdout
    assert (ran(output), restored(output)) == ([], [stage])
    assert locked(clone, stage) == before
    assert clone.run("git", "status", "--porcelain").stdout == " M params.yaml\n"


@pytest.mark.long
def test_an_edit_reruns_what_depends_on_it_and_going_back_trains_nothing(checked_out):
    clone = checked_out
    before = locked(clone, "train-cnn")

    clone.set_params({"train.cnn.epochs": 3})
    output = clone.run("dvc", "repro").stdout
    assert ran(output) == ["train-cnn", "evaluate"]
    assert "cnn.test_accuracy" in clone.run("dvc", "metrics", "diff").stdout
    assert "train.cnn.epochs" in clone.run("dvc", "params", "diff").stdout
    (newest,) = runs(clone)["cnn"]
    assert newest.data.tags["git.dirty"] == "true"
    diff = mlflow.artifacts.load_text(f"{newest.info.artifact_uri}/git.diff")
    assert "+    epochs: 3" in diff

    clone.set_params({"train.cnn.epochs": 8})
    output = clone.run("dvc", "repro").stdout
    assert restored(output) == ["train-cnn"]
    assert ran(output) == ["evaluate"]
    assert locked(clone, "train-cnn") == before
    assert clone.run("git", "status", "--porcelain").stdout == ""
    assert len(runs(clone)["cnn"]) == 2

    params = clone.folder / "params.yaml"
    params.write_text(params.read_text() + "\n# a comment\n")
    assert ran(clone.run("dvc", "repro").stdout) == []

    # A forced repeat is a proof, not a second identity: the same bytes, tied to the first run.
    clone.run("git", "checkout", "--quiet", "params.yaml")
    assert ran(clone.run("dvc", "repro", "--force", "--single-item", "train-cnn").stdout) == ["train-cnn"]
    assert clone.run("git", "status", "--porcelain").stdout == ""
    repeat, first, _ = runs(clone)["cnn"]
    assert repeat.data.tags["dvc.repeat_of"] == first.info.run_id
    assert "dvc.model_md5" not in repeat.data.tags

    # A mistake loses nothing: what was there comes back once it is corrected.
    clone.set_params({"train.cnn.epochs": -1})
    refused = clone.run("dvc", "repro", check=False)
    assert refused.returncode != 0
    assert "train.cnn.epochs: -1 is not allowed" in refused.stdout
    assert "Traceback" not in refused.stdout
    clone.set_params({"train.cnn.epochs": 8})
    assert ran(clone.run("dvc", "repro").stdout) == []
    assert clone.run("git", "status", "--porcelain").stdout == ""

    # A key that no stage reads is not passed over in silence.
    params.write_text(params.read_text() + "\ntypo: 1\n")
    refused = clone.run("dvc", "repro", check=False)
    assert refused.returncode != 0
    assert "typo: unknown key" in refused.stdout
    assert (clone.folder / "reports/metrics.json").is_file()


@pytest.mark.long
def test_without_a_tracker_an_evaluation_is_still_made(checked_out):
    measured = metrics(checked_out)
    (checked_out.folder / "reports/metrics.json").unlink()
    output = checked_out.run("python", "-m", "stages.evaluate", **AWAY).stdout
    assert "warning: MLflow (http://127.0.0.1:9) did not take the run" in output
    assert metrics(checked_out) == measured


@pytest.mark.long
def test_without_a_tracker_everything_is_still_made(clone):
    done = clone.run("dvc", "repro", **AWAY)
    assert ran(done.stdout) == STAGES
    assert "warning: MLflow (http://127.0.0.1:9) did not take the run" in done.stdout
    assert set(metrics(clone)) == set(MODELS)


def test_a_tracking_uri_that_cannot_be_is_refused_before_training(checked_out):
    clone = checked_out
    (clone.folder / "models/mlp.keras").unlink()
    done = clone.run("python", "-m", "stages.train_mlp", check=False, MLFLOW_TRACKING_URI="ftp://user:pw@host")
    assert done.returncode != 0
    assert "MLFLOW_TRACKING_URI=ftp://host" in done.stdout
    assert "pw" not in done.stdout
    assert not (clone.folder / "models/mlp.keras").exists()


def test_gpu_without_one_is_an_error_at_the_start(checked_out):
    checked_out.set_params({"runtime.device": "gpu", "runtime.arithmetic": "native"})
    done = checked_out.run("python", "-m", "stages.train_mlp", check=False, CUDA_VISIBLE_DEVICES="-1")
    assert done.returncode != 0
    assert "error: params.yaml: runtime.device: gpu" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.long
def test_the_offline_sample_is_named_everywhere(clone):
    clone.set_params({"data.name": "mnist", "train.mlp.epochs": 2, "train.cnn.epochs": 1})
    output = clone.run("dvc", "repro", **OFFLINE).stdout
    # At the download, and again at the end, where it is read.
    assert output.count("dvc repro --force download") >= 2
    assert "mnist-sample: test images" in output
    assert "dvc repro --force download" in (clone.folder / "reports/index.html").read_text()
    for name in MODELS.values():
        (run,) = runs(clone, "mnist-sample")[name]
        assert "mnist-sample" in run.data.tags["data.fallback"]
