"""A real HTTP proxy on 127.0.0.1 before a real server, with faults that a test switches on and off."""

import http.client
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from tests.servers import listening


class Proxy:
    """`fault` is called with each request and with what answers it; None passes everything on."""

    def __init__(self, url: str, port: int):
        self.url = url
        self.fault: Callable[[BaseHTTPRequestHandler, Callable[[], None]], None] | None = None
        self.calls: list[str] = []
        self._port = port

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.calls.append(f"{request.command} {request.path}")
        body = _body(request)
        if self.fault:
            self.fault(request, lambda: self._pass_on(request, body))
        else:
            self._pass_on(request, body)

    def _pass_on(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        server = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        headers = {name: value for name, value in request.headers.items() if name != "Transfer-Encoding"}
        server.request(request.command, request.path, body, headers)
        reply = server.getresponse()
        content = reply.read()
        server.close()
        if request.silent:
            return
        request.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if request.headers.get("Transfer-Encoding") != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length", 0)))
    # As requests sends an empty file.
    body = b""
    while size := int(request.rfile.readline(), 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return body


def hang_up(request: BaseHTTPRequestHandler, pass_on: Callable[[], None]) -> None:
    """End the connection without a word, as a server does that is gone behind a router."""
    request.close_connection = True


def slow(seconds: float) -> Callable:
    def answer(request: BaseHTTPRequestHandler, pass_on: Callable[[], None]) -> None:
        time.sleep(seconds)
        pass_on()

    return answer


def failing(status: int, only: str = "") -> Callable:
    """Answer with `status` what has `only` in its path, and pass on the rest."""

    def answer(request: BaseHTTPRequestHandler, pass_on: Callable[[], None]) -> None:
        if only not in f"{request.command} {request.path}":
            pass_on()
            return
        request.send_response(status)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def after(calls: int, fault: Callable) -> Callable:
    """Pass on the first `calls`, and answer all others with `fault`."""
    left = iter(range(calls))

    def answer(request: BaseHTTPRequestHandler, pass_on: Callable[[], None]) -> None:
        if next(left, None) is None:
            fault(request, pass_on)
        else:
            pass_on()

    return answer


def losing_first_answers() -> Callable:
    """Have the server do what it is asked, and lose its answer to the first call of each kind."""
    known = set()

    def answer(request: BaseHTTPRequestHandler, pass_on: Callable[[], None]) -> None:
        # Whatever the model or the file.
        kind = f"{request.command} {re.sub('[?].*|(?<=mlflow-artifacts).*|m-[0-9a-f]{32}', '', request.path)}"
        if kind in known:
            pass_on()
        else:
            known.add(kind)
            request.silent = True
            pass_on()
            request.close_connection = True

    return answer


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self):
            self.silent = False
            super().handle_one_request()

        def _answer(self):
            try:
                proxy.answer(self)
            except (ConnectionError, TimeoutError):
                # The client has given up waiting.
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer  # noqa: N815

    with listening(Handler) as url:
        proxy = Proxy(url, port)
        yield proxy
