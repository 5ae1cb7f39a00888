"""Mirrors that deliver something else than the published files, or keep the download waiting."""

import gzip
import hashlib
import json
import shutil
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler

import pytest

from stages.dataset.catalogue import DIGITS, TRAIN_IMAGES, TRAIN_LABELS, images_and_labels
from stages.dataset.packaged import write_packaged
from tests.conftest import SMALL, Clone, make_clone
from tests.dataset.test_mirrors import (
    endless_continue,
    endless_header,
    redirect_for_ever,
    send,
    server,
    silence,
    slow_redirects,
    trickle,
)
from tests.faults.refusal import BOMB, PEAK, contents, error_of, peak, refusal

pytestmark = pytest.mark.faults

DOWNLOAD = ("python", "-m", "stages.download")
DIRECT = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("published")
    write_packaged("digits", folder)
    return {name: (folder / name).read_bytes() for name in (*images_and_labels("train"), *images_and_labels("test"))}


@pytest.fixture(scope="module")
def small_mnist(tmp_path_factory, published) -> Clone:
    """A clone whose `mnist` is the digits, of no mirror but DATA_MIRROR, and that has them."""
    clone = make_clone(tmp_path_factory.mktemp("small_mnist"), {**SMALL, "data.name": "mnist", "data.offline": "fail"})
    files = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in published.items()
    }
    source = {"height": 8, "width": 8, "train_count": 1437, "test_count": 360, "class_names": DIGITS}
    # JSON is YAML too.
    (clone.folder / "data/sets/mnist/source.yaml").write_text(json.dumps({**source, "published": files}))
    with server(mirror(published)) as url:
        clone.run(*DOWNLOAD, DATA_MIRROR=url, **DIRECT)
    return clone


def mirror(published: dict[str, bytes], **bad: Callable) -> Callable:
    """Answer with the published files; with `images` or `labels` for those of training."""
    answers = {name: send(content) for name, content in published.items()}
    if "images" in bad:
        answers[TRAIN_IMAGES] = bad["images"]
    if "labels" in bad:
        answers[TRAIN_LABELS] = bad["labels"]

    def answer(request: BaseHTTPRequestHandler) -> None:
        answers[request.path.rpartition("/")[2]](request)

    return answer


def noting_the_time(answer: Callable, asked: list[float]) -> Callable:
    """Append the time of each request to `asked`."""

    def noting(request: BaseHTTPRequestHandler) -> None:
        asked.append(time.monotonic())
        answer(request)

    return noting


def images(good: bytes, start: bytes) -> Callable:
    """Send a whole file of the right length that begins with `start`."""
    packed = gzip.compress(start, mtime=0)
    # gzip takes zeros at the end for padding.
    return send(packed.ljust(len(good), b"\0"))


def flipped(good: bytes) -> bytes:
    return good[:1000] + bytes([good[1000] ^ 1]) + good[1001:]


