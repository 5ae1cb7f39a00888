"""`mnist checkout` brings back the exact state of a run."""

import shutil

import numpy as np
import pytest
from sklearn.datasets import load_digits

from commands.clone import check_out_code
from stages.fingerprints import file_md5, folder_md5
from tests.conftest import Clone
from tests.project import client, runs

FOREST = "models/random_forest.skops"


def test_the_state_of_a_run_comes_back_from_the_cache(reproduced, tmp_path):
    (run,) = runs(reproduced)["random-forest"]
    done = reproduced.run("mnist", "checkout", run.info.run_id, str(tmp_path / "state"))
    assert "byte for byte" in done.stdout
    assert "Running stage" not in done.stdout
    assert file_md5(tmp_path / "state" / FOREST) == run.data.tags["dvc.model_md5"]
    assert folder_md5(tmp_path / "state/data/prepared") == run.data.tags["dvc.data_md5"]
    head = ("git", "-C", str(tmp_path / "state"), "rev-parse", "HEAD")
    assert reproduced.run(*head).stdout.strip() == run.data.tags["git.commit"]


def test_the_code_is_that_of_the_commit_with_the_diff(clone, tmp_path_factory, monkeypatch):
    folder, module = tmp_path_factory.mktemp("code"), clone.folder / "stages/explore.py"
    commit = clone.run("git", "rev-parse", "HEAD").stdout.strip()
    module.write_text("then\n")
    (folder / "then.diff").write_text(clone.run("git", "diff").stdout)
    module.write_text("now\n")
    clone.commit("later")
    monkeypatch.chdir(clone.folder)
    # As in a hook of Git.
    monkeypatch.setenv("GIT_DIR", str(clone.folder / ".git"))
    check_out_code(folder / "state", commit, folder / "then.diff")
    assert (folder / "state/stages/explore.py").read_text() == "then\n"
    check_out_code(folder / "plain", commit, None)
    assert "def main" in (folder / "plain/stages/explore.py").read_text()
    # The user's own stays where it is.
    assert clone.run("git", "symbolic-ref", "HEAD").stdout == "refs/heads/main\n"
    assert module.read_text() == "now\n"


@pytest.mark.long
def test_the_state_of_an_experiment_with_edits_comes_back(checked_out, tmp_path_factory):
    clone, folder = checked_out, tmp_path_factory.mktemp("back") / "state"
    module = clone.folder / "stages/train_random_forest.py"
    module.write_text(module.read_text() + "\n# edited, not committed\n")
    trees = "train.random_forest.n_estimators=4"
    clone.run("dvc", "exp", "run", "--temp", "--name", "few", "--set-param", trees, "train-random-forest")
    clone.run("git", "checkout", "--quiet", ".")
    (run,) = runs(clone)["random-forest"]

    done = clone.run("mnist", "checkout", run.info.run_id, str(folder))
    assert "byte for byte" in done.stdout
    # From DVC's cache, without training.
    assert "Running stage" not in done.stdout
    assert file_md5(folder / FOREST) == run.data.tags["dvc.model_md5"]
    assert folder_md5(folder / "data/prepared") == run.data.tags["dvc.data_md5"]
    assert "n_estimators: 4" in (folder / "params.yaml").read_text()
    assert "# edited, not committed" in (folder / "stages/train_random_forest.py").read_text()
    assert clone.run("git", "status", "--porcelain").stdout == ""

    # Bytes that are nowhere are an error, and nothing is left half done.
    client(clone).set_tag(run.info.run_id, "dvc.data_md5", f"{'0' * 32}.dir")
    done = clone.run("mnist", "checkout", run.info.run_id, str(folder.with_name("other")), check=False)
    assert done.returncode == 1
    assert "error: prepared has other bytes" in done.stdout
    assert not folder.with_name("other").exists()


@pytest.mark.long
def test_a_state_that_is_in_no_cache_is_made_again_as_a_repeat(checked_out, tmp_path_factory):
    checked_out.run("python", "-m", "stages.train_random_forest")
    (run,) = runs(checked_out)["random-forest"]
    shutil.rmtree(checked_out.folder / ".dvc/cache")
    done = checked_out.run("mnist", "checkout", run.info.run_id, str(tmp_path_factory.mktemp("back") / "state"))
    assert "Running stage 'train-random-forest'" in done.stdout
    assert "byte for byte" in done.stdout
    repeat, _ = runs(checked_out)["random-forest"]
    assert repeat.data.tags["dvc.repeat_of"] == run.info.run_id


