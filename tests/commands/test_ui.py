"""`mnist ui` serves the store that the pipeline wrote, and logged models answer over HTTP."""

import argparse
import json
import shlex
import shutil
import socket
import sys
import webbrowser
from threading import Timer
from urllib.parse import unquote

import pytest
import requests

from commands import ui
from tests.project import client, runs, wait_until
from tests.servers import free_port, serving


@pytest.mark.long
def test_ui_shows_the_runs_opens_the_first_page_and_names_the_others(reproduced, tmp_path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {shlex.quote(str(opened))}\n')
    browser.chmod(0o755)
    screen = {"BROWSER": str(browser), "DISPLAY": ":0", "SSH_CONNECTION": "", "SSH_TTY": ""}
    with serving(reproduced, "mnist", "ui", "--port", str(port), url=f"{url}/health", **screen) as server:
        experiment = runs(reproduced)["mlp"][0].info.experiment_id
        found = requests.post(
            f"{url}/api/2.0/mlflow/runs/search", json={"experiment_ids": [experiment]}, timeout=30
        ).json()["runs"]
        assert {run["info"]["run_name"] for run in found} == {"mlp", "cnn", "random-forest"}
        artifact = requests.get(
            f"{url}/get-artifact",
            params={"path": "confusion_matrix.png", "run_uuid": found[0]["info"]["run_id"]},
            timeout=30,
        )
        assert artifact.content.startswith(b"\x89PNG")
        wait_until(lambda: opened.exists() and opened.read_text(), 60)
    printed = server.stdout.read()
    addresses = [line.split()[-1] for line in printed.splitlines() if "/#/" in line]
    assert opened.read_text() == addresses[0]
    assert addresses[0].startswith(f"{url}/#/experiments/{experiment}/runs?workflowType=machine_learning&viewState")
    assert "mlflow.sharedViewState.mnist" in client(reproduced).get_experiment(experiment).tags
    assert all("workflowType=machine_learning" in address for address in addresses)
    comparison = unquote(printed.split("/#/compare-runs?", 1)[1].splitlines()[0])
    ids = json.loads(comparison.removeprefix("runs=").partition("&")[0])
    assert set(ids) == {found[0].info.run_id for found in runs(reproduced).values()}
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)


@pytest.mark.parametrize(
    ("environment", "no_browser", "opens"),
    [
        ({"DISPLAY": ":0"}, False, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, False, True),
        ({"DISPLAY": ":0"}, True, False),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}, False, False),
        ({}, False, False),
    ],
)
def test_a_browser_opens_only_where_somebody_sits(environment, no_browser, opens, monkeypatch):
    opened = []
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", "linux")
    # With a server there is nothing to start.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(ui, "_print_addresses", lambda server: f"{server}/first")
    monkeypatch.setattr(webbrowser, "open", opened.append)
    ui.run(argparse.Namespace(no_browser=no_browser))
    assert opened == (["http://127.0.0.1:9/first"] if opens else [])


def test_ui_names_a_port_that_is_taken(clone):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = clone.run("mnist", "ui", "--port", str(taken.getsockname()[1]), check=False)
    assert done.returncode == 1
    assert "--port" in done.stdout
    assert "Traceback" not in done.stdout


def test_ui_says_when_there_is_nothing_to_compare(clone, empty_store):
    shutil.copyfile(empty_store, clone.folder / "mlflow.db")
    server = clone.start("mnist", "ui", "--no-browser", "--port", str(free_port()))
    # It goes on to serve: a line that does not come is not waited for without end.
    patience = Timer(60, server.terminate)
    patience.start()
    try:
        assert any("/#/experiments?workflowType=machine_learning" in line for line in server.stdout)
        assert any("no runs to compare yet" in line for line in server.stdout)
    finally:
        patience.cancel()
        server.terminate()
        server.communicate(timeout=60)


def test_ui_says_when_there_is_no_server(clone):
    done = clone.run("mnist", "ui", check=False, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "no answer from MLflow" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.long
@pytest.mark.parametrize("name", ["random-forest", "cnn"])
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
