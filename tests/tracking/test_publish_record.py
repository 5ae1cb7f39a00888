"""`publish` brings MLflow to the state of a record from whatever it has: on a real SQLite store, without a training."""

import shutil
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from stages.fingerprints import file_md5
from stages.learners.models import MLP, RANDOM_FOREST
from stages.tracking import publish as publishing
from stages.tracking import record as records
from stages.tracking.notes import NOTE, add_note
from stages.tracking.publish import publish, publish_all
from stages.tracking.runs import end_record
from stages.tracking.store import connect
from tests.servers import listening
from tests.tracking.conftest import BrokenOff, break_off, evaluation, published, training, write_model


def forget_what_is_published() -> None:
    """As a new process knows nothing."""
    publishing._published.clear()


def test_a_training_and_its_evaluation_are_published_once(clone):
    for make in (training, evaluation):
        record = make()
        assert publish(record)
        assert not record.exists()
        assert not publish(record)
    (run,) = published()
    assert run["status"] == "FINISHED"
    # MLflow adds the setting of the logged model.
    assert run["params"] == {"weights": "last", "optimizer.name": "adam", "deskew": "False"}
    assert run["tags"]["dvc.model_md5"] == file_md5(MLP.file)
    assert run["tags"]["runtime.device"] == "cpu"
    assert run["tags"]["gate"] == "passed"
    assert run["metrics"]["val_accuracy"] == [(1, 0.5), (2, 1 - 1 / 3), (3, 0.75), (4, 0.9)]
    assert run["metrics"]["test_accuracy"] == [(0, 0.9)]
    assert run["models"] == ["READY"]
    assert {"history.csv", "confusion_matrix.png", "predictions.json", "comparison.json"} <= set(run["artifacts"])
    assert not publish(evaluation())
    assert published() == [run]
    assert list((clone / records.FOLDER).iterdir()) == []


def test_a_run_that_goes_on_gets_what_is_new(clone):
    record = training(status=records.RUNNING, end_time=None)
    for _ in range(2):
        assert publish(record)
        (run,) = published()
        assert run["status"] == "RUNNING"
        assert len(run["metrics"]["val_loss"]) == 3
    records.append(record, 4, {"val_loss": 0.1})
    forget_what_is_published()
    publish(record)
    assert [step for step, _ in published()[0]["metrics"]["val_loss"]] == [1, 2, 3, 4]
    records.update(record, status=records.FAILED, reason="no luck", end_time=records.now())
    publish(record)
    (run,) = published()
    assert (run["status"], run["tags"]["failure"], run["models"]) == ("FAILED", "no luck", [])
    assert not record.exists()


