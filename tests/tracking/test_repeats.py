"""The run that says what several seeds say together, on a store with their trainings."""

from dataclasses import replace

from stages.dataset.prepared import save_info
from stages.fingerprints import file_md5
from stages.learners.models import MLP
from stages.paths import PREPARED
from stages.tracking import record as records
from stages.tracking.notes import NOTE, add_note
from stages.tracking.publish import publish_all
from stages.tracking.repeats import record_repeats, training_seconds
from stages.tracking.store import connect, search_runs
from tests.tracking.conftest import INFO, published, training

SUMMARY = {"mlp": {"test_accuracy": {"mean": 0.91, "std": 0.01, "values": [0.9, 0.92]}}}


def test_it_stands_once_beside_the_trainings(clone, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "repeat-seed-1")
    training()
    publish_all(records.waiting())
    for _ in range(2):
        assert record_repeats("repeat", [0, 1], SUMMARY, file_md5(MLP.file))
        (run,) = search_runs("tags.repeats = 'repeat'")
        add_note(run.info.run_id, "As good as the last one.")
    (trained,), (together,) = published("mlp"), published("repeat: 2 seeds")
    assert trained["tags"]["dvc.experiment"] == "repeat-seed-1"
    assert together["status"] == "FINISHED"
    own, users = together["tags"][NOTE].split("\n\n")
    assert (own, users) == ("Mean and standard deviation over runtime.seed 0 to 1.", "As good as the last one.")
    assert together["metrics"] == {
        "mlp.test_accuracy": [(0, 0.9), (1, 0.92)],
        "mlp.test_accuracy.mean": [(0, 0.91)],
        "mlp.test_accuracy.std": [(0, 0.01)],
    }


def test_that_of_another_data_set_stays(clone):
    publish_all([training()])
    assert record_repeats("repeat", [0, 1], SUMMARY, file_md5(MLP.file))
    copied = replace(INFO, requested="copied", dataset="copied")
    save_info(PREPARED, copied)
    MLP.file.write_text("another model")
    publish_all([training(info=copied)])
    assert record_repeats("repeat", [0, 1], SUMMARY, file_md5(MLP.file))
    experiments = {run.info.experiment_id for run in search_runs("tags.repeats = 'repeat'")}
    assert len(experiments) == 2


def test_without_the_trainings_there_is_none(clone):
    assert not record_repeats("repeat", [0, 1], SUMMARY, file_md5(MLP.file))
    assert not record_repeats("repeat", [0, 1], SUMMARY, None)
    assert not list(connect().MlflowClient().search_runs(["0"]))


def test_how_long_a_training_took_is_known_by_its_model(clone):
    record = training()
    records.append(record, 0, {"training_seconds": 12.5})
    publish_all([record])
    assert training_seconds(file_md5(MLP.file)) == 12.5
    assert training_seconds("0" * 32) is None
