"""The IDX reader takes whole files and refuses all others."""

import gzip
import struct
from functools import partial

import numpy as np
import pytest

from stages.dataset.idx import IdxError, read_idx, write_idx

VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
# Without the time: it would be a part of the tests' names, and pytest's workers must agree on these.
packed = partial(gzip.compress, mtime=0)
HEADER = struct.pack(">BBBBIII", 0, 0, 8, 3, 2, 3, 4)


def test_what_is_written_is_read_back(tmp_path):
    write_idx(tmp_path / "a.gz", VALUES)
    np.testing.assert_array_equal(read_idx(tmp_path / "a.gz", (2, 3, 4)), VALUES)


def test_equal_values_give_equal_bytes(tmp_path):
    write_idx(tmp_path / "a.gz", VALUES)
    write_idx(tmp_path / "b.gz", VALUES)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (packed(HEADER + bytes(23)), "23 values instead of 24"),
        (packed(HEADER + bytes(25)), "more values"),
        (packed(HEADER + bytes(50_000_000)), "more values"),
        (packed(HEADER[:10]), "cut short"),
        (packed(b""), "magic number"),
        (packed(b"\0\0\x0d\x03" + HEADER[4:] + bytes(24)), "magic number 0x00000d03"),
        (packed(b"\0\0\x08\x01" + HEADER[4:] + bytes(24)), "magic number 0x00000801"),
        (packed(HEADER[:4] + struct.pack(">III", 2**32 - 1, 3, 4) + bytes(24)), "shape"),
        (packed(HEADER + bytes(24))[:-9], "not a whole gzip file"),
        (b"<html>", "not a whole gzip file"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, content, reason):
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(IdxError, match=reason):
        read_idx(tmp_path / "a.gz", (2, 3, 4))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(IdxError, match="No such file"):
        read_idx(tmp_path / "a.gz", (2, 3, 4))
