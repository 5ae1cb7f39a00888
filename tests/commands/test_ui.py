"""`mnist ui` serves the store that the pipeline wrote, and logged models answer over HTTP."""

import json
import socket
from urllib.parse import unquote

import pytest
import requests

from tests.project import runs
from tests.servers import free_port, serving


def test_ui_shows_the_runs_and_names_their_comparison(reproduced):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with serving(reproduced, "mnist", "ui", "--port", str(port), url=f"{url}/health") as server:
        found = requests.post(
            f"{url}/api/2.0/mlflow/runs/search",
            json={"experiment_ids": [runs(reproduced)["mlp"][0].info.experiment_id]},
            timeout=30,
        ).json()["runs"]
        assert {run["info"]["run_name"] for run in found} == {"mlp", "cnn", "random-forest"}
        artifact = requests.get(
            f"{url}/get-artifact",
            params={"path": "confusion_matrix.png", "run_uuid": found[0]["info"]["run_id"]},
            timeout=30,
        )
        assert artifact.content.startswith(b"\x89PNG")
    printed = server.stdout.read()
    comparison = unquote(printed.split("/#/compare-runs?", 1)[1].splitlines()[0])
    ids = json.loads(comparison.removeprefix("runs=").partition("&")[0])
    assert set(ids) == {found[0].info.run_id for found in runs(reproduced).values()}
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)


def test_ui_names_a_port_that_is_taken(clone):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = clone.run("mnist", "ui", "--port", str(taken.getsockname()[1]), check=False)
    assert done.returncode == 1
    assert "--port" in done.stdout
    assert "Traceback" not in done.stdout


def test_ui_says_when_there_is_nothing_to_compare(clone):
    server = clone.start("mnist", "ui", "--port", str(free_port()))
    try:
        assert any("no runs to compare yet" in line for line in server.stdout)
    finally:
        server.terminate()
        server.communicate(timeout=60)


def test_ui_says_when_there_is_no_server(clone):
    done = clone.run("mnist", "ui", check=False, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "no answer from MLflow" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("name", ["random-forest", pytest.param("cnn", marks=pytest.mark.long)])
def test_a_logged_model_answers_over_http(reproduced, name):
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images[:50] * (255 / 16)).astype(int)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    model = f"runs:/{runs(reproduced)[name][0].info.run_id}/model"
    command = ("mlflow", "models", "serve", "--model-uri", model, "--env-manager", "local", "--port", str(port))
    store = f"sqlite:///{reproduced.folder / 'mlflow.db'}"
    with serving(reproduced, *command, url=f"{url}/health", MLFLOW_TRACKING_URI=store):
        answer = requests.post(f"{url}/invocations", json={"inputs": images.tolist()}, timeout=60)
    probabilities = np.array(answer.json()["predictions"])
    assert probabilities.shape == (50, 10)
    # Mostly images that it was trained on.
    assert (probabilities.argmax(axis=1) == digits.target[:50]).mean() >= 0.9
