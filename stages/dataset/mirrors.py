"""Fetching the published files from the first mirror that has them, verified before anything uses them."""

import gzip
import hashlib
import os
import queue
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from stages.dataset.catalogue import Dataset, PublishedFile
from stages.dataset.idx import IdxError, check_magic
from stages.process.errors import UserError, without_credentials
from stages.process.provenance import main_repository

CONNECT_TIMEOUT = 5  # seconds
# A mirror has PATIENCE seconds to connect, to redirect, to answer and to send the first PORTION bytes, and as long for
# each further portion. So one attempt at a file takes at most 30 s and 1 s for each 10 kB of it: 17 minutes for the
# largest of MNIST. A mirror that is slower, or cannot be reached, is asked for no further file.
PATIENCE = 30
PORTION = 300_000
ATTEMPTS = 3
CHUNK = 1 << 16
CONNECTION_REASONS = {
    "NameResolutionError": "name not found",
    "getaddrinfo": "name not found",
    "Connection refused": "connection refused",
    "ProxyError": "the proxy cannot reach it",
    "Connection aborted": "no answer in HTTP",
}


class NoMirrorReached(Exception):
    """Not one mirror answered: each is named with its reason."""


class _Failure(Exception):
    """A mirror did not deliver a file; the message is the reason.

    `answered` tells whether it can be reached, `again` whether another attempt may help, and `others` whether to ask it
    for other files. The defaults are those of a mirror that has no such file, or another one.
    """

    def __init__(self, reason: str, *, answered: bool = True, again: bool = False, others: bool = True):
        super().__init__(reason)
        self.answered, self.again, self.others = answered, again, others


def _unreachable(reason: str) -> _Failure:
    return _Failure(reason, answered=False, again=True, others=False)


def fetch(dataset: Dataset, folder: Path, advance: Callable[[int], object]) -> None:
    """Put the published files of `dataset` into `folder`; those that are there already and whole are kept.

    `advance` is called with the number of bytes after each step.
    Raises `NoMirrorReached` when no mirror answered for any file, and `UserError` when one answered
    and none had the right file.
    """
    mirrors, reached = _mirrors(dataset), False
    given_up: dict[str, _Failure] = {}
    for name, published in dataset.published.items():
        target = folder / name
        if target.is_file() and _fault(target, published) is None:
            advance(published.size)
            continue
        failures = dict(given_up)
        delivered = _fetch_from(mirrors, target, published, advance, failures)
        reached |= delivered or any(failure.answered for failure in failures.values())
        given_up = {mirror: failure for mirror, failure in failures.items() if not failure.others}
        if not delivered:
            listed = "; ".join(f"{without_credentials(mirror)}: {failures[mirror]}" for mirror in mirrors)
            if not reached:
                raise NoMirrorReached(listed)
            file = f"{dataset.name}/{name}"
            raise UserError(
                f"no mirror has {file} as published: {listed}\n"
                f"Try again later, or point DATA_MIRROR at a folder or URL with {file} (see docs/settings.md)."
            )


def own_mirror() -> str:
    """Return DATA_MIRROR, a folder by its whole path, or nothing where it is not set."""
    own = os.environ.get("DATA_MIRROR", "")
    if not own or "://" in own:
        return own
    # Not the current folder: an experiment of DVC runs in a temporary copy.
    return str(main_repository() / os.path.expanduser(own))


def _mirrors(dataset: Dataset) -> list[str]:
    own = own_mirror()
    if not own:
        return list(dataset.mirrors)
    if "://" in own and not _is_http_url(own):
        example = "mnist/train-images-idx3-ubyte.gz"
        raise UserError(f"DATA_MIRROR={own}: must be a folder or an http(s) URL that holds {example} and so on")
    return [f"{own.rstrip('/')}/{dataset.name}/", *dataset.mirrors]


def _is_http_url(location: str) -> bool:
    try:
        url = urlsplit(location)
        return url.scheme in ("http", "https") and bool(url.hostname)
    except ValueError:
        return False


def _fetch_from(
    mirrors: list[str], target: Path, published: PublishedFile, advance: Callable, failures: dict[str, _Failure]
) -> bool:
    """Fetch the file from the first of the mirrors that has it, and return whether one had.

    A mirror that has failed in passing is asked again, but not before the others. Those in `failures` are not asked;
    it gets the last failure of each other one.
    """
    asked = [mirror for mirror in mirrors if mirror not in failures]
    for attempt in range(ATTEMPTS):
        if attempt and asked:
            time.sleep(2 ** (attempt - 1))
        for mirror in asked:
            try:
                _fetch_file(mirror + target.name, target, published, advance)
                return True
            except _Failure as error:
                failures[mirror] = error
        asked = [mirror for mirror in asked if failures[mirror].again]
    return False


