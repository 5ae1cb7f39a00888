"""Fetching the published files from the first mirror that has them, verified before anything uses them."""

import gzip
import hashlib
import os
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from stages.dataset.catalogue import Dataset, PublishedFile
from stages.dataset.idx import IdxError, check_magic
from stages.errors import UserError, without_credentials
from stages.provenance import main_repository

CONNECT_TIMEOUT = 5  # seconds
READ_TIMEOUT = 30  # seconds without a byte
FILE_TIMEOUT = 600  # seconds for one file from one mirror
ATTEMPTS = 3
CHUNK = 1 << 16


class NoMirrorReached(Exception):
    """Not one mirror answered: each is named with its reason."""


class _Unreachable(Exception):
    """The mirror did not answer: worth another attempt."""


class _Broken(Exception):
    """The mirror answered, and the transfer broke off: worth another attempt."""


class _Rejected(Exception):
    """The mirror answered, and what it has is not the file: no use in asking again."""


def fetch(dataset: Dataset, folder: Path, advance: Callable[[int], object]) -> None:
    """Put the published files of `dataset` into `folder`; those that are there already and whole are kept.

    `advance` is called with the number of bytes after each step.
    Raises `NoMirrorReached` when no mirror answered for any file, and `UserError` when one answered
    and none had the right file.
    """
    mirrors = _mirrors(dataset)
    reached = False
    for name, published in dataset.published.items():
        target = folder / name
        if target.is_file() and _fault(target, published) is None:
            advance(published.size)
            continue
        reasons = []
        for mirror in mirrors:
            try:
                _fetch_file(mirror + name, target, published, advance)
                reached = True
                break
            except _Unreachable as error:
                reasons.append(f"{without_credentials(mirror)}: {error}")
            except (_Broken, _Rejected) as error:
                reached = True
                reasons.append(f"{without_credentials(mirror)}: {error}")
        else:
            listed = "; ".join(reasons)
            if not reached:
                raise NoMirrorReached(listed)
            raise UserError(
                f"no mirror has {dataset.name}/{name} as published: {listed}\n"
                "Try again later, or point DATA_MIRROR at a folder or URL with "
                f"{dataset.name}/{name} (see README.md)."
            )


def _mirrors(dataset: Dataset) -> list[str]:
    own = os.environ.get("DATA_MIRROR")
    if not own:
        return list(dataset.mirrors)
    if "://" not in own:
        # Not the current folder: an experiment of DVC runs in a temporary copy.
        own = str(main_repository() / Path(own).expanduser())
    elif not _is_http_url(own):
        raise UserError(
            f"DATA_MIRROR={own}: must be a folder or an http(s) URL that holds "
            "mnist/train-images-idx3-ubyte.gz and so on"
        )
    return [f"{own.rstrip('/')}/{dataset.name}/", *dataset.mirrors]


def _is_http_url(location: str) -> bool:
    try:
        url = urlsplit(location)
        return url.scheme in ("http", "https") and bool(url.hostname)
    except ValueError:
        return False


def _fetch_file(location: str, target: Path, published: PublishedFile, advance: Callable) -> None:
    is_url = "://" in location
    part = target.with_name(target.name + ".part")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with (_download if is_url else _copy)(location) as chunks, open(part, "wb") as file:
                _write(chunks, file, published.size, advance)
            fault = _fault(part, published)
            if fault is not None:
                raise _Rejected(fault)
            os.replace(part, target)
            return
        except BaseException as error:
            if part.exists():
                advance(-part.stat().st_size)
                part.unlink()
            if not isinstance(error, _Unreachable | _Broken) or attempt == ATTEMPTS:
                raise
        time.sleep(2 ** (attempt - 1))


def _write(chunks: Iterator[bytes], file: BinaryIO, size: int, advance: Callable) -> None:
    """Write the chunks, at most one more than `size` bytes need."""
    written = 0
    deadline = time.monotonic() + FILE_TIMEOUT
    for chunk in chunks:
        file.write(chunk)
        written += len(chunk)
        advance(len(chunk))
        if written > size:
            break
        if time.monotonic() > deadline:
            raise _Rejected(f"only {written:,} of {size:,} bytes in {FILE_TIMEOUT} s")


@contextmanager
def _copy(location: str) -> Iterator[Iterator[bytes]]:
    try:
        with open(location, "rb") as source:
            yield iter(lambda: source.read(CHUNK), b"")
    except FileNotFoundError:
        raise _Rejected("no such file") from None
    except OSError as error:
        raise _Rejected(error.strerror or str(error)) from None


@contextmanager
def _download(url: str) -> Iterator[Iterator[bytes]]:
    import requests
    import urllib3

    try:
        response = requests.get(
            url,
            stream=True,
            timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
            headers={"Accept-Encoding": "identity"},
        )
    except requests.exceptions.SSLError:
        raise _Rejected("its TLS certificate is not valid") from None
    except requests.exceptions.Timeout:
        raise _Unreachable("timed out") from None
    except requests.exceptions.ConnectionError as error:
        raise _Unreachable(_connection_reason(error)) from None
    except requests.exceptions.TooManyRedirects:
        raise _Rejected("redirects in a loop") from None
    except requests.exceptions.RequestException as error:
        raise _Rejected(f"not a usable URL ({type(error).__name__})") from None
    with response:
        if response.status_code >= 500:
            raise _Unreachable(f"status {response.status_code}")
        if response.status_code != 200:
            raise _Rejected(f"status {response.status_code}")
        try:
            # Not iter_content: it would unpack a .gz that a server labels "Content-Encoding: gzip".
            yield response.raw.stream(CHUNK, decode_content=False)
        except urllib3.exceptions.HTTPError as error:
            raise _Broken(f"the connection broke off ({type(error).__name__})") from None


def _connection_reason(error: Exception) -> str:
    # requests hides what happened in the text of a nested urllib3 error.
    text = str(error)
    for sign, reason in (
        ("NameResolutionError", "name not found"),
        ("getaddrinfo", "name not found"),
        ("Connection refused", "connection refused"),
        ("ProxyError", "the proxy cannot reach it"),
    ):
        if sign in text:
            return reason
    return "no connection"


def _fault(path: Path, published: PublishedFile) -> str | None:
    """Say what makes the file another one than the published, or None."""
    size = path.stat().st_size
    if size != published.size:
        more = "more than " if size > published.size else f"{size:,} instead of "
        return f"wrong length, {more}{published.size:,} bytes"
    try:
        with gzip.open(path) as stream:
            start = stream.read(4)
            check_magic(start, dimensions=3 if "idx3" in path.name else 1)
    except (IdxError, OSError, EOFError, zlib.error) as error:
        return f"not the gzip-compressed IDX file ({error})"
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != published.sha256:
            return "wrong SHA-256"
    return None
