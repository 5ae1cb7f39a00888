"""The run of a training after its end, without the training: `test_training_run.py` has the real ones."""

from contextlib import nullcontext

import pandas as pd
import pytest

from stages.fingerprints import file_md5
from stages.learners.models import MLP
from stages.process.locks import process_name
from stages.tracking import record as records
from stages.tracking.publish import publish
from stages.tracking.runs import end_record
from stages.tracking.training_run import training_run
from tests.tracking.conftest import INFO, PARAMS, TRAINING, published, training


def ended_with_best_weights(**columns: list) -> dict:
    """What MLflow has of a training whose history has these columns."""
    record = training(status=records.RUNNING, end_time=None)
    pd.read_csv(MLP.history).assign(**columns).to_csv(MLP.history, index=False)
    end_record(record, MLP, best_weights=True)
    records.update(record, status=records.FINISHED, end_time=records.now())
    publish(record)
    (run,) = published()
    return run


def test_with_the_best_weights_the_latest_values_are_those_of_their_epoch(clone):
    run = ended_with_best_weights(val_loss=[0.5, 0.1, 0.4])
    assert run["tags"]["weights_of_epoch"] == "2"
    assert run["metrics"]["val_loss"][-1] == (4, 0.1)
    assert run["metrics"]["val_accuracy"][-1] == (4, pd.read_csv(MLP.history)["val_accuracy"][1])


def test_of_several_networks_the_epochs_of_all_are_named(clone):
    run = ended_with_best_weights(val_loss=[0.5, 0.1, 0.4], network=[1, 1, 2])
    assert run["tags"]["weights_of_epoch"] == "2, 3"
    # Neither a network's number nor the values of one network are those of the model.
    assert "network" not in run["metrics"]
    assert [step for step, _ in run["metrics"]["val_loss"]] == [1, 2, 3]


def test_a_training_that_breaks_off_is_failed_with_its_reason(clone, monkeypatch):
    # What is written down; the process that publishes it has its own tests.
    monkeypatch.setattr("stages.tracking.training_run.publishing", nullcontext)
    with pytest.raises(ValueError, match="no more"), training_run(MLP, PARAMS, INFO, TRAINING):
        raise ValueError("no more")
    (record,) = records.waiting(process_name())
    state = records.read(record)
    assert (state["status"], state["reason"]) == (records.FAILED, "ValueError: no more")
    assert "model" not in state


def test_only_a_finished_run_stands_for_a_model(clone):
    # The interrupt came when the model was written and noted: DVC did not keep it.
    interrupted = training(status=records.RUNNING, end_time=None)
    end_record(interrupted, MLP, best_weights=False)
    records.update(interrupted, status=records.KILLED, reason="signal 15", end_time=records.now())
    publish(interrupted)
    publish(training())
    killed, finished = published()
    assert (killed["status"], finished["status"]) == ("KILLED", "FINISHED")
    assert "dvc.model_md5" not in killed["tags"]
    assert finished["tags"]["dvc.model_md5"] == file_md5(MLP.file)
    assert "dvc.repeat_of" not in finished["tags"]
