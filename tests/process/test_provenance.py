"""The origin of a result: its processor."""

import re
from pathlib import Path

from stages.process.provenance import processor

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
