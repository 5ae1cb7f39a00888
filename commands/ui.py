"""`mnist ui`: MLflow's web pages on the right store, with the address of the latest comparison."""

import argparse
import json
import os
import subprocess
import sys
from urllib.parse import quote

from commands.port import bound_socket
from stages.process.errors import UserError, one_line, without_credentials
from stages.process.lifetime import interrupts_deferred
from stages.tracking.beside import publishing_the_rest
from stages.tracking.identity import latest_runs
from stages.tracking.store import connect, tracking_uri


def add_to(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "ui",
        help="open MLflow on the store of this project",
        description="Start MLflow's UI on the store of this project (or on MLFLOW_TRACKING_URI), and print "
        "the address of a comparison of each model's newest run. Ctrl-C ends it.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=5000, help="port to listen on (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Serve until Ctrl-C; with a tracking server there is nothing to start, and only addresses are printed."""
    uri = tracking_uri()
    if uri.startswith(("http://", "https://")):
        _print_addresses(uri.rstrip("/"))
        return
    bound_socket(arguments.host, arguments.port, "uv run mnist ui").close()
    try:
        connect()
    except Exception as error:
        raise UserError(f"{uri}: MLflow cannot open this store: {one_line(error)}") from None
    _print_addresses(f"http://{arguments.host}:{arguments.port}")
    # Jobs are for MLflow's evaluation of language models: without them it starts in half the time.
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    # Not an argument: every user of the machine sees those, and a URI may hold a password.
    store = {"MLFLOW_BACKEND_STORE_URI": uri}
    where = ("--host", arguments.host, "--port", str(arguments.port), "--uvicorn-opts", "--log-level warning")
    # One person looks: MLflow's own four would start four times, and the first page wait for it.
    command = (sys.executable, "-m", "mlflow", "ui", "--workers", "1", *where)
    server = None
    try:
        # Else one that comes in the middle of it would leave a server that nobody knows.
        with interrupts_deferred():
            server = subprocess.Popen(command, env={**quiet, **os.environ, **store})
        code = server.wait()
    except KeyboardInterrupt:
        code = 0
    finally:
        if server:
            server.terminate()
            server.wait()
    if code:
        raise UserError(f"MLflow's server ended with exit code {code}; its messages are above")


def _print_addresses(server: str) -> None:
    server = without_credentials(server)
    print(f"MLflow:                  {server}", flush=True)
    try:
        with publishing_the_rest():
            latest = latest_runs()
    except Exception as error:
        raise UserError(f"{server}: no answer from MLflow: {one_line(error)}") from None
    if latest is None:
        print("There are no runs to compare yet: uv run dvc repro", flush=True)
        return
    runs, experiment = latest
    query = f"runs={_quoted(runs)}&experiments={_quoted([experiment])}"
    print(f"The last runs compared:  {server}/#/compare-runs?{query}", flush=True)
    print(f"Curves and pictures:     {server}/#/experiments/{experiment}/runs?compareRunsMode=CHART", flush=True)


def _quoted(ids: list[str]) -> str:
    return quote(json.dumps(ids, separators=(",", ":")))
