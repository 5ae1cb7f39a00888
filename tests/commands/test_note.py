"""`mnist note`: a sentence in the description of one run, beside what stands there."""

import argparse
import shutil

import mlflow
import pytest

from commands import note
from stages.process.errors import UserError

NOTE = "mlflow.note.content"


@pytest.fixture
def store(tmp_path, monkeypatch, empty_store) -> mlflow.MlflowClient:
    uri = f"sqlite:///{shutil.copyfile(empty_store, tmp_path / 'mlflow.db')}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return mlflow.MlflowClient(uri)


def noted(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    note.add_to(parser.add_subparsers())
    parsed = parser.parse_args(["note", *arguments])
    parsed.run(parsed)


def description(store: mlflow.MlflowClient, run: mlflow.entities.Run) -> str | None:
    return store.get_run(run.info.run_id).data.tags.get(NOTE)


def test_it_stands_beside_what_is_there(store, capsys):
    run, other = (store.create_run("0", run_name=name) for name in ("mlp", "cnn"))
    store.set_tag(run.info.run_id, NOTE, "Made from files.")
    noted(run.info.run_id, "  The first one without dropout. ")
    noted(run.info.run_id[:12], 'It\'s "better": 99 %')
    assert run.info.run_id in capsys.readouterr().out
    assert description(store, run) == ('Made from files.\n\nThe first one without dropout.\n\nIt\'s "better": 99 %')
    # The same again is there already.
    noted(run.info.run_id, "The first one without dropout.")
    assert description(store, run).count("dropout") == 1
    assert description(store, other) is None


@pytest.mark.parametrize("name", ["mlp", "it's mine", "fade"])
def test_a_name_that_one_run_has_will_do(store, name):
    run = store.create_run("0", run_name=name)
    store.create_run("0", run_name="another")
    noted(name, "x")
    assert description(store, run) == "x"


def test_a_name_of_several_runs_is_refused_with_their_ids(store):
    found = [store.create_run("0", run_name="mlp") for _ in range(2)]
    with pytest.raises(UserError, match="'mlp' may be any of several runs: ") as refusal:
        noted("mlp", "x")
    assert all(run.info.run_id[:8] in str(refusal.value) for run in found)
    assert all(description(store, run) is None for run in found)


@pytest.mark.parametrize("name", ["cnn", "0" * 32, "%", "", "' OR \"", "deleted"])
def test_a_run_that_is_not_there_is_said(store, name):
    store.create_run("0", run_name="mlp")
    store.delete_run(store.create_run("0", run_name="deleted").info.run_id)
    with pytest.raises(UserError, match="has no run with this id or name"):
        noted(name, "x")


def test_what_mlflow_would_cut_off_is_refused(store):
    run = store.create_run("0", run_name="mlp")
    noted("mlp", "x" * 7000)
    with pytest.raises(UserError, match="MLflow keeps 8,000"):
        noted("mlp", "y" * 1000)
    assert description(store, run) == "x" * 7000
    with pytest.raises(UserError, match="empty"):
        noted("mlp", " ")


def test_a_store_that_does_not_answer_is_said(clone):
    done = clone.run("mnist", "note", "mlp", "x", check=False, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "http://127.0.0.1:9: MLflow did not take the note" in done.stdout
    assert "Traceback" not in done.stdout