@pytest.mark.parametrize(
    ("make", "after"),
    [
        pytest.param(training, True, id="of a training, after"),
        pytest.param(training, False, id="of a training, before", marks=pytest.mark.long),
        # The calls are those of a training, which is broken off at each of them above, and the champion's.
        pytest.param(evaluation, False, id="from files, before", marks=pytest.mark.long),
        pytest.param(evaluation, True, id="from files, after", marks=pytest.mark.long),
    ],
)
def test_a_call_that_is_broken_off_at_any_step_loses_nothing_and_makes_nothing_twice(clone, empty_store, make, after):
    whole, calls, call = None, 1, 0
    while call <= calls:
        # The first round, without a call that breaks off, says what is to be there, and counts the calls.
        store = Path(shutil.copyfile(empty_store, clone / f"{call}.db"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}")
            with pytest.MonkeyPatch.context() as breaking:
                count = break_off(breaking, call, after)
                # MLflow goes on without some of its own calls.
                with suppress(BrokenOff):
                    publish_all([make()])
            forget_what_is_published()
            publish_all(records.waiting())
            # The next evaluation chooses the champion, where it was broken off there.
            publish_all([evaluation()] if make is evaluation else [])
            if whole is None:
                whole, calls = published(), count()
            assert published() == whole, call
            assert records.waiting() == []
            if make is evaluation:
                champion = connect().MlflowClient().get_model_version_by_alias("digits", "champion")
                assert int(champion.version) == 1
        call += 1
    assert calls > 10
    assert len(whole) == 1


def test_a_model_keeps_the_code_that_trained_it(clone):
    module = Path("stages/learners/networks.py")
    before = module.read_text()
    record = training()
    module.write_text("edited = True\n")
    publish(record)
    (logged,) = clone.glob("mlartifacts/**/code/stages/learners/networks.py")
    assert logged.read_text() == before


def test_the_data_of_the_champion_are_those_of_the_training(clone):
    publish(training())
    record = evaluation()
    (run,) = published()
    (clone / "data/prepared/train_labels.npy").write_bytes(b"others by now")
    publish_all([record])
    champion = connect().MlflowClient().get_model_version_by_alias("digits", "champion")
    assert champion.tags["dvc.data_md5"] == run["tags"]["dvc.data_md5"]


def test_an_evaluation_waits_for_its_training(clone):
    trained, evaluated = training(), evaluation()
    with pytest.raises(RuntimeError, match="the training of mlp is not there yet"):
        publish_all([evaluated])
    assert published() == []
    publish_all(records.waiting())
    (run,) = published()
    assert "dvc.restored" not in run["tags"]
    assert run["metrics"]["test_accuracy"] == [(0, 0.9)]
    assert not trained.exists()
    assert not evaluated.exists()


def test_a_record_that_is_refused_holds_up_no_other(clone):
    refused, taken = training(arrays=[["?"], []]), training(RANDOM_FOREST)
    with pytest.raises(ValueError, match="unpack"):
        publish_all([refused, taken])
    (run,) = published("random-forest")
    assert run["status"] == "FINISHED"
    assert records.waiting() == [refused]


def test_a_server_that_is_away_is_not_asked_for_each_record(clone, monkeypatch):
    asked = []

    class Away(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(503)

    with listening(Away) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        waiting = [training(), training(RANDOM_FOREST)]
        with pytest.raises(MlflowException, match="503"):
            publish_all(waiting)
        assert len(asked) == 1
        assert records.waiting() == waiting


def test_what_is_left_of_a_deleted_run_is_dropped(clone, capsys):
    record = training(status=records.RUNNING, end_time=None)
    publish(record)
    client = connect().MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    client.delete_run(run.info.run_id)
    forget_what_is_published()
    assert not publish(record)
    assert "a run was deleted" in capsys.readouterr().out
    assert not record.exists()
    assert published() == []


def test_the_same_bytes_again_are_a_repeat(clone):
    for _ in range(3):
        publish(training())
    client = connect().MlflowClient()
    first, *others = client.search_runs(
        [client.get_experiment_by_name("digits").experiment_id], order_by=["start_time ASC"]
    )
    assert first.data.tags["dvc.model_md5"] == file_md5(MLP.file)
    for repeat in others:
        assert repeat.data.tags["dvc.repeat_of"] == first.info.run_id
        assert "dvc.model_md5" not in repeat.data.tags


@pytest.mark.parametrize(
    "order",
    [
        "evaluated before",
        *(pytest.param(order, marks=pytest.mark.long) for order in ("evaluated after", "of an earlier version")),
    ],
)
def test_a_repeat_has_the_test_metrics_of_the_run_that_it_repeats(clone, order):
    # As `dvc repro --force` makes them: the evaluation of the same bytes is there already.
    makes = [training, evaluation, training, evaluation] if order != "evaluated after" else [training] * 2
    with pytest.MonkeyPatch.context() as patch:
        if order == "of an earlier version":
            patch.setattr(publishing, "complete_repeats", lambda run_id: False)
        for make in makes:
            record = make()
            if make is training:
                records.append(record, 0, {"training_seconds": 1.5, "system/cpu_utilization_percentage": 50.0})
            publish_all([record])
    assert publish(evaluation()) == (order != "evaluated before")
    assert not publish(evaluation())
    first, repeat = published()
    assert repeat["tags"]["dvc.repeat_of"]
    assert not {"gate", "dvc.evaluation_md5", "dvc.model_md5"} & repeat["tags"].keys()
    assert repeat["metrics"].pop("test_accuracy") == [(0, 0.9)]
    assert repeat["metrics"] == {
        name: values
        for name, values in first["metrics"].items()
        if name not in ("test_accuracy", "predict_1_image_seconds")
    }
    assert len(repeat["metrics"]["training_seconds"]) == 1


def test_what_the_user_wrote_into_a_description_stays(clone):
    publish(evaluation())
    client = connect().MlflowClient()
    experiment = client.get_experiment_by_name("digits").experiment_id
    (restored,) = client.search_runs([experiment])
    add_note(restored.info.run_id, "Mine.")
    # As after a publication that was broken off at its end.
    client.delete_tag(restored.info.run_id, "dvc.model_md5")
    client.delete_tag(restored.info.run_id, "dvc.evaluation_md5")
    publish(evaluation())
    description = client.get_run(restored.info.run_id).data.tags[NOTE]
    assert description.endswith("\n\nMine.")
    assert description.startswith("Made from the files")
    assert description.count("Made from the files") == 1

    record = training(status=records.RUNNING, end_time=None)
    publish(record)
    (running,) = client.search_runs([experiment], "attributes.status = 'RUNNING'")
    add_note(running.info.run_id, "Also mine.")
    end_record(record, MLP, best_weights=False)
    records.update(record, status=records.FINISHED, end_time=records.now())
    publish(record)
    description = client.get_run(running.info.run_id).data.tags[NOTE]
    assert description == (
        f"Also mine.\n\nA repeat of run {restored.info.run_id}: it made the same model, byte for byte."
    )


def test_of_two_runs_that_two_machines_tagged_the_earliest_stands_for_the_model(clone, monkeypatch):
    """Two machines on one server have no common lock."""
    publish_all([training(), evaluation()])
    client = connect().MlflowClient()
    experiment = client.get_experiment_by_name("digits").experiment_id
    (later,) = client.search_runs([experiment])
    publish(training())
    (repeat,) = client.search_runs([experiment], f"tags.`dvc.repeat_of` = '{later.info.run_id}'")
    earlier = training(start_time=later.info.start_time - 1000)
    with pytest.MonkeyPatch.context() as patch:
        # It does not see the other one's tag.
        patch.setattr(publishing, "standing_run", lambda md5: None)
        publish(earlier)
    tagged = client.search_runs([experiment], "tags.`dvc.model_md5` IS NOT NULL", order_by=["start_time ASC"])
    assert len(tagged) == 2
    first = tagged[0].info.run_id
    assert client.get_model_version_by_alias("digits", "champion").run_id == later.info.run_id

    delete = type(client).delete_tag

    def also_by_the_other(client, *arguments) -> None:
        delete(client, *arguments)
        delete(client, *arguments)

    # Both make the later one a repeat at the same time.
    monkeypatch.setattr(type(client), "delete_tag", also_by_the_other)
    for _ in range(2):
        publish_all([evaluation()])
        (stands,) = client.search_runs([experiment], "tags.`dvc.model_md5` IS NOT NULL")
        assert stands.info.run_id == first
        for run in (later, repeat):
            tags = client.get_run(run.info.run_id).data.tags
            assert tags["dvc.repeat_of"] == first
            assert not {"gate", "dvc.evaluation_md5"} & tags.keys()
        assert client.get_model_version_by_alias("digits", "champion").run_id == first
        # Also what its epochs have had: of the model that averages it is another.
        assert (stands.data.metrics["test_accuracy"], stands.data.metrics["val_accuracy"]) == (0.9, 0.9)
        assert stands.data.tags["gate"] == "passed"
        assert len(client.get_metric_history(first, "test_accuracy")) == 1
        assert "confusion_matrix.png" in [file.path for file in client.list_artifacts(first)]


def test_a_model_that_is_gone_is_passed_over(clone):
    record = evaluation()
    write_model(MLP, "another")
    assert not publish(record)
    assert published() == []
