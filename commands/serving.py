"""What the commands that serve pages have in common: where they listen, and whether a browser is opened."""

import argparse
import errno
import os
import socket
import sys

from stages.process.errors import UserError, one_line


def add_options(parser: argparse.ArgumentParser, port: int) -> None:
    """Add `--host`, `--port` (where nothing is said, `port`) and `--no-browser`."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=port, help="port to listen on (default: %(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="only print the addresses")


def _port(text: str) -> int:
    port = int(text) if text.isdecimal() else 0
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{one_line(text, 40)} is no port; it is a number from 1 to 65535")
    return port


def has_browser() -> bool:
    """Return whether there is a screen here: over ssh a browser would open where nobody sits."""
    if any(os.environ.get(name) for name in ("SSH_CONNECTION", "SSH_TTY")):
        return False
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def bracketed(address: str) -> str:
    """Return a name or an address as it stands in a URL."""
    return f"[{address}]" if ":" in address else address


def bound_socket(host: str, port: int, command: str) -> socket.socket:
    """Return a socket bound to `host` and `port`; raises `UserError`, which names `command`, where it cannot be."""
    bound = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        # Else the port of a server that just ended could not be used for a minute.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError) as error:
        if bound:
            bound.close()
        raise _unusable(host, port, command, error) from None
    return bound


def listen(bound: socket.socket, command: str) -> None:
    """Let `bound` take connections; raises `UserError` where another process does so since it was bound."""
    try:
        bound.listen(128)
    except OSError as error:
        raise _unusable(*bound.getsockname()[:2], command, error) from None


def _unusable(host: str, port: int, command: str, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or error
    remedy = f"name another port: {command} --port {_other(port)}"
    if isinstance(error, socket.gaierror) or getattr(error, "errno", None) == errno.EADDRNOTAVAIL:
        remedy = f"name an address of this machine: {command} --host 127.0.0.1"
    return UserError(f"{host}:{port} cannot be used ({reason}); {remedy}")


def _other(port: int) -> int:
    return port + 1 if 0 < port < 65535 else 8001
