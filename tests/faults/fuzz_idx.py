"""Coverage-guided fuzzing of the IDX reader: it returns the values that are in the file, or raises `IdxError`.

    uv run --with atheris==3.0.0 python -m tests.faults.fuzz_idx -max_total_time=300

Atheris is libFuzzer for Python, and takes its options; it stops at the first input that breaks the promise.
"""

import sys
import tempfile
from pathlib import Path

import atheris
import numpy as np

# Loaded already, and without what counts the branches.
sys.modules.pop("gzip", None)
with atheris.instrument_imports(include=["gzip", "stages.dataset.idx"]):
    import gzip

    from stages.dataset.idx import IdxError, read_idx

SHAPE = (2, 3, 4)
HEADER = b"\0\0\x08\x03" + b"".join(size.to_bytes(4, "big") for size in SHAPE)


def check(data: bytes) -> None:
    """Read `data` as a file, and again as the content of a whole one: few mutations pass gzip's checksum."""
    packed = gzip.compress(data, compresslevel=1, mtime=0)
    for file in (data, packed):
        path.write_bytes(file)
        try:
            values = read_idx(path, SHAPE)
        except IdxError:
            # All that is wrong with a whole file is its content.
            assert file is data or data[: len(HEADER)] != HEADER or len(data) != len(HEADER) + 24
            continue
        assert values.dtype == np.uint8
        assert values.shape == SHAPE
        assert HEADER + values.tobytes() == gzip.decompress(file)


if __name__ == "__main__":
    # In memory: a disk would take a hundred times as long as the reader.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder) / "images.gz"
        seeds = Path(folder) / "seeds"
        seeds.mkdir()
        (seeds / "content").write_bytes(HEADER + bytes(range(24)))
        (seeds / "file").write_bytes(gzip.compress(HEADER + bytes(range(24)), mtime=0))
        atheris.Setup([*sys.argv, str(seeds)], check)
        atheris.Fuzz()
