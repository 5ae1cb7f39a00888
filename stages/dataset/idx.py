"""The IDX format of the MNIST files: a four-byte magic number, big-endian sizes, then the values."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

UNSIGNED_BYTE = 0x08
# gzip may add so much to the values, twice their length being far too much already. It is read byte by byte where it is
# no more than padding: 15 s for the images of MNIST, and not for ever for a file that somebody made larger.
MOST_OVERHEAD = 1_000_000


class IdxError(ValueError):
    """The bytes are not a whole gzip-compressed IDX file of unsigned bytes."""


def check_magic(start: bytes, dimensions: int) -> None:
    """Raise `IdxError` unless `start` (the first four bytes) announces unsigned bytes in `dimensions` dimensions."""
    expected = bytes((0, 0, UNSIGNED_BYTE, dimensions))
    if start != expected:
        raise IdxError(f"magic number 0x{start.hex()} instead of 0x{expected.hex()}")


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return the values as uint8 of exactly `shape`; never holds more than that and 8 MB in memory.

    Raises `IdxError` when the file is cut short, too long, damaged, of another type or of another shape.
    """
    count = math.prod(shape)
    try:
        if path.stat().st_size > 2 * count + MOST_OVERHEAD:
            raise IdxError(f"far longer than {count} values need")
        with gzip.open(path) as stream:
            check_magic(stream.read(4), len(shape))
            header = stream.read(4 * len(shape))
            if len(header) < 4 * len(shape):
                raise IdxError("the header is cut short")
            found = struct.unpack(f">{len(shape)}I", header)
            if found != shape:
                raise IdxError(f"shape {found} instead of {shape}")
            values = stream.read(count + 1)
            if len(values) != count:
                raise IdxError(f"{'more' if len(values) > count else len(values)} values instead of {count}")
    except (OSError, EOFError, zlib.error) as error:
        raise IdxError(f"not a whole gzip file ({error})") from error
    return np.frombuffer(values, np.uint8).reshape(shape)


def write_idx(path: Path, values: np.ndarray) -> None:
    """Write uint8 `values` of any shape as gzip-compressed IDX; the same values always give the same bytes."""
    header = bytes((0, 0, UNSIGNED_BYTE, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    with open(path, "wb") as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as stream:
        stream.write(header)
        stream.write(np.ascontiguousarray(values, np.uint8).tobytes())
