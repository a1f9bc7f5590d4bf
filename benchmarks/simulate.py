"""How many galaxies a second the simulator makes, and where the time goes.

Stages are timed within one process and one run, in the process' own CPU seconds, so that their ratios hold
on a busy machine too; the rate of the whole (``morphoscope data simulate``) is wall-clock over all cores. The
bound is 60 galaxies a second on two cores at 256 pixels: 33 ms of CPU each (exit status 1 if passed).

    python benchmarks/simulate.py [--count 200] [--size 256] [--survey decals] [--masks] [--stages-only]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

from morphoscope.data.sources.simulated import block_of, simulate
from morphoscope.processes import available_cores
from morphoscope.simulation import observation, profiles, rendering, rows
from morphoscope.simulation.survey import SURVEYS

BOUND = 1000 * 2 / 60  # CPU milliseconds a galaxy

# Functions that are stages of a galaxy: (module in which the name is looked up, name, stage).
STAGES = (
    (rows, "galaxy_of", "parameters"),
    (rendering, "sersic", "bulges, ellipticals (GalSim)"),
    (rendering, "_add_inclined_disc", "discs, arms, bars, rings"),
    (rendering, "_add_edge_on_disc", "discs from their edge, dust"),
    (rendering, "_add_debris", "tails, shells, bridges"),
    (rows, "light_radii", "radii of half and 90 % of the light"),
    (rows, "add_field", "neighbours and stars"),
    (observation, "blur", "PSF (GalSim, FFT)"),
    (observation, "_noise", "noise"),
    (rows, "serve", "stretch and JPEG"),
    (rows, "resample", "scaling"),
    (rows, "_mask", "masks"),
)


def timed(function: Callable[..., Any], stage: str, spent: dict[str, float]) -> Callable[..., Any]:
    """The same function; its CPU seconds are added to its stage."""

    def measured(*arguments: Any, **options: Any) -> Any:
        start = time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            spent[stage] += time.process_time() - start

    return measured


def profile(plan: rows.Plan, count: int) -> tuple[dict[str, float], float]:
    """CPU seconds of each stage, and of everything, for ``count`` galaxies in this process."""
    spent: dict[str, float] = defaultdict(float)
    originals = [(module, name, getattr(module, name)) for module, name, _ in STAGES]
    for number in range(20):
        rows.render_row(plan, count + number)  # kernels and tables are ready before the clock starts
    for (module, name, function), (_, _, stage) in zip(originals, STAGES, strict=True):
        setattr(module, name, timed(function, stage, spent))
    try:
        start = time.process_time()
        for number in range(count):
            rows.render_row(plan, number)
        return spent, time.process_time() - start
    finally:
        for module, name, function in originals:
            setattr(module, name, function)


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--survey", choices=sorted(SURVEYS), default="decals")
    parser.add_argument("--masks", action="store_true")
    parser.add_argument("--stages-only", action="store_true", help="leave the rate over all cores out")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    block = block_of("equal")
    plan = rows.Plan((SURVEYS[given.survey],), given.size, 0, "galaxy10", block, given.masks)
    spent, total = profile(plan, given.count)
    each = 1000 * total / given.count
    side = profiles.frame_of(plan.surveys[0]).side
    print(f"{given.survey}, {given.size} px, n = {given.count}, drawn on {side} px")
    print(f"{'stage':<38}{'ms a galaxy':>12}{'share':>8}")
    rest = total - sum(spent.values())
    for stage, seconds in [*sorted(spent.items(), key=lambda item: -item[1]), ("everything else", rest)]:
        print(f"{stage:<38}{1000 * seconds / given.count:>12.2f}{seconds / total:>8.0%}")
    print(f"{'all':<38}{each:>12.2f}{'':>8}   bound {BOUND:.0f}")
    if not given.stages_only:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            simulate(
                Path(folder) / "store", given.count, given.size, survey=given.survey, masks=given.masks,
                workers=available_cores(),
            )  # fmt: skip
            seconds = time.perf_counter() - start
        print(f"{given.count / seconds:.0f} galaxies/s on {available_cores()} cores, start-up included")
    return int(each > BOUND)


if __name__ == "__main__":
    sys.exit(main())
