"""Which of two engines is faster here, measured once and remembered in the user's cache."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from morphoscope import files
from morphoscope.inference.engine.interface import Engine

FILE = "engines.json"  # within the cache
ROUNDS = 3  # of all engines in turns, since machines drift; the fastest round counts
SECONDS = 0.15  # for a round of an engine


def faster(engines: Mapping[str, Engine], key: str, side: int, channels: int) -> str:
    """The name of the fastest engine.

    Args:
        engines: by name.
        key: processor, threads, network and versions: what the speed depends on.
        side: of the network's input, pixels.
        channels: C.
    """
    known = remembered(key)
    if known is not None and known in engines:
        return known
    batch_NSSC = np.random.default_rng(0).integers(0, 256, (16, side, side, channels), np.uint8)
    rates = dict.fromkeys(engines, 0.0)
    for engine in engines.values():
        engine(batch_NSSC)  # the first pass allocates
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            count, begun = 0, time.perf_counter()
            while time.perf_counter() - begun < SECONDS:
                engine(batch_NSSC)
                count += len(batch_NSSC)
            rates[name] = max(rates[name], count / (time.perf_counter() - begun))
    chosen = max(rates, key=lambda name: rates[name])
    _remember(key, chosen, rates)
    return chosen


def remembered(key: str) -> str | None:
    """The engine that was faster when it was measured; None where it was not, or the cache is damaged."""
    return _read().get(key, {}).get("engine")


def _place() -> Path:
    return files.cache_folder() / FILE


def _read() -> dict[str, dict[str, str]]:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads(_place().read_text(encoding="utf-8"))
        if isinstance(found, dict) and all(isinstance(each, dict) for each in found.values()):
            return found
    return {}


def _remember(key: str, chosen: str, rates: Mapping[str, float]) -> None:
    """Add it to the file; a cache that cannot be written is no error."""
    rows = {name: f"{rate:.0f} images/s" for name, rate in rates.items()}
    with contextlib.suppress(OSError):
        _place().parent.mkdir(parents=True, exist_ok=True)
        files.write_json(_place(), {**_read(), key: {"engine": chosen, **rows}})
