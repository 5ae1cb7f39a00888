"""Fetching from real HTTP servers on 127.0.0.1, of which some misbehave."""

import gzip
import hashlib
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler

import pytest
import requests

from stages.dataset import mirrors
from stages.dataset.catalogue import TEST_LABELS, TRAIN_LABELS, Dataset, PublishedFile
from stages.dataset.mirrors import NoMirrorReached, fetch
from stages.process.errors import UserError
from tests.servers import listening

GOOD = gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 40) + bytes(range(40)), mtime=0)
FLIPPED = GOOD[:-12] + bytes([GOOD[-12] ^ 1]) + GOOD[-11:]
OTHER_MAGIC = gzip.compress(b"\0\0\x0d\x01" + bytes(44), mtime=0)


@contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Serve `answer` on a free port, and yield the base URL; `request.server.ended` tells answers without an end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer(self)

    with listening(Handler) as url:
        yield f"{url}/"


def send(content: bytes, status: int = 200, **headers: str) -> Callable:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(content)

    return answer


def break_off(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(GOOD)))
    request.end_headers()
    request.wfile.write(GOOD[:20])
    request.close_connection = True


def reset(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(GOOD)))
    request.end_headers()
    request.wfile.write(GOOD[:20])
    # Closed with a timeout of zero, the system sends RST in place of FIN.
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()


def redirect_for_ever(request: BaseHTTPRequestHandler) -> None:
    request.send_response(302)
    request.send_header("Location", request.path)
    request.end_headers()


def silence(request: BaseHTTPRequestHandler) -> None:
    request.server.ended.wait()


