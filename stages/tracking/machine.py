"""What the machine does during a training, for MLflow's page "System metrics": CPU, memory and GPU.

The names and units are those of MLflow's own SystemMetricsMonitor, which needs a run in a store, and seconds to import.
"""

import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from statistics import fmean
from typing import Any

import psutil

from stages.tracking import record as records

# Between two looks at the machine,
LOOK_SECONDS = 0.25
# and, as a share of the time so far, between two means of them: a minute of training gets 70, an hour 150.
SHARE = 0.05


def watch(process: str) -> None:
    """From now on, append the use of the machine to the trainings that go on in `process`, until this process ends.

    In a thread, so that a slow MLflow does not hold it up.
    """
    threading.Thread(target=_watch, args=(process,), daemon=True).start()


def _watch(process: str) -> None:
    gpus, looks, steps = _gpus(), defaultdict(list), Counter()
    start = last = time.monotonic()
    # A percentage is one since the last call.
    psutil.cpu_percent()
    while True:
        time.sleep(LOOK_SECONDS)
        for name, value in (_cpu_and_memory() | _gpu(gpus)).items():
            looks[name].append(value)
        now = time.monotonic()
        if now - last < SHARE * (now - start):
            continue
        means = {f"{records.SYSTEM}{name}": round(fmean(values), 1) for name, values in looks.items()}
        looks.clear()
        last = now
        for record in records.running(process):
            # It may be published and removed by now, and of a full disk the training itself tells.
            with suppress(OSError):
                records.append(record, steps[record], means)
                steps[record] += 1


def _cpu_and_memory() -> dict[str, float]:
    memory = psutil.virtual_memory()
    return {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": memory.used / 1e6,
        "system_memory_usage_percentage": 100 * memory.used / memory.total,
    }


def _gpus() -> list[Any]:
    """Return NVIDIA's handle of each GPU; none where there is no GPU, or its library is not installed."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
    except Exception:
        return []


def _gpu(gpus: list[Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for number, gpu in enumerate(gpus):
        import pynvml

        # A GPU need not know all of these.
        with suppress(pynvml.NVMLError):
            memory = pynvml.nvmlDeviceGetMemoryInfo(gpu)
            found[f"gpu_{number}_memory_usage_megabytes"] = memory.used / 1e6
            found[f"gpu_{number}_memory_usage_percentage"] = 100 * memory.used / memory.total
        with suppress(pynvml.NVMLError):
            found[f"gpu_{number}_utilization_percentage"] = pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu
        with suppress(pynvml.NVMLError):
            watts = pynvml.nvmlDeviceGetPowerUsage(gpu) / 1000
            found[f"gpu_{number}_power_usage_watts"] = watts
            limit = pynvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000
            found[f"gpu_{number}_power_usage_percentage"] = 100 * watts / limit
    return found
