"""`mnist demo`: a page on which one draws, and the trained models say what they see, and why."""

import argparse
import os
import signal
import socket
import threading
import warnings
import webbrowser
from types import FrameType
from typing import Any

import psutil

from commands.serving import add_options, bound_socket, bracketed, has_browser, listen
from stages.dataset.prepared import DatasetInfo, load_info
from stages.process.provenance import main_repository

COMMAND = "uv run mnist demo"
# Requests at the same time; one more gets the answer 503.
CONNECTIONS = 200
ANY = ("0.0.0.0", "::", "")


def add_to(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "demo",
        help="open a page on which one draws, and the models answer",
        description="Serve a page on which one draws, or shows a picture, and the trained models say what they see, "
        "and why. Ctrl-C ends it. How to open it to others: docs/demo.md.",
    )
    add_options(parser, port=8000)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Serve until Ctrl-C; raises `UserError` for a port in use, before the models are loaded."""
    os.chdir(main_repository())
    with bound_socket(arguments.host, arguments.port, COMMAND) as bound:
        info = load_info()
        print(f"Loading the models of {info.dataset} …", flush=True)
        serve(bound, arguments, _app(info, arguments.host))


def _app(info: DatasetInfo, host: str) -> Any:
    # Here, since they take seconds to import.
    from commands.demo_answers import load_answers
    from commands.demo_app import make_app
    from commands.trained import load_trained

    # Each tree of a forest hides warnings for a moment, in all threads. Where several do so at the same time, what is
    # left of it warns of itself, hundreds of times for one answer.
    warnings.showwarning = lambda *_, **__: None
    return make_app(load_answers(info, load_trained(info)), allowed_hosts(host))


def serve(bound: socket.socket, arguments: argparse.Namespace, app: Any) -> None:
    """Serve the ASGI application `app` on the socket `bound` until Ctrl-C, which ends the process."""
    import uvicorn

    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_level="error",
        server_header=False,
        limit_concurrency=CONNECTIONS,
    )
    listen(bound, COMMAND)
    port = bound.getsockname()[1]
    urls = [f"http://{name}:{port}" for name in _names(arguments.host)]
    print(f"The page:  {urls[0]}", *(f"           {url}" for url in urls[1:]), sep="\n")
    if arguments.host in ANY:
        print("Everybody who reaches this machine can use it.")
    print("Ctrl-C ends it.", flush=True)
    if not arguments.no_browser and has_browser():
        threading.Thread(target=webbrowser.open, args=(urls[0],), daemon=True).start()
    server = uvicorn.Server(config)
    server.handle_exit = _end
    server.run(sockets=[bound])


def _end(number: int, frame: FrameType | None) -> None:
    """End the process at once: there is nothing to save, and TensorFlow alone would take seconds to leave."""
    print(flush=True)
    os._exit(0 if number == signal.SIGINT else 128 + number)


def allowed_hosts(host: str) -> list[str]:
    """Return the names and addresses, as in a `Host` header, under which a server that listens on `host` is reached.

    Under all others it does not answer: a page of another site could have its own name lead here (DNS rebinding).
    """
    names = {"localhost", "127.0.0.1", "[::1]"}
    if host in ANY:
        own = socket.gethostname()
        names |= {own, f"{own}.local", socket.getfqdn()}
        names |= {bracketed(address) for address in _addresses()}
    else:
        names.add(bracketed(host))
    return sorted(name.lower() for name in names)


def _names(host: str) -> list[str]:
    """Return what to type into a browser, this machine's own name first."""
    if host not in ANY:
        return [bracketed(host)]
    return ["localhost", *sorted(address for address in _addresses() if "." in address and address != "127.0.0.1")]


def _addresses() -> set[str]:
    families = (socket.AF_INET, socket.AF_INET6)
    found = (each for addresses in psutil.net_if_addrs().values() for each in addresses)
    return {each.address.partition("%")[0] for each in found if each.family in families}
