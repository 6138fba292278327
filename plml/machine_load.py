"""How busy this machine is: processor, memory and GPUs, read at the cost of a millisecond every two seconds.

GPUs are asked through NVML (the package ``nvidia-ml-py``, extra ``gpu``), which makes no CUDA context and so takes no
memory of theirs. Without it, or without a GPU, nothing is said of GPUs.
"""

import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import psutil

FRESH_S = 2.0


@dataclass(frozen=True)
class GpuLoad:
    """One GPU.

    Attributes:
        busy: percent of the time in which it computed.
        used: GiB of its memory.
        memory: GiB that it has.
    """

    busy: int
    used: float
    memory: float


@dataclass(frozen=True)
class Load:
    """The load of this machine.

    Attributes:
        cpu: percent of all cores.
        memory: percent of the main memory.
        gpus: all that NVML sees, in its order.
    """

    cpu: float
    memory: float
    gpus: tuple[GpuLoad, ...]

    def __str__(self) -> str:
        """Return ``CPU 97 %, memory 41 %, GPU 0 88 % (12.3 of 79.6 GiB)``."""
        parts = [f"CPU {self.cpu:.0f} %", f"memory {self.memory:.0f} %"]
        parts += [f"GPU {i} {g.busy} % ({g.used:.1f} of {g.memory:.1f} GiB)" for i, g in enumerate(self.gpus)]
        return ", ".join(parts)

    def fields(self) -> dict[str, Any]:
        """Return it for an event."""
        return asdict(self)


class MachineLoad:
    """Reads the load; asked more often than every two seconds it repeats itself."""

    def __init__(self) -> None:
        self._nvml = _open_nvml()
        self._read_at = -FRESH_S
        self._load = Load(0.0, 0.0, ())
        self._times = _cpu_seconds()

    def __call__(self) -> Load:
        """Return the load since the call before."""
        now = time.monotonic()
        if now - self._read_at >= FRESH_S:
            self._read_at = now
            self._load = Load(self._cpu(), psutil.virtual_memory().percent, self._gpus())
        return self._load

    def _cpu(self) -> float:
        # psutil's own percentage is counted for each thread that asks, and here several do.
        before, self._times = self._times, _cpu_seconds()
        busy, total = (now - then for now, then in zip(self._times, before, strict=True))
        return round(100 * busy / total, 1) if total > 0 else 0.0

    def _gpus(self) -> tuple[GpuLoad, ...]:
        nvml = self._nvml
        if nvml is None:
            return ()
        found = []
        with suppress(nvml.NVMLError):  # a GPU that has just failed; the training will say so
            for number in range(nvml.nvmlDeviceGetCount()):
                device = nvml.nvmlDeviceGetHandleByIndex(number)
                memory = nvml.nvmlDeviceGetMemoryInfo(device)
                busy = nvml.nvmlDeviceGetUtilizationRates(device).gpu
                found.append(GpuLoad(busy, memory.used / 2**30, memory.total / 2**30))
        return tuple(found)


def _cpu_seconds() -> tuple[float, float]:
    """Return how long all cores computed since the machine started, and how long they were there."""
    times = psutil.cpu_times()._asdict()
    total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)  # they are in user and nice
    return total - times["idle"] - times.get("iowait", 0.0), total


def _open_nvml() -> Any:
    """Return the module that asks GPUs, or None where there is none to ask."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
