"""Several at the same time: two pipelines in one clone, and two clones on one store."""

import shutil
from pathlib import Path

import mlflow
import psutil
import pytest

from tests.conftest import Audit, Clone, copy_of
from tests.faults.test_killed import files
from tests.project import MODELS

pytestmark = pytest.mark.faults


def check_they_end_right(both: list[psutil.Popen], clone: Clone, undisturbed: Clone) -> None:
    ended = [(process.communicate(timeout=600)[0], process.returncode) for process in both]
    assert 0 in [code for _, code in ended], ended
    for output, code in ended:
        assert "Traceback" not in output
        # DVC's own words, with the number of the other process.
        assert not code or "is busy, it is being blocked by" in output or "Unable to acquire lock" in output, output
    clone.run("dvc", "repro")
    assert "up to date" in clone.run("dvc", "status").stdout
    expected, found = files(undisturbed.folder), files(clone.folder)
    assert [name for name in expected if found.get(name) != expected[name]] == []


def test_two_repros_of_a_stage_in_one_clone_end_with_the_right_bytes_or_a_clear_refusal(checked_out, reproduced):
    command = ("dvc", "repro", "--force", "--single-item", "preprocess")
    both = [checked_out.start(*command) for _ in range(2)]
    check_they_end_right(both, checked_out, reproduced)


@pytest.mark.long
def test_two_pipelines_in_one_clone_end_with_the_right_bytes_or_a_clear_refusal(checked_out, reproduced):
    checked_out.run("git", "checkout", "--quiet", "HEAD~1", "--", "reports")
    shutil.rmtree(checked_out.folder / ".dvc/cache/runs")
    for model in MODELS:
        next((checked_out.folder / "models").glob(f"{model}.*")).unlink()
    both = [checked_out.start("dvc", "repro", "--force") for _ in range(2)]
    check_they_end_right(both, checked_out, reproduced)


@pytest.mark.long
def test_a_stage_waits_for_another_of_its_kind_in_the_same_folder(checked_out):
    stage = ("python", "-m", "stages.train_random_forest")
    both = [checked_out.start(*stage) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("waiting for another process that runs this stage here" in output for output in outputs) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    "commands",
    [
        # All of them find out that the store has none of the runs.
        [("mnist", "publish")],
        [("python", "-m", "stages.evaluate"), ("python", "-m", "stages.train_random_forest")],
    ],
    ids=["publish", "evaluate and train"],
)
def test_two_clones_on_a_fresh_store_make_one_run_for_each_model(audit: Audit, tmp_path: Path, commands):
    clones = [copy_of(audit, tmp_path / name, "mlflow.db*", "mlartifacts") for name in ("one", "two")]
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    for process in [clone.start(*command, MLFLOW_TRACKING_URI=uri) for command in commands for clone in clones]:
        output = process.communicate(timeout=300)[0]
        assert process.returncode == 0, output
        assert "warning: MLflow" not in output
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("digits")
    found = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in found} == {"FINISHED"}
    standing = [run.info.run_name for run in found if "dvc.model_md5" in run.data.tags]
    assert sorted(standing) == sorted(MODELS.values())
    assert all(run.outputs.model_outputs for run in found)
