"""Which number format the hardware is fast in, and which device there is."""

from __future__ import annotations

from typing import Literal

import torch

from morphoscope.processes import started


def best_device() -> torch.device:
    """The GPU if there is one, of several the one for this process; else the processor."""
    if torch.cuda.is_available():
        process = started()
        if process is not None:
            return torch.device("cuda", process.local % torch.cuda.device_count())
        return torch.device("cuda")
    return torch.device("cpu")


def fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products run in hardware on ``device``.

    Without such instructions (most laptops before 2022) bf16 is emulated and several times slower
    than fp32, so it is not used there.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, check)() for check in checks if hasattr(torch.cpu, check))
    return False


def autocast_type(precision: Literal["auto", "bf16", "fp32"], device: torch.device) -> torch.dtype | None:
    """The type for autocast, or None for plain fp32."""
    if precision == "bf16" or (precision == "auto" and fast_bf16(device)):
        return torch.bfloat16
    return None
