"""Servers on 127.0.0.1 that are there no longer than the test."""

import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
import requests

from tests.conftest import Clone


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(clone: Clone, *command: str, ready: Callable[[], bool], **environment: str) -> Iterator[subprocess.Popen]:
    """Run a server in the clone from when it is `ready` on, and end it, with its children, afterwards."""
    # A file, not a pipe: a server that says more than a pipe holds would wait for a reader.
    with tempfile.NamedTemporaryFile("w") as output:
        server = clone.start(*command, stdout=output, **environment)
        server.stdout = open(output.name)  # noqa: SIM115
    try:
        for _ in range(240):
            assert server.poll() is None, server.stdout.read()
            if ready():
                break
            time.sleep(0.5)
        else:
            pytest.fail(f"{command} is not ready")
        yield server
    finally:
        server.terminate()
        try:
            server.wait(timeout=30)
        except psutil.TimeoutExpired:
            # The children too.
            os.killpg(server.pid, signal.SIGKILL)
            raise


@contextmanager
def serving(clone: Clone, *command: str, url: str, **environment: str) -> Iterator[subprocess.Popen]:
    """Run a server in the clone until it answers at `url`, and end it, with its children, afterwards."""

    def ready() -> bool:
        try:
            return requests.get(url, timeout=5).ok
        except requests.ConnectionError:
            return False

    with running(clone, *command, ready=ready, **environment) as server:
        yield server


@contextmanager
def mlflow_server(store: Path, database: str | None = None, port: int | None = None) -> Iterator[int]:
    """Run a tracking server that keeps all in `store`, or its runs in that `database`, and yield its port."""
    port = port or free_port()
    command = (
        "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--serve-artifacts", "--artifacts-destination", str(store / "files"),
    )  # fmt: skip
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    # Not an argument: every user of the machine sees those, and this may hold a password.
    settings["MLFLOW_BACKEND_STORE_URI"] = database or f"sqlite:///{store / 'server.db'}"
    with serving(Clone(store), *command, url=f"http://127.0.0.1:{port}/health", **settings):
        yield port


class _Server(ThreadingHTTPServer):
    # MLflow sends the files of a model all at once.
    request_queue_size = 128


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Have requests answered by `handler` on a free port, without a log, and yield the URL.

    `server.ended` of a handler is set when an answer without an end has to end.
    """
    handler.log_message = lambda *_: None
    server = _Server(("127.0.0.1", 0), handler)
    server.ended = threading.Event()
    # It looks for the shutdown every 10 ms.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
