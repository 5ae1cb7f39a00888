"""The switches that decide in which order numbers are added; set before the first import that reads them.

Libraries choose their code by the processor's instruction sets, caches and cores, and so give other bits on another
processor. Held to AVX2, to one cache size and to a fixed number of threads, they give the same ones on any x86-64
processor that has AVX2.
"""

import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from stages.process.errors import UserError

if TYPE_CHECKING:
    from stages.params.schema import Runtime

# For all that is no network: it computes for seconds, and is the same under every `runtime.arithmetic`.
HELD_DOWN = {
    # NumPy and SciPy multiply with OpenBLAS, whose blocks follow the L2 cache (in kB).
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_L2_SIZE": "512",
    "OPENBLAS_NUM_THREADS": "1",
    # The functions of Intel's library in OpenCV.
    "OPENCV_IPP": "avx2",
    # UMAP is compiled where it runs.
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx,+avx2,+bmi,+bmi2,+cx16,+f16c,+fma,+lzcnt,+movbe,+popcnt,+sse4.1,+sse4.2,+ssse3",
}
# Libraries complain where there is nothing to hold down. X86_V4 is AVX-512.
WITHOUT_AVX512 = {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR", "OPENCV_CPU_DISABLE": "AVX512-SKX"}
# Elsewhere nothing is the same as on x86-64, and OpenBLAS knows no Haswell.
IS_X86 = platform.machine() in ("x86_64", "AMD64")
# What the environment said before.
_contradictions: list[str] = []


def hold_down() -> None:
    """Set these for this process and those that it starts."""
    for name, value in held_down().items():
        if os.environ.setdefault(name, value) != value:
            _contradictions.append(f"{name}={os.environ[name]} in the environment: this project sets {value}")


def held_down() -> dict[str, str]:
    """Return the switches for all that is no network, as this machine needs them."""
    flags = ""
    with suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text()
    return (HELD_DOWN if IS_X86 else {}) | (WITHOUT_AVX512 if "avx512f" in flags else {})


def check_environment() -> None:
    """Raise `UserError` where the environment would decide on bytes that `hold_down` is to fix."""
    if _contradictions:
        raise UserError(f"{_contradictions[0]}\n{_remedy(_contradictions[0])}.")


def switch(runtime: "Runtime") -> None:
    """Set what TensorFlow and JAX read when they load, as `runtime` says, and say what was set.

    Raises `UserError` where the environment contradicts it.
    """
    wanted = {"KERAS_BACKEND": (runtime.backend, "backend")}
    if runtime.backend == "tensorflow":
        threads = (str(runtime.threads), "threads")
        # TensorFlow leaves oneDNN off where there is no AVX-512; with it a CNN takes half the time there.
        wanted |= {"TF_NUM_INTRAOP_THREADS": threads, "TF_ENABLE_ONEDNN_OPTS": ("1", "arithmetic")}
        if runtime.arithmetic == "portable":
            wanted["ONEDNN_MAX_CPU_ISA"] = ("AVX2", "arithmetic")
        for name in _decides_for_tensorflow():
            if name not in wanted:
                raise UserError(
                    f"{name}={os.environ[name]} in the environment: it decides on bytes, and params.yaml says "
                    f"runtime.arithmetic: {runtime.arithmetic}\n{_remedy(name)}."
                )
    for name, (value, key) in wanted.items():
        if os.environ.setdefault(name, value) != value:
            # Neither arithmetic leaves it to the environment.
            other = "" if key == "arithmetic" else f", or change runtime.{key}"
            raise UserError(
                f"{name}={os.environ[name]} in the environment: params.yaml says runtime.{key}: "
                f"{getattr(runtime, key)}, which sets {value}\n{_remedy(name)}{other}."
            )
    # JAX has no public way to hold XLA to a number of threads.
    threads = f"{runtime.threads} threads" if runtime.backend == "tensorflow" else "a thread for each core"
    switches = ", ".join(f"{name}={value}" for name, (value, _) in wanted.items())
    print(f"arithmetic: {runtime.arithmetic}, {threads} ({switches})", flush=True)
    if runtime.arithmetic == "portable" and not IS_X86:
        print(f"arithmetic: on {platform.machine()} its bytes are its own; those recorded are of x86-64", flush=True)


def _decides_for_tensorflow() -> list[str]:
    return [
        name
        for name in os.environ
        if name == "TF_XLA_FLAGS" or (name.startswith(("DNNL_", "ONEDNN_")) and not name.endswith("VERBOSE"))
    ]


def _remedy(setting: str) -> str:
    return f"Unset it: unset {setting.partition('=')[0]}"
