"""How fast each engine computes a network, and whole predictions with it, on this machine.

    python benchmarks/engines.py [--run default] [--images FOLDER] [--count 512] [--turns 3] [--json]

The network alone (prepared images in batches of 64), then ``morphoscope predict`` as a process of its own,
from JPEGs of 424 pixels to Parquet, start-up included. All installed engines take turns within one run,
because machines drift by tens of percent within minutes; the medians of the turns are printed, the ratios to
torch, and for the network alone the processor time too, which other people's load enters less. Last comes the
largest difference of a probability from torch's; the exit status is 1 if one in fp32 exceeds 1e-4.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from inputs import machine, made_jpeg
from morphoscope import api
from morphoscope.errors import MorphoscopeError
from morphoscope.extras import installed
from morphoscope.inference.engine.choose import engine_of
from morphoscope.inference.engine.interface import Engine
from morphoscope.inference.engine.processor import instructions, processor_name, threads
from morphoscope.progress import note
from surroundings import processor_seconds

PACKAGES = {"torch": "torch", "onnx": "onnxruntime", "openvino": "openvino", "mnn": "MNN"}
TELLING = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
BATCH = 64
TOLERANCE = 1e-4


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--run", default="default", help="a run (default: the packaged network)")
    parser.add_argument("--images", type=Path, help="folder of JPEGs (default: made here)")
    parser.add_argument("--count", type=int, default=512, help="images of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    report: dict[str, Any] = {
        "machine": machine(),
        "processor": processor_name(),
        "instructions": sorted(instructions() & set(TELLING)),
        "threads": threads(),
        "run": asked.run,
    }
    report["network"], worst = network_alone(asked.run, asked.count, asked.turns)
    with tempfile.TemporaryDirectory(prefix="morphoscope-bench-") as name:
        scratch = Path(name)
        folder = asked.images or jpegs(scratch / "images", asked.count)
        report["predict"] = whole(asked.run, folder, list(report["network"]), asked.turns, scratch)
    json.dump(report, sys.stdout, indent=2) if asked.json else print_report(report)
    return int(worst > TOLERANCE)


def network_alone(run: str, count: int, turns: int) -> tuple[dict[str, dict[str, Any]], float]:
    """Rates of every engine, and the largest difference of a probability in fp32."""
    opened = api.open_run(run)
    engines: dict[str, Engine] = {}
    for name in (name for name, package in PACKAGES.items() if installed(package)):
        try:
            engines[name] = engine_of(opened, name)
        except MorphoscopeError as error:
            note(f"{name} is left out: {error}")
    side, channels = opened.recipe.augment.size, opened.header.store.image_shape[2]
    batch = np.random.default_rng(0).integers(0, 256, (BATCH, side, side, channels), np.uint8)
    first = {name: engine(batch)[0] for name, engine in engines.items()}  # and everything is allocated
    wall: dict[str, list[float]] = {name: [] for name in engines}
    cpu: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(turns):
        for name, engine in engines.items():
            begun, used = time.perf_counter(), processor_seconds(os.getpid())
            for _ in range(max(1, count // BATCH)):
                engine(batch)
            passed = max(1, count // BATCH) * BATCH
            wall[name].append(passed / (time.perf_counter() - begun))
            cpu[name].append(passed / max(processor_seconds(os.getpid()) - used, 1e-3))
    plain = next(iter(first))
    found: dict[str, dict[str, Any]] = {}
    worst = 0.0
    for name, engine in engines.items():
        difference = float(np.abs(first[name] - first[plain]).max())
        if all(engines[each].precision_description.startswith("fp32") for each in (name, plain)):
            worst = max(worst, difference)
        found[name] = {
            "engine": engine.description,
            "number_format": engine.precision_description,
            "per_second": statistics.median(wall[name]),
            "per_processor_second": statistics.median(cpu[name]),
            f"of_{plain}": statistics.median(a / b for a, b in zip(wall[name], wall[plain], strict=True)),
            f"difference_from_{plain}": difference,
        }
    return found, worst


def whole(run: str, folder: Path, names: list[str], turns: int, scratch: Path) -> dict[str, dict[str, float]]:
    """Seconds of ``morphoscope predict`` from its start to its end, by engine."""
    images = sum(1 for each in folder.iterdir() if each.is_file())
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(turns):
        for name in names:
            out = scratch / f"{name}-{turn}.parquet"
            command = [sys.executable, "-m", "morphoscope", "predict", run, str(folder), "--out", str(out)]
            begun = time.perf_counter()
            subprocess.run([*command, "--engine", name], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - begun)
    plain = names[0]
    return {
        name: {
            "images": images,
            "seconds": statistics.median(each),
            "per_second": images / statistics.median(each),
            f"of_{plain}": statistics.median(b / a for a, b in zip(each, seconds[plain], strict=True)),
        }
        for name, each in seconds.items()
    }


def jpegs(folder: Path, count: int) -> Path:
    """A folder of ``count`` pictures of 424 pixels; up to 256 are made, which the others are links to."""
    folder.mkdir()
    for number in range(count):
        place = folder / f"{number}.jpg"
        if number < 256:
            made_jpeg(number, place)
        else:
            place.hardlink_to(folder / f"{number % 256}.jpg")
    return folder


def print_report(report: dict[str, Any]) -> None:
    told = " ".join(report["instructions"]) or "none of note"
    print(f"{report['processor']}, {report['threads']} threads, instructions: {told}; run {report['run']}")
    for part in ("network", "predict"):
        print(part)
        for name, row in report[part].items():
            values = {
                key: f"{value:.3g}" if isinstance(value, float) else value for key, value in row.items()
            }
            print(f"  {name:9}", ", ".join(f"{key} {value}" for key, value in values.items()))


if __name__ == "__main__":
    sys.exit(main())
