"""Where runs go, and what is said where they cannot."""

import os

import pytest

from stages.errors import UserError
from stages.tracking.store import store_lock, tracking_uri
from tests.test_pipeline import client

FOREST = ("python", "-m", "stages.train_random_forest")


def test_a_deleted_experiment_is_said_with_the_way_back(checked_out):
    checked_out.run(*FOREST)
    identifier = client(checked_out).get_experiment_by_name("digits").experiment_id
    client(checked_out).delete_experiment(identifier)
    assert f"mlflow experiments restore -x {identifier}" in checked_out.run(*FOREST).stdout


def test_credentials_are_never_shown(checked_out):
    uri = "http://user:s3cret@127.0.0.1:9"
    for command, code in ((FOREST, 0), (("mnist", "ui"), 1)):
        done = checked_out.run(*command, check=False, MLFLOW_TRACKING_URI=uri)
        assert done.returncode == code
        assert "127.0.0.1:9" in done.stdout
        assert "s3cret" not in done.stdout


@pytest.mark.parametrize("uri", ["ftp://host", "http://[", "./mlruns", "file:///tmp/mlruns", "sqlit:///a.db"])
def test_a_uri_that_cannot_be_is_refused(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI="):
        tracking_uri()


def test_clones_that_share_a_database_share_its_lock(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/shared.db")
    assert store_lock().lock_file == f"{tmp_path}/shared.db.lock"


def test_without_a_setting_the_store_lies_in_the_repository(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / ".dvc").mkdir()
    inside = tmp_path / "reports"
    inside.mkdir()
    monkeypatch.chdir(inside)
    assert tracking_uri() == f"sqlite:///{os.path.realpath(tmp_path)}/mlflow.db"
