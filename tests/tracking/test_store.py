"""The store that runs go to, and the words for one that takes none."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

from stages.process.errors import UserError
from stages.tracking.moved_clone import COLUMNS, follow_the_clone
from stages.tracking.store import connect, store_lock, tracking_uri
from tests.conftest import copy_of
from tests.project import client, runs

FOREST = ("python", "-m", "stages.train_random_forest")


@pytest.mark.long
def test_a_deleted_experiment_is_said_with_the_way_back(checked_out):
    identifier = client(checked_out).create_experiment("digits")
    client(checked_out).delete_experiment(identifier)
    assert f"mlflow experiments restore -x {identifier}" in checked_out.run(*FOREST).stdout


def test_credentials_are_never_shown(checked_out):
    uri = "http://user:s3cret@127.0.0.1:9"
    for command, code in ((FOREST, 0), (("mnist", "ui"), 1)):
        done = checked_out.run(*command, check=False, MLFLOW_TRACKING_URI=uri)
        assert done.returncode == code
        assert "127.0.0.1:9" in done.stdout
        assert "s3cret" not in done.stdout


@pytest.mark.parametrize(
    "uri",
    [
        "ftp://host",
        "http://[",
        "./mlruns",
        "file:///tmp/mlruns",
        "sqlit:///a.db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///?cache=shared",
        "sqlite+pysqlite:///mlflow.db",
    ],
)
def test_a_uri_that_cannot_be_is_refused(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI="):
        tracking_uri()


def test_clones_that_share_a_database_share_its_lock(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/shared.db")
    assert store_lock().lock_file == f"{tmp_path}/shared.db.lock"


def test_a_setting_behind_the_database_is_no_part_of_its_name(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db?timeout=30")
    assert connect().MlflowClient().search_runs(["0"]) == []
    assert store_lock().lock_file == f"{tmp_path}/mlflow.db.lock"
    assert (tmp_path / "mlflow.db").exists()


def files(clone: Path) -> list[Path]:
    # MLflow writes this one beside a champion that it loads, as another test may do meanwhile.
    return sorted(path for path in clone.rglob("mlartifacts/**/*") if path.name != "registered_model_meta")


def test_the_store_of_a_copy_finds_its_artifacts_beside_it(reproduced, tmp_path):
    shutil.copyfile(reproduced.folder / "mlflow.db", tmp_path / "mlflow.db")
    shutil.copytree(reproduced.folder / "mlartifacts", tmp_path / "mlartifacts")
    follow_the_clone(tmp_path / "mlflow.db")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        for table, column in COLUMNS:
            locations = [Path(each) for (each,) in store.execute(f"SELECT {column} FROM {table}")]
            ours = [each for each in locations if "mlartifacts" in each.parts]
            assert ours, table
            assert all(each.is_relative_to(tmp_path) for each in ours)


@pytest.mark.long
def test_a_clone_that_is_copied_keeps_its_artifacts_to_itself(audit, tmp_path):
    original, copy = Path(audit.folder), copy_of(audit, tmp_path / "a copy")
    before = files(original)
    copy.run(*FOREST)
    locations = [run.info.artifact_uri for of_name in runs(copy).values() for run in of_name]
    locations += [client(copy).get_experiment_by_name("digits").artifact_location]
    assert all(Path(location).is_relative_to(copy.folder) for location in locations)
    assert Path(runs(copy)["mlp"][0].info.artifact_uri, "confusion_matrix.png").exists()
    champion = client(copy).get_model_version_by_alias("digits", "champion")
    mlflow.set_tracking_uri(f"sqlite:///{copy.folder / 'mlflow.db'}")
    loaded = mlflow.artifacts.download_artifacts(f"models:/digits/{champion.version}")
    assert Path(loaded).is_relative_to(copy.folder)
    assert files(original) == before


@pytest.mark.faults
@pytest.mark.long
def test_the_artifacts_of_another_clone_in_the_same_store_stay_its_own(checked_out, audit, tmp_path_factory):
    other = copy_of(audit, tmp_path_factory.mktemp("other"), "mlflow.db*", "mlartifacts")
    other.run("mnist", "publish", MLFLOW_TRACKING_URI=f"sqlite:///{checked_out.folder / 'mlflow.db'}")
    checked_out.run(*FOREST)
    for _, (run, *_) in runs(checked_out).items():
        assert Path(run.info.artifact_uri).is_relative_to(other.folder)
    assert Path(runs(checked_out)["mlp"][0].info.artifact_uri, "confusion_matrix.png").exists()


def test_a_relative_database_lies_in_the_main_repository_also_for_a_temporary_experiment(monkeypatch, tmp_path):
    (tmp_path / ".dvc").mkdir()
    temporary = tmp_path / ".dvc/tmp/exps/tmpabc"
    (temporary / ".dvc").mkdir(parents=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    for folder in (tmp_path, temporary):
        monkeypatch.chdir(folder)
        assert tracking_uri() == f"sqlite:///{os.path.realpath(tmp_path)}/mlflow.db"


def test_without_a_setting_the_store_lies_in_the_repository(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / ".dvc").mkdir()
    inside = tmp_path / "reports"
    inside.mkdir()
    monkeypatch.chdir(inside)
    assert tracking_uri() == f"sqlite:///{os.path.realpath(tmp_path)}/mlflow.db"
