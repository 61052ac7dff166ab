"""What a device is, and what else is on it at the moment."""

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from scripts.lib.devices.units import MIB

# Part of the host's memory that a run may take where no budget is set.
HOST_SHARE = 0.8


@dataclass(frozen=True)
class DeviceRecord:
    """Name and memory of the measured device, and the software below torch.

    `memory_mib` is None where the driver does not tell, as on GPUs that share the host's.
    """

    name: str
    memory_mib: float | None
    driver_version: str | None = None
    cuda_version: str | None = None


def device_record(device: Any) -> DeviceRecord:
    """Describe a `torch.device`; for the CPU its model and the memory a process may use."""
    if device.type != "cuda":
        return cpu_device()
    import torch

    properties = torch.cuda.get_device_properties(device)
    with _nvml(device) as handle:
        driver = _ask("nvmlSystemGetDriverVersion") if handle else None
    return DeviceRecord(
        properties.name, round(properties.total_memory / MIB, 1), driver, torch.version.cuda
    )


def cpu_device() -> DeviceRecord:
    """Describe the CPU: its model and the memory a process may use."""
    return DeviceRecord(cpu_model(), round(host_memory_bytes() / MIB, 1))


def cuda_device() -> DeviceRecord:
    """Describe the first visible GPU by the driver's tool, without a CUDA context of our own."""
    query = "name,memory.total,driver_version"
    name = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    command = [
        "nvidia-smi",
        f"--id={name}",
        f"--query-gpu={query}",
        "--format=csv,noheader,nounits",
    ]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        # A name may have commas.
        gpu, memory, driver = map(_known, told.stdout.splitlines()[0].rsplit(",", 2))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return DeviceRecord("CUDA device", None)
    size = float(memory) if memory and memory.replace(".", "", 1).isdigit() else None
    return DeviceRecord(gpu or "CUDA device", size, driver)


def _known(field: str) -> str | None:
    """Return a field of the driver's tool; None for words in its place (`[N/A]`)."""
    field = field.strip()
    return None if not field or field.startswith("[") or field == "N/A" else field


@cache
def cpu_model() -> str:
    """Model name of the processor as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model", "cpu model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def host_memory_bytes() -> int:
    """Memory of the host, or the limit of this process's control group where that is lower."""
    total = psutil.virtual_memory().total
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # "max" where there is no limit
            total = min(total, int(Path(path).read_text()))
    return total


def device_state(device: Any) -> dict[str, Any]:
    """What else is on the device now, as far as the system tells.

    CUDA, from NVML: processes other than this one, SM and memory clock (MHz), temperature (C),
    power (W), utilisation (%), names of active throttle reasons. CPU: load averages, threads of
    torch, clock (MHz), busy share of the processors since the call before.
    """
    return _cuda_state(device) if device.type == "cuda" else _cpu_state()


def _cpu_state() -> dict[str, Any]:
    import torch

    frequency = psutil.cpu_freq()
    load_1m, load_5m, _ = os.getloadavg()
    return {
        "load_1m": round(load_1m, 2),
        "load_5m": round(load_5m, 2),
        "busy_percent": psutil.cpu_percent(interval=0.1),
        "clock_mhz": round(frequency.current) if frequency else None,
        "num_threads": torch.get_num_threads(),
        "available_memory_mib": round(psutil.virtual_memory().available / MIB, 1),
    }


def _cuda_state(device: Any) -> dict[str, Any]:
    with _nvml(device) as handle:
        if handle is None:
            return {}
        import pynvml

        processes = _ask("nvmlDeviceGetComputeRunningProcesses", handle) or []
        utilisation = _ask("nvmlDeviceGetUtilizationRates", handle)
        power = _ask("nvmlDeviceGetPowerUsage", handle)
        reasons = _ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
        return {
            "other_processes": [
                {"pid": process.pid, "memory_mib": round((process.usedGpuMemory or 0) / MIB, 1)}
                for process in processes
                if process.pid != os.getpid()
            ],
            "sm_clock_mhz": _ask("nvmlDeviceGetClockInfo", handle, pynvml.NVML_CLOCK_SM),
            "memory_clock_mhz": _ask("nvmlDeviceGetClockInfo", handle, pynvml.NVML_CLOCK_MEM),
            "temperature_c": _ask("nvmlDeviceGetTemperature", handle, pynvml.NVML_TEMPERATURE_GPU),
            "power_w": None if power is None else power / 1000,
            "utilisation_percent": utilisation.gpu if utilisation else None,
            "throttle_reasons": None if reasons is None else _throttle_names(reasons),
        }


def _throttle_names(reasons: int) -> list[str]:
    import pynvml

    prefix = "nvmlClocksThrottleReason"
    named = {
        name.removeprefix(prefix): getattr(pynvml, name)
        for name in dir(pynvml)
        if name.startswith(prefix) and isinstance(getattr(pynvml, name), int)
    }
    harmless = {"None", "All", "GpuIdle", "ApplicationsClocksSetting", "UserDefinedClocks"}
    return [name for name, bit in named.items() if bit & reasons and name not in harmless]


@contextmanager
def _nvml(device: Any) -> Iterator[Any]:
    """Yield NVML's handle of a CUDA device, or None where NVML does not answer."""
    import torch

    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no library or no driver: NVML is a courtesy
        yield None
        return
    try:
        uuid = torch.cuda.get_device_properties(device).uuid
        yield _ask("nvmlDeviceGetHandleByUUID", f"GPU-{uuid}")
    finally:
        pynvml.nvmlShutdown()


def _ask(function: str, *arguments: Any) -> Any:
    """Ask NVML; None where this device or driver does not support the question."""
    import pynvml

    try:
        return getattr(pynvml, function)(*arguments)
    except (pynvml.NVMLError, AttributeError, TypeError):
        return None