def repeat(start: bytes, what: bytes, pace: float) -> Callable:
    """Answer with `start`, then every `pace` seconds with `what`, for ever."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        with suppress(ConnectionError):
            request.wfile.write(start)
            while not request.server.ended.wait(pace):
                request.wfile.write(what)

    return answer


def trickle(pace: float) -> Callable:
    return repeat(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x", pace)


def endless_header(pace: float) -> Callable:
    return repeat(b"HTTP/1.1 200 OK\r\nX-Endless: ", b"x", pace)


def endless_continue(pace: float) -> Callable:
    return repeat(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pace)


def slow_redirects(pace: float) -> Callable:
    def answer(request: BaseHTTPRequestHandler) -> None:
        if not request.server.ended.wait(pace):
            redirect_for_ever(request)

    return answer


def dataset(*urls: str, content: bytes = GOOD, names: tuple[str, ...] = (TRAIN_LABELS,)) -> Dataset:
    published = PublishedFile(len(content), hashlib.sha256(content).hexdigest())
    return Dataset("tiny", 1, 1, 40, 40, [], published=dict.fromkeys(names, published), mirrors=[*urls])


@pytest.fixture(autouse=True)
def own_world(monkeypatch, tmp_path):
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    monkeypatch.setattr(mirrors.time, "sleep", lambda seconds: None)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


class Counter:
    def __init__(self):
        self.total = 0

    def __call__(self, size: int) -> None:
        self.total += size


def test_a_file_comes_whole_and_the_progress_adds_up(folder):
    progress = Counter()
    with server(send(GOOD)) as url:
        fetch(dataset(url), folder, progress)
    assert (folder / TRAIN_LABELS).read_bytes() == GOOD
    assert progress.total == len(GOOD)
    assert [path.name for path in folder.iterdir()] == [TRAIN_LABELS]


def test_a_gz_that_the_server_calls_content_encoding_stays_packed(folder):
    with server(send(GOOD, Content_Encoding="gzip")) as url:
        fetch(dataset(url), folder, Counter())
    assert (folder / TRAIN_LABELS).read_bytes() == GOOD


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (send(FLIPPED), "not the gzip-compressed IDX file|wrong SHA-256"),
        (send(GOOD[:-1]), "wrong length"),
        (send(GOOD + b"x"), "wrong length, more than"),
        (send(b"x" * 10_000_000), "wrong length, more than"),
        (send(b"<html>".ljust(len(GOOD), b" ")), "not the gzip-compressed IDX file"),
        (send(b""), "wrong length"),
        (send(b"no", status=404), "status 404"),
        (redirect_for_ever, "redirects in a loop"),
        (break_off, "the connection broke off"),
        (reset, "the connection broke off"),
    ],
)
def test_a_mirror_with_something_else_is_named_and_the_next_one_is_asked(folder, answer, reason):
    progress = Counter()
    with server(answer) as bad, server(send(GOOD)) as good:
        fetch(dataset(bad, good), folder, progress)
        assert (folder / TRAIN_LABELS).read_bytes() == GOOD
        assert progress.total == len(GOOD)
        (folder / TRAIN_LABELS).unlink()
        with pytest.raises(UserError, match=reason) as caught:
            fetch(dataset(bad), folder, Counter())
    assert bad in str(caught.value)
    assert list(folder.iterdir()) == []


def test_a_wrong_magic_number_is_told_from_a_wrong_checksum(folder):
    published = {TRAIN_LABELS: PublishedFile(len(OTHER_MAGIC), "0" * 64)}
    with server(send(OTHER_MAGIC)) as url, pytest.raises(UserError, match="magic number 0x00000d01"):
        fetch(Dataset("tiny", 1, 1, 40, 40, [], published=published, mirrors=[url]), folder, Counter())


@pytest.mark.parametrize("status", [500, 503])
def test_a_mirror_that_is_down_counts_as_not_reached(folder, status):
    with server(send(b"", status=status)) as url, pytest.raises(NoMirrorReached, match=f"status {status}"):
        fetch(dataset(url), folder, Counter())


def test_refused_and_unknown_mirrors_count_as_not_reached(folder):
    with server(send(GOOD)) as url:
        closed = url
    with pytest.raises(NoMirrorReached, match="(?s)connection refused.*name not found"):
        fetch(dataset(closed, "http://no-such-host.invalid/"), folder, Counter())


def test_one_mirror_that_answers_wrongly_is_no_reason_for_a_sample(folder):
    with (
        server(send(b"", status=404)) as wrong,
        server(send(b"", status=500)) as down,
        pytest.raises(UserError, match="(?s)status 404.*status 500"),
    ):
        fetch(dataset(wrong, down), folder, Counter())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (silence, "nothing of it in 0.5 s"),
        (endless_header(0.02), "nothing of it in 0.5 s"),
        (endless_continue(0.02), "nothing of it in 0.5 s"),
        (slow_redirects(0.1), "nothing of it in 0.5 s"),
        (trickle(0.02), "less than 300,000 bytes in 0.5 s"),
    ],
)
def test_a_mirror_that_keeps_everybody_waiting_is_asked_once_and_not_for_long(folder, monkeypatch, answer, reason):
    monkeypatch.setattr(mirrors, "PATIENCE", 0.5)
    both = (TRAIN_LABELS, TEST_LABELS)
    asked = set()

    def noted(request: BaseHTTPRequestHandler) -> None:
        asked.add(request.path)
        answer(request)

    with server(noted) as slow, server(send(GOOD)) as good:
        start = time.monotonic()
        fetch(dataset(slow, good, names=both), folder, Counter())
        assert 0.5 < time.monotonic() - start < 5
        assert asked == {f"/{TRAIN_LABELS}"}
        assert {path.name for path in folder.iterdir()} == set(both)
        (folder / TRAIN_LABELS).unlink()
        attempts, get = [], requests.get
        monkeypatch.setattr(requests, "get", lambda *about, **more: (attempts.append(about), get(*about, **more))[1])
        with pytest.raises((NoMirrorReached, UserError), match=f"{slow}.*{reason}"):
            fetch(dataset(slow), folder, Counter())
        # Asked again it would have as long once more.
        assert len(attempts) == 1


def test_a_slow_mirror_is_no_reason_for_a_sample_and_a_silent_one_is(folder, monkeypatch):
    monkeypatch.setattr(mirrors, "PATIENCE", 0.5)
    with server(trickle(0.02)) as slow, pytest.raises(UserError, match="less than 300,000 bytes"):
        fetch(dataset(slow), folder, Counter())
    with server(silence) as silent, pytest.raises(NoMirrorReached, match="nothing of it"):
        fetch(dataset(silent), folder, Counter())


def test_a_mirror_that_is_fast_enough_may_take_longer_than_its_patience(folder, monkeypatch):
    monkeypatch.setattr(mirrors, "PATIENCE", 0.5)
    monkeypatch.setattr(mirrors, "PORTION", 4)

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(GOOD))
        for byte in GOOD:
            request.server.ended.wait(0.02)
            request.wfile.write(bytes([byte]))

    start = time.monotonic()
    with server(answer) as url:
        fetch(dataset(url), folder, Counter())
    assert time.monotonic() - start > 1
    assert (folder / TRAIN_LABELS).read_bytes() == GOOD


def test_a_folder_that_does_not_answer_is_given_up(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(mirrors, "PATIENCE", 0.5)
    monkeypatch.setenv("DATA_MIRROR", str(tmp_path / "own"))
    (tmp_path / "own" / "tiny").mkdir(parents=True)
    # Whoever opens it waits until somebody writes.
    os.mkfifo(tmp_path / "own" / "tiny" / TRAIN_LABELS)
    with server(send(GOOD)) as url:
        fetch(dataset(url), folder, Counter())
    assert (folder / TRAIN_LABELS).read_bytes() == GOOD


def test_a_mirror_that_cannot_be_reached_is_not_asked_for_the_next_file(folder):
    asked = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        send(b"", status=503)(request)

    both = (TRAIN_LABELS, TEST_LABELS)
    with server(answer) as down, server(send(GOOD)) as good:
        fetch(dataset(down, good, names=both), folder, Counter())
    assert asked == [f"/{TRAIN_LABELS}"]


def test_all_mirrors_are_asked_before_any_is_asked_again(folder, monkeypatch):
    asked, waits = [], []
    monkeypatch.setattr(mirrors.time, "sleep", waits.append)

    def down(name: str) -> Callable:
        def answer(request: BaseHTTPRequestHandler) -> None:
            asked.append(name)
            send(b"", status=503)(request)

        return answer

    with server(down("a")) as first, server(down("b")) as second, pytest.raises(NoMirrorReached):
        fetch(dataset(first, second), folder, Counter())
    assert asked == ["a", "b"] * 3
    assert waits == [1, 2]


def test_a_passing_fault_is_retried(folder):
    answers = iter([send(b"", status=503), break_off, send(GOOD)])
    with server(lambda request: next(answers)(request)) as url:
        fetch(dataset(url), folder, Counter())
    assert (folder / TRAIN_LABELS).read_bytes() == GOOD


def test_a_verified_file_is_not_fetched_again_and_a_damaged_one_is(folder):
    (folder / TRAIN_LABELS).write_bytes(GOOD)
    with server(send(b"", status=404)) as url:
        fetch(dataset(url), folder, Counter())
    (folder / TRAIN_LABELS).write_bytes(FLIPPED)
    with server(send(GOOD)) as url:
        fetch(dataset(url), folder, Counter())
    assert (folder / TRAIN_LABELS).read_bytes() == GOOD


def test_data_mirror_comes_first_as_a_folder_or_a_url(folder, tmp_path, monkeypatch):
    own = tmp_path / "own" / "tiny"
    own.mkdir(parents=True)
    (own / TRAIN_LABELS).write_bytes(GOOD)
    monkeypatch.setenv("DATA_MIRROR", str(own.parent))
    fetch(dataset("http://no-such-host.invalid/"), folder, Counter())
    (folder / TRAIN_LABELS).unlink()

    asked = []

    def answer(request):
        asked.append(request.path)
        send(GOOD)(request)

    with server(answer) as url:
        monkeypatch.setenv("DATA_MIRROR", url)
        fetch(dataset("http://no-such-host.invalid/"), folder, Counter())
    assert asked == [f"/tiny/{TRAIN_LABELS}"]


@pytest.mark.parametrize("name", ["nowhere", "~no-such-user/nowhere"])
def test_a_folder_without_the_file_is_named(folder, monkeypatch, name):
    monkeypatch.setenv("DATA_MIRROR", name)
    with pytest.raises(UserError, match="nowhere/tiny/: no such file"):
        fetch(dataset(), folder, Counter())


def test_credentials_stay_out_of_messages(folder, monkeypatch):
    monkeypatch.setenv("DATA_MIRROR", "http://user:secret@127.0.0.1:9/")
    with pytest.raises(NoMirrorReached) as caught:
        fetch(dataset(), folder, Counter())
    assert "secret" not in str(caught.value)