@pytest.mark.long
def test_a_data_set_that_dvc_keeps_comes_back_too(checked_out, tmp_path_factory):
    clone, folder = checked_out, tmp_path_factory.mktemp("back") / "state"
    images, labels = load_digits(return_X_y=True)
    (clone.folder / "data/sets/mine").mkdir()
    np.save(clone.folder / "data/sets/mine/train_images.npy", images.reshape(-1, 8, 8).astype(np.uint8))
    np.save(clone.folder / "data/sets/mine/train_labels.npy", labels)
    clone.run("dvc", "add", "data/sets/mine")
    clone.set_params({"data.name": "mine"})
    clone.commit("a data set")
    clone.run("dvc", "repro", "train-random-forest")
    (run,) = runs(clone, "mine")["random-forest"]
    assert "byte for byte" in clone.run("mnist", "checkout", run.info.run_id, str(folder)).stdout
    assert file_md5(folder / FOREST) == run.data.tags["dvc.model_md5"]
    assert (folder / "data/sets/mine/train_images.npy").is_file()


@pytest.mark.long
@pytest.mark.parametrize("where", [(), ("--local",)])
def test_the_model_of_another_member_comes_from_the_remote(checked_out, tmp_path_factory, where):
    ann, folder = checked_out, tmp_path_factory.mktemp("team")
    bob = Clone(folder / "bob")
    ann.run("git", "clone", "--quiet", ".", str(bob.folder))
    ann.run("dvc", "remote", "add", "--local", "--default", "storage", str(folder / "remote"))
    bob.run("dvc", "remote", "add", *where, "--default", "storage", "../remote")
    bob.run("dvc", "remote", "modify", "--local", "storage", "jobs", "3")
    # An edit that is in no commit, of a model that Bob has never had.
    ann.set_params({"train.random_forest.n_estimators": 4})
    ann.run("dvc", "repro", "train-random-forest")
    ann.run("dvc", "push", "--run-cache")
    (run,) = runs(ann)["random-forest"]
    uri = f"sqlite:///{ann.folder / 'mlflow.db'}"

    done = bob.run("mnist", "checkout", run.info.run_id, str(folder / "deep/state"), MLFLOW_TRACKING_URI=uri)
    assert "Running stage 'train-random-forest'" not in done.stdout
    assert file_md5(folder / "deep/state" / FOREST) == run.data.tags["dvc.model_md5"]

    # Without the remote it is trained again.
    shutil.rmtree(folder / "remote")
    shutil.rmtree(bob.folder / ".dvc/cache")
    done = bob.run("mnist", "checkout", run.info.run_id, str(folder / "again"), MLFLOW_TRACKING_URI=uri)
    assert "Running stage 'train-random-forest'" in done.stdout
    assert file_md5(folder / "again" / FOREST) == run.data.tags["dvc.model_md5"]


@pytest.mark.long
def test_data_and_model_that_dvc_would_make_otherwise_come_back_by_their_md5(checked_out, tmp_path_factory):
    clone, folder = checked_out, tmp_path_factory.mktemp("back") / "state"
    # Trained on data that params.yaml would not give any more.
    clone.set_params({"preprocess.seed": 1})
    clone.run("dvc", "repro", "--force", "--single-item", "train-random-forest")
    (run,) = runs(clone)["random-forest"]
    clone.run("mnist", "checkout", run.info.run_id, str(folder))
    assert folder_md5(folder / "data/prepared") == run.data.tags["dvc.data_md5"]
    assert file_md5(folder / FOREST) == run.data.tags["dvc.model_md5"]

    # Without a copy anywhere it is an error, and nothing is left half done.
    shutil.rmtree(clone.folder / ".dvc/cache")
    done = clone.run("mnist", "checkout", run.info.run_id, str(folder.with_name("again")), check=False)
    assert done.returncode == 1
    assert "error: prepared has other bytes" in done.stdout
    assert not folder.with_name("again").exists()


def test_a_damaged_store_is_said_in_a_line(checked_out):
    (checked_out.folder / "mlflow.db").write_bytes(b"no database" * 1000)
    done = checked_out.run("mnist", "checkout", "0123", "new", check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout


def test_mistakes_are_said_in_a_line_or_two(checked_out):
    for arguments, said in (
        (("0123", "new"), "run 0123 cannot be read"),
        (("0123", "stages"), "stages: exists and is not an empty folder"),
    ):
        done = checked_out.run("mnist", "checkout", *arguments, check=False)
        assert done.returncode == 1
        assert said in done.stdout
        assert "Traceback" not in done.stdout
        assert not (checked_out.folder / "new").exists()
