"""Device, number format, seeds and determinism of the Keras backend; the only module with backend code."""

import os
from typing import Protocol

from stages.errors import UserError


class RuntimeParams(Protocol):
    seed: int
    device: str
    precision: str


def start_keras(runtime: RuntimeParams) -> str:
    """Import Keras set up as `runtime` says, and return the device really used, "cpu" or "gpu".

    Call it before anything imports keras. Raises `UserError` for a GPU that is not there.
    """
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        choose = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[backend]
    except KeyError:
        raise UserError(f"KERAS_BACKEND={backend}: allowed are tensorflow, jax and torch") from None
    try:
        device = choose(runtime.device)
    except ModuleNotFoundError as error:
        raise UserError(f"KERAS_BACKEND={backend}: {error.name} is not installed") from None

    import keras

    keras.config.set_dtype_policy(runtime.precision)
    keras.utils.set_random_seed(runtime.seed)
    return device


def jit_compile(device: str, convolutional: bool) -> bool:
    """Say whether to compile the training step with XLA.

    On a CPU it halves the time of dense layers and makes convolutions 5-8 times slower (measured);
    TensorFlow's deterministic GPU operations exclude it; JAX needs it.
    """
    if os.environ["KERAS_BACKEND"] == "tensorflow":
        return device == "cpu" and not convolutional
    return os.environ["KERAS_BACKEND"] == "jax"


def processor(device: str) -> str:
    """Return the name of the processor that computes: the GPU's, or the CPU's."""
    if device == "gpu":
        return _gpu_name()
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    import platform

    return names[0] if names else platform.processor() or platform.machine()


def _tensorflow(wanted: str) -> str:
    # Only what TensorFlow calls fatal: the rest is about CUDA, oneDNN and instruction sets.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("ABSL_MIN_LOG_LEVEL", "3")
    if wanted == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    found = bool(tf.config.list_physical_devices("GPU"))
    device = _chosen(wanted, found, "uv sync --extra gpu")
    if device == "gpu":
        tf.config.experimental.enable_op_determinism()
    return device


def _jax(wanted: str) -> str:
    if wanted == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    else:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    import jax

    found = any(device.platform == "gpu" for device in jax.devices())
    return _chosen(wanted, found, "install jax for CUDA")


def _torch(wanted: str) -> str:
    if wanted == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    device = _chosen(wanted, torch.cuda.is_available(), "install torch for CUDA")
    torch.use_deterministic_algorithms(True)
    return device


def _chosen(wanted: str, found: bool, remedy: str) -> str:
    if wanted == "gpu" and not found:
        raise UserError(
            f"params.yaml: runtime.device: gpu, and {os.environ['KERAS_BACKEND']} finds no GPU here\n"
            f"Set runtime.device: auto or cpu, or give it one ({remedy}; a driver that nvidia-smi shows)."
        )
    return "gpu" if found and wanted != "cpu" else "cpu"


def _gpu_name() -> str:
    backend = os.environ["KERAS_BACKEND"]
    if backend == "tensorflow":
        import tensorflow as tf

        gpu = tf.config.list_physical_devices("GPU")[0]
        return tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
    if backend == "jax":
        import jax

        return jax.devices()[0].device_kind
    import torch

    return torch.cuda.get_device_name()
