"""The origin of a result: its commit, and its processor."""

import os
import re
import subprocess
from pathlib import Path

from stages.process.provenance import git_state, processor

CPUINFO = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: {family}
model\t\t: 1
model name\t: AMD EPYC
flags\t\t: fpu sse2 avx2 fma {more}
"""


def test_processors_of_one_name_are_told_apart(tmp_path):
    names = []
    for family, more in ((25, ""), (25, "avx512f avx512_bf16"), (26, "avx512f avx512_bf16")):
        file = tmp_path / "cpuinfo"
        file.write_text(CPUINFO.format(family=family, more=more) * 2)
        names.append(processor(file))
    assert names == [
        "AMD EPYC, family 25 model 1, AVX2 FMA",
        "AMD EPYC, family 25 model 1, AVX2 FMA AVX-512 BF16",
        "AMD EPYC, family 26 model 1, AVX2 FMA AVX-512 BF16",
    ]


def test_this_processor_has_a_name():
    assert processor()
    assert processor(Path("/nowhere"))
    assert not re.search(r"\bNone\b", processor())


def test_an_edit_in_the_second_of_the_checkout_that_keeps_the_size_is_seen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, at_once = Path("params.yaml"), (1_700_000_000, 1_700_000_000)
    Path("stages").mkdir()
    Path("stages/download.py").touch()
    file.write_text("units: 64")
    os.utime(file, at_once)
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    # The time of the last change of the inode, which no test can set, does not count.
    for arguments in (("init",), ("config", "core.trustctime", "false"), ("add", "."), ("commit", "--message", "one")):
        subprocess.run(("git", *identity, *arguments), check=True, capture_output=True)
    os.utime(".git/index", at_once)
    file.write_text("units: 32")
    os.utime(file, at_once)
    tags, diff = git_state()
    assert tags["git.dirty"] == "true"
    assert b"+units: 32" in diff
