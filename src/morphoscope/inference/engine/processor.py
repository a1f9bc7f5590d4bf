"""What this machine can compute with, found without torch: threads, instructions, GPU drivers."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import platform
import sys
from pathlib import Path

from morphoscope.processes import available_cores

_CGROUP = Path("/sys/fs/cgroup")
_DRIVERS = ("/proc/driver/nvidia/version", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")  # CUDA, ROCm, WSL


def threads() -> int:
    """Number of threads: ``OMP_NUM_THREADS``, or else the cores allowed by affinity and cgroup."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return max(1, min(available_cores(), _quota()))


def _quota() -> int:
    """Cores allowed by the CPU quota of the cgroup, as set by containers and batch systems."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = (_CGROUP / "cpu.max").read_text(encoding="utf-8").split()
        return math.ceil(int(quota) / int(period))  # "max" is not a number
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (
            int((_CGROUP / "cpu" / f"cpu.cfs_{name}_us").read_text(encoding="utf-8"))
            for name in ("quota", "period")
        )
        if quota > 0:
            return math.ceil(quota / period)
    return available_cores()


def may_have_gpu() -> bool:
    """Whether a GPU driver is installed; torch would know more, but takes seconds to load."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    if sys.platform == "win32":
        return (Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "nvcuda.dll").is_file()
    return any(Path(driver).exists() for driver in _DRIVERS)


@functools.cache
def _cpu_lines() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty on other systems."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, colon, value = line.partition(":")
            if colon:
                found.setdefault(name.strip(), value.strip())
    return found


def instructions() -> frozenset[str]:
    """The processor's instruction sets as Linux names them, such as "avx2"; empty on other systems."""
    lines = _cpu_lines()
    return frozenset((lines.get("flags") or lines.get("Features") or "").split())


def has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware, so that torch may be faster than an fp32
    graph.
    """
    return bool(instructions() & {"avx512_bf16", "amx_bf16", "bf16"})


def processor_name() -> str:
    """The processor's model name, as a key for measurements."""
    lines = _cpu_lines()
    return lines.get("model name") or platform.processor() or platform.machine()
