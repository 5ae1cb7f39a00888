"""`mnist ui`: MLflow's web pages on the right store, opened on the runs and not on traces of language models."""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import webbrowser
from urllib.parse import quote

from commands.serving import add_options, bound_socket, bracketed, has_browser
from stages.process.errors import UserError, one_line, without_credentials
from stages.process.lifetime import interrupts_deferred
from stages.tracking.beside import publishing_the_rest
from stages.tracking.identity import latest_runs
from stages.tracking.store import connect, tracking_uri
from stages.tracking.view import share_view

# Without it MLflow opens an experiment on its pages for language models.
WORKFLOW = "workflowType=machine_learning"


def add_to(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "ui",
        help="open MLflow on the store of this project",
        description="Start MLflow's UI on the store of this project (or on MLFLOW_TRACKING_URI), and print "
        "the addresses of its runs, the best first, and of a comparison of each model's newest run. The first opens "
        "in the browser where there is one. Ctrl-C ends it.",
    )
    add_options(parser, port=5000)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Serve until Ctrl-C; with a tracking server there is nothing to start, and only addresses are printed."""
    uri = tracking_uri()
    browser = not arguments.no_browser and has_browser()
    if uri.startswith(("http://", "https://")):
        first = _print_addresses(uri.rstrip("/"))
        if browser:
            webbrowser.open(first)
        return
    bound_socket(arguments.host, arguments.port, "uv run mnist ui").close()
    try:
        connect()
    except Exception as error:
        raise UserError(f"{uri}: MLflow cannot open this store: {one_line(error)}") from None
    server = f"http://{bracketed(arguments.host)}:{arguments.port}"
    first = _print_addresses(server)
    # Jobs are for MLflow's evaluation of language models: without them it starts in half the time.
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    # Not an argument: every user of the machine sees those, and a URI may hold a password.
    store = {"MLFLOW_BACKEND_STORE_URI": uri}
    where = ("--host", arguments.host, "--port", str(arguments.port), "--uvicorn-opts", "--log-level warning")
    # One person looks: MLflow's own four would start four times, and the first page wait for it.
    command = (sys.executable, "-m", "mlflow", "ui", "--workers", "1", *where)
    process = None
    try:
        # Else one that comes in the middle of it would leave a server that nobody knows.
        with interrupts_deferred():
            process = subprocess.Popen(command, env={**quiet, **os.environ, **store})
        if browser and _answers(arguments.host, arguments.port, process):
            webbrowser.open(first)
        code = process.wait()
    except KeyboardInterrupt:
        code = 0
    finally:
        if process:
            process.terminate()
            process.wait()
    if code:
        raise UserError(f"MLflow's server ended with exit code {code}; its messages are above")


def _print_addresses(server: str) -> str:
    """Print the addresses of the pages, and return the first."""
    server = without_credentials(server)
    try:
        with publishing_the_rest():
            latest = latest_runs()
        view = latest and share_view(latest[1])
    except Exception as error:
        raise UserError(f"{tracking_uri()}: no answer from MLflow: {one_line(error)}") from None
    if latest is None:
        first = f"{server}/#/experiments?{WORKFLOW}"
        print(f"MLflow:                  {first}", flush=True)
        print("There are no runs to compare yet: uv run dvc repro", flush=True)
        return first
    runs, experiment = latest
    page = f"{server}/#/experiments/{experiment}/runs?{WORKFLOW}" + (f"&viewStateShareKey={view}" if view else "")
    query = f"runs={_quoted(runs)}&experiments={_quoted([experiment])}&{WORKFLOW}"
    print(f"The runs, best first:    {page}", flush=True)
    print(f"Curves and pictures:     {page}&compareRunsMode=CHART", flush=True)
    print(f"The last runs compared:  {server}/#/compare-runs?{query}", flush=True)
    return page


def _answers(host: str, port: int, process: subprocess.Popen) -> bool:
    """Wait until the server takes a connection, and return whether it does; False where it has ended."""
    while process.poll() is None:
        try:
            socket.create_connection((host, port), timeout=1).close()
            return True
        except OSError:
            time.sleep(0.1)
    return False


def _quoted(ids: list[str]) -> str:
    return quote(json.dumps(ids, separators=(",", ":")))