def _fetch_file(location: str, target: Path, published: PublishedFile, advance: Callable) -> None:
    part = target.with_name(target.name + ".part")
    try:
        with closing(_timed(location)) as chunks, open(part, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
                advance(len(chunk))
                if file.tell() > published.size:
                    break
        if fault := _fault(part, published):
            raise _Failure(fault)
        os.replace(part, target)
    except BaseException:
        if part.exists():
            advance(-part.stat().st_size)
            part.unlink()
        raise


def _timed(location: str) -> Iterator[bytes]:
    """Yield the content of the URL or file as it comes; raise `_Failure` where it does not.

    No timeout of requests bounds the look-up of a name, many redirects, headers that do not end or a byte now and
    then, and none at all a network drive that is gone: a thread waits for them, and is left behind if need be.
    """
    arriving: queue.Queue[bytes | Exception] = queue.Queue(maxsize=1)
    stopped = threading.Event()
    threading.Thread(target=_receive, args=(location, arriving, stopped), daemon=True).start()
    total = portion = 0
    deadline = time.monotonic() + PATIENCE
    try:
        while True:
            try:
                arrived = arriving.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                came = f"less than {PORTION:,} bytes" if total else "nothing of it"
                # It has cost so much time that another attempt would not be patience.
                raise _Failure(f"{came} in {PATIENCE} s", answered=total > 0, others=False) from None
            if isinstance(arrived, Exception):
                raise arrived
            if not arrived:
                return
            yield arrived
            total += len(arrived)
            portion += len(arrived)
            if portion >= PORTION:
                portion, deadline = 0, time.monotonic() + PATIENCE
    finally:
        stopped.set()
        # The thread may wait for room for what nobody is going to take.
        with suppress(queue.Empty):
            arriving.get_nowait()


def _receive(location: str, arriving: queue.Queue, stopped: threading.Event) -> None:
    """Put the chunks into `arriving` until `stopped`; after the last one nothing (b""), or the error instead."""
    try:
        with (_download if "://" in location else _copy)(location) as chunks:
            for chunk in chunks:
                arriving.put(chunk)
                if stopped.is_set():
                    return
        arriving.put(b"")
    except Exception as error:
        arriving.put(error)


@contextmanager
def _copy(location: str) -> Iterator[Iterator[bytes]]:
    try:
        with open(location, "rb") as source:
            yield iter(lambda: source.read(CHUNK), b"")
    except FileNotFoundError:
        raise _Failure("no such file") from None
    except OSError as error:
        raise _Failure(error.strerror or str(error)) from None


@contextmanager
def _download(url: str) -> Iterator[Iterator[bytes]]:
    import requests
    import urllib3

    try:
        times, headers = (CONNECT_TIMEOUT, PATIENCE), {"Accept-Encoding": "identity"}
        response = requests.get(url, stream=True, timeout=times, headers=headers)
    except requests.exceptions.SSLError:
        raise _Failure("its TLS certificate is not valid") from None
    except requests.exceptions.Timeout:
        raise _unreachable("timed out") from None
    except requests.exceptions.ConnectionError as error:
        raise _unreachable(_connection_reason(error)) from None
    except requests.exceptions.TooManyRedirects:
        raise _Failure("redirects in a loop") from None
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
        # Its own, or one that it redirects to.
        raise _Failure(f"not a usable URL ({type(error).__name__})") from None
    with response:
        if response.status_code >= 500:
            raise _unreachable(f"status {response.status_code}")
        if response.status_code != 200:
            raise _Failure(f"status {response.status_code}")
        try:
            # Not iter_content: it would unpack a .gz that a server labels "Content-Encoding: gzip", and wait
            # until a chunk is full.
            yield iter(lambda: response.raw.read1(CHUNK, decode_content=False), b"")
        except urllib3.exceptions.HTTPError as error:
            raise _Failure(f"the connection broke off ({type(error).__name__})", again=True) from None


def _connection_reason(error: Exception) -> str:
    # requests hides what happened in the text of a nested urllib3 error.
    return next((reason for sign, reason in CONNECTION_REASONS.items() if sign in str(error)), "no connection")


def _fault(path: Path, published: PublishedFile) -> str | None:
    """Say what makes the file another one than the published, or None."""
    size = path.stat().st_size
    if size != published.size:
        more = "more than " if size > published.size else f"{size:,} instead of "
        return f"wrong length, {more}{published.size:,} bytes"
    try:
        with gzip.open(path) as stream:
            check_magic(stream.read(4), dimensions=3 if "idx3" in path.name else 1)
    except (IdxError, OSError, EOFError, zlib.error) as error:
        return f"not the gzip-compressed IDX file ({error})"
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != published.sha256:
            return "wrong SHA-256"
    return None
