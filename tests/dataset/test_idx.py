"""The IDX reader takes whole files and refuses all others."""

import gzip
import struct
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from stages.dataset.idx import IdxError, read_idx, write_idx

VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
# Without the time: it would be a part of the tests' names, and pytest's workers must agree on these.
packed = partial(gzip.compress, mtime=0)
HEADER = struct.pack(">BBBBIII", 0, 0, 8, 3, 2, 3, 4)
FILE = packed(HEADER + VALUES.tobytes())

# The same examples in every run, on every machine.
examples = settings(max_examples=300, derandomize=True, deadline=None)
# Some bytes somewhere are replaced by others, of which there may be fewer, more or none.
edits = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100), st.binary(max_size=40)), min_size=1, max_size=3)
flips = st.lists(st.integers(0, 8 * len(FILE) - 1), min_size=1, max_size=8, unique=True)


def edited(content: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for start, length, new in changes:
        content = content[:start] + new + content[start + length :]
    return content


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


def test_a_file_that_was_made_endless_is_refused_unread(tmp_path):
    write_idx(tmp_path / "a.gz", VALUES)
    with open(tmp_path / "a.gz", "r+b") as file:
        # gzip takes zeros at the end for padding, and would read them one by one.
        file.truncate(1 << 30)
    with pytest.raises(IdxError, match="far longer than 24 values need"):
        read_idx(tmp_path / "a.gz", (2, 3, 4))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("idx") / "a.gz"


@examples
@given(values=arrays(np.uint8, array_shapes(max_dims=4, max_side=5)))
def test_values_of_any_shape_are_read_back(file, values):
    write_idx(file, values)
    np.testing.assert_array_equal(read_idx(file, values.shape), values)


def check_same_or_refused(file: Path) -> None:
    try:
        found = read_idx(file, VALUES.shape)
    except IdxError:
        return
    np.testing.assert_array_equal(found, VALUES)


@examples
@given(changes=edits)
@example(changes=[(len(FILE), 0, bytes(40))])
def test_whatever_becomes_of_a_file_it_has_the_same_values_or_is_refused(file, changes):
    file.write_bytes(edited(FILE, changes))
    check_same_or_refused(file)


@examples
@given(bits=flips)
def test_a_file_with_flipped_bits_has_the_same_values_or_is_refused(file, bits):
    content = bytearray(FILE)
    for bit in bits:
        content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)
    check_same_or_refused(file)


@examples
@given(changes=edits)
@example(changes=[(16, 24, bytes(24))])
def test_of_other_content_only_other_values_are_taken(file, changes):
    content = edited(HEADER + VALUES.tobytes(), changes)
    file.write_bytes(packed(content))
    if len(content) == len(HEADER) + 24 and content.startswith(HEADER):
        assert HEADER + read_idx(file, VALUES.shape).tobytes() == content
    else:
        with pytest.raises(IdxError):
            read_idx(file, VALUES.shape)
