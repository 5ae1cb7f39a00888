"""Device, number format, seeds and determinism of the Keras backend; the epochs of each are in stages/learners."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from stages.arithmetic import switch
from stages.fingerprints import versions
from stages.params.schema import Runtime
from stages.process.errors import UserError
from stages.process.provenance import cores, processor

# Most images in a step of a prediction or validation. TensorFlow takes one thread or more for a product by the
# processor's L2 cache; with more rows and 2 threads that changes bits (measured: 1,000 rows do, 525 shapes up to 256 do
# not).
PREDICTED = 256
# Keras loads them where they are, for helpers that nothing here uses: a third of its start.
NOT_NEEDED = ("matplotlib", "pandas", "sklearn")


def start_keras(runtime: Runtime) -> str:
    """Import Keras set up as `runtime` says, and return the device really used, "cpu" or "gpu".

    Call it before anything imports keras. Raises `UserError` for a GPU that is not there, a backend that is not
    installed, and an environment that contradicts `runtime`.
    """
    # Before TensorFlow, which loads parts of Keras.
    switch(runtime)
    wanted = "cpu" if runtime.arithmetic == "portable" else runtime.device
    try:
        device = _tensorflow(wanted, runtime.threads) if runtime.backend == "tensorflow" else _jax(wanted)
    except ModuleNotFoundError as error:
        raise UserError(
            f"params.yaml: runtime.backend: {runtime.backend}: {error.name} is not installed\n"
            f"Install it (uv run --with {error.name} …), or set runtime.backend: tensorflow."
        ) from None

    # Under any backend Keras loads TensorFlow where it is installed, to set its seed too.
    with _native_log_hidden(), _absent(*NOT_NEEDED):
        import keras

        keras.utils.set_random_seed(runtime.seed)

    # Not what somebody has set in ~/.keras/keras.json or in the environment.
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy(runtime.precision)
    return device


def machine_tags(runtime: Runtime, device: str) -> dict[str, str]:
    """Return the tags of a run that tell what its network trains on, `device` being "cpu" or "gpu"."""
    name = processor() if device == "cpu" else _gpu_name()
    tags = {"runtime.device": device, "runtime.processor": name, "runtime.cores": str(cores())}
    tags |= {"runtime.backend": runtime.backend, "runtime.arithmetic": runtime.arithmetic}
    return tags | ({"version.jax": versions("jax")["jax"]} if runtime.backend == "jax" else {})


def _backend() -> str:
    import keras

    return keras.config.backend()


def _gpu_name() -> str:
    if _backend() == "tensorflow":
        import tensorflow as tf

        gpu = tf.config.list_physical_devices("GPU")[0]
        return tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
    import jax

    return jax.devices()[0].device_kind


def _tensorflow(wanted: str, threads: int) -> str:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if wanted == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    # It loads Keras.
    with _native_log_hidden(), _absent(*NOT_NEEDED):
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        found = bool(tf.config.list_physical_devices("GPU"))
    device = _chosen("tensorflow", wanted, found, "uv sync --extra gpu")
    if device == "gpu":
        tf.config.experimental.enable_op_determinism()
    return device


@contextmanager
def _native_log_hidden() -> Iterator[None]:
    """Drop what TensorFlow's libraries write about CUDA, oneDNN and instruction sets while they load.

    They do so past Python and, since TensorFlow 2.20, before they look at TF_CPP_MIN_LOG_LEVEL.
    """
    sys.stderr.flush()
    console = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(console, 2)
        os.close(console)


@contextmanager
def _absent(*packages: str) -> Iterator[None]:
    """Have the packages look as if they were not installed, unless they are loaded already."""
    hidden = [package for package in packages if package not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for package in hidden:
            del sys.modules[package]


def _jax(wanted: str) -> str:
    if wanted == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    else:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    import jax

    found = any(device.platform == "gpu" for device in jax.devices())
    return _chosen("jax", wanted, found, "install jax for CUDA")


def _chosen(backend: str, wanted: str, found: bool, remedy: str) -> str:
    if wanted == "gpu" and not found:
        raise UserError(
            f"params.yaml: runtime.device: gpu, and {backend} finds no GPU here\n"
            f"Set runtime.device: auto or cpu, or give it one ({remedy}; a driver that nvidia-smi shows)."
        )
    return "gpu" if found and wanted != "cpu" else "cpu"
