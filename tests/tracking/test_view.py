"""The view of an experiment that `mnist ui` leads to; tests/test_browser.py looks at it."""

import json

import mlflow
import pytest

from stages.tracking.store import connect
from stages.tracking.view import TAG, share_view


@pytest.fixture
def experiment(clone) -> str:
    return connect().MlflowClient().create_experiment("digits", tags={f"{TAG}-other": "by hand"})


def test_the_tag_is_set_once_and_again_only_when_it_differs(experiment, monkeypatch):
    client, calls = connect().MlflowClient(), []
    original = mlflow.MlflowClient.set_experiment_tag

    def counted(*arguments):
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(mlflow.MlflowClient, "set_experiment_tag", counted)
    for _ in range(2):
        assert share_view(experiment) == TAG.rpartition(".")[2]
    assert len(calls) == 1
    tags = client.get_experiment(experiment).tags
    state = json.loads(json.loads(tags[TAG])["state"])
    assert state["orderByKey"] == "metrics.`test_accuracy`"
    assert tags[f"{TAG}-other"] == "by hand"
    original(client, experiment, TAG, "of an older version")
    share_view(experiment)
    assert client.get_experiment(experiment).tags == tags


def test_a_store_that_refuses_the_tag_is_no_failure(experiment, monkeypatch):
    def refuse(*_):
        raise mlflow.exceptions.MlflowException("read-only")

    monkeypatch.setattr(mlflow.MlflowClient, "set_experiment_tag", refuse)
    assert share_view(experiment) is None