def reset(after: int) -> Callable:
    """Close the connection with RST in place of FIN after so many bytes of the answer."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write((b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + bytes(100))[:after])
        request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.connection.close()

    return answer


def redirect(location: bytes) -> Callable:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")

    return answer


def many_headers(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 10_000 + b"\r\n")


# How to answer for the training images, given the right ones, and what the error says of it.
FAULTS = {
    "cut short": (lambda good: send(good[:-1]), "wrong length"),
    "longer": (lambda good: send(good + b"\0"), "wrong length, more than"),
    "a flipped bit": (lambda good: send(flipped(good)), "wrong SHA-256"),
    "empty": (lambda good: send(b""), "wrong length, 0 instead of"),
    "a gzip bomb": (lambda good: send(BOMB), "wrong length, more than"),
    "a gzip bomb of the right length": (lambda good: images(good, bytes(30_000_000)), "magic number 0x00000000"),
    "a huge count": (
        lambda good: images(good, struct.pack(">BBBBIII", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1)),
        "wrong SHA-256",
    ),
    "a wrong type code": (lambda good: images(good, b"\0\0\x0d\x03" + bytes(99)), "magic number 0x00000d03"),
    "labels for images": (lambda good: images(good, b"\0\0\x08\x01" + bytes(99)), "magic number 0x00000801"),
    "HTML": (lambda good: send(b"<html>", Content_Type="text/html"), "wrong length, 6 instead of"),
    "HTML of the right length": (lambda good: send(b"<html>".ljust(len(good))), "not the gzip-compressed IDX file"),
    "redirects in a loop": (lambda good: redirect_for_ever, "redirects in a loop"),
    "a redirect to no host": (lambda good: redirect(b"http://[bad/"), "not a usable URL"),
    "a redirect to an empty name": (lambda good: redirect(b"http://a..b/"), "not a usable URL"),
    "a redirect that is no text": (lambda good: redirect(b"http://\xff\xfe/"), "not a usable URL"),
    "reset before the answer": (lambda good: reset(0), "no answer in HTTP"),
    "reset within the file": (lambda good: reset(99), "the connection broke off"),
    "too many headers": (lambda good: many_headers, "no answer in HTTP"),
}


# Hardly ever seen, or noticed by the same check as another one.
RARE = {
    "a gzip bomb of the right length",
    "a huge count",
    "a redirect to an empty name",
    "a redirect that is no text",
    "a wrong type code",
    "empty",
    "reset before the answer",
    "longer",
    "too many headers",
}


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=pytest.mark.long) if fault in RARE else fault for fault in FAULTS]
)
def test_a_download_from_a_bad_mirror_is_refused_and_the_earlier_one_stays(small_mnist, published, fault):
    bad, reason = FAULTS[fault]
    with server(mirror(published, images=bad(published[TRAIN_IMAGES]))) as url:
        error = refusal(small_mnist, *DOWNLOAD, DATA_MIRROR=url, **DIRECT)
    assert f"{url}mnist/: " in error
    assert reason in error
    assert f"point DATA_MIRROR at a folder or URL with mnist/{TRAIN_IMAGES}" in error


def test_once_the_mirror_is_mended_what_was_verified_before_is_not_fetched_again(small_mnist, published):
    shutil.rmtree(small_mnist.folder / "data/raw.partial", ignore_errors=True)
    with server(mirror(published, labels=send(published[TRAIN_IMAGES]))) as url:
        assert f"mnist/{TRAIN_LABELS}" in refusal(small_mnist, *DOWNLOAD, DATA_MIRROR=url, **DIRECT)
    shutil.rmtree(small_mnist.folder / "data/raw")
    with server(mirror(published, images=send(b"", status=404))) as url:
        small_mnist.run(*DOWNLOAD, DATA_MIRROR=url, **DIRECT)
    found = contents(small_mnist.folder / "data/raw")
    assert {name: found.get(name) for name in published} == published
    assert set(found) == {"manifest.json", *published}
    assert not (small_mnist.folder / "data/raw.partial").exists()


def test_a_gzip_bomb_takes_no_more_memory_than_the_right_files(small_mnist, published):
    shutil.rmtree(small_mnist.folder / "data/raw.partial", ignore_errors=True)
    command = (sys.executable, "-c", PEAK, "stages.download")
    with server(mirror(published)) as url:
        good = peak(small_mnist.run(*command, DATA_MIRROR=url, **DIRECT).stdout)
    for bad in (send(BOMB), send(BOMB, Content_Encoding="gzip"), images(BOMB, bytes(30_000_000))):
        with server(mirror(published, images=bad)) as url:
            done = small_mnist.run(*command, check=False, DATA_MIRROR=url, **DIRECT)
        assert done.returncode == 1
        assert peak(done.stdout) < good + 16_000


@pytest.mark.long
def test_no_mirror_keeps_the_download_waiting_for_longer_than_its_patience(small_mnist, published, tmp_path):
    """All at once, at their real pace: a byte per second, and 30 s of patience."""
    answers = {
        "silence": (silence, "nothing of it in 30 s"),
        "trickle": (trickle(1), "less than 300,000 bytes in 30 s"),
        "header": (endless_header(1), "nothing of it in 30 s"),
        "continue": (endless_continue(0.1), "nothing of it in 30 s"),
        "redirects": (slow_redirects(2), "nothing of it in 30 s"),
    }
    with ExitStack() as stack:
        waiting = {}
        for name, (answer, _) in answers.items():
            clone = Clone(shutil.copytree(small_mnist.folder, tmp_path / name))
            asked = []
            url = stack.enter_context(server(mirror(published, labels=noting_the_time(answer, asked))))
            waiting[name] = clone.start(*DOWNLOAD, DATA_MIRROR=url, **DIRECT), asked
        for name, (process, asked) in waiting.items():
            output = process.communicate(timeout=120)[0]
            error = error_of(process.returncode, output)
            assert answers[name][1] in error
            # Not from the start of the process: five of them start at once, on a busy machine.
            assert 29 < time.monotonic() - asked[0] < 60, name
            assert not list((tmp_path / name / "data").rglob("*.part"))
