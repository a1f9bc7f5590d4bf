"""How long `data ingest` and `predict` of another build take for a folder, beside this one, in turns.

    git worktree add ../base aa6cc5f
    python benchmarks/commands.py ../base/src [--images FOLDER] [--count 256] [--turns 8]

Each build runs whole commands in a process of its own that has everything imported and has run each command
once. The order of a turn is this, other, other, this, of the next the reverse. Counted are seconds of the
processor, all threads together, and of the clock; the ratio of the processor's seconds is other / this, so
above 1 this build is faster. Both builds use the same network: a small one that the other build trains, or
RUN with --run. `benchmarks/builds.py` counts what reading alone costs.

Without --images it makes JPEGs of 424 pixels of its own.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from surroundings import surroundings

ORDERS = ("this", "other", "other", "this"), ("other", "this", "this", "other")  # who is amid them may gain
SMALL = """
model: {name: test_resnet, pretrained: false}
augment: {size: 128}
training: {epochs: 1, batch: 32, workers: 0, precision: fp32}
evaluation: {views: 1}
"""
Taken = dict[str, list[tuple[float, float]]]  # by build: seconds of the processor, of the clock


def main() -> int:
    asked = parsed_options()
    if asked.worker:
        return worker()
    with tempfile.TemporaryDirectory(prefix="morphoscope-bench-") as name:
        place = Path(name)
        images = made_images(place / "images", asked.images, asked.count)
        here = Path(__file__).parents[1] / "src"
        with commander(here) as this, commander(asked.other) as other:
            builds = {"this": this, "other": other}
            run = asked.run or trained(place, images, builds["other"])
            found = measured(commands(place, images, run), builds, asked.turns)
    print(f"{asked.count} JPEGs, {asked.turns} turns of two; processor seconds, median and range")
    for command, taken in found.items():
        print(line_of(command, taken))
    return 0


def parsed_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("other", type=Path, nargs="?", help="the folder src of the other build")
    parser.add_argument("--images", type=Path, help="folder of JPEGs (default: made here)")
    parser.add_argument("--run", type=Path, help="a run that both builds read (default: trained here)")
    parser.add_argument("--count", type=int, default=256, help="images")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.other is None and not asked.worker:
        parser.error("the folder src of the other build was expected")
    return asked


def made_images(folder: Path, images: Path | None, count: int) -> Path:
    """Two classes of JPEGs."""
    from inputs import made_jpeg

    found = sorted(images.rglob("*.jpg"))[:count] if images else []
    for number in range(count):
        path = folder / "ab"[number % 2] / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if found:
            path.write_bytes(found[number % len(found)].read_bytes())
        else:
            made_jpeg(number, path)
    return folder


def trained(place: Path, images: Path, build: Any) -> Path:
    """A small run that the other build has trained, so that both read it."""
    (place / "recipe.yaml").write_text(SMALL)
    ingested = ["data", "ingest", "folder", images, place / "store", "--size", "128"]
    build(ingested)
    words = ["train", place / "recipe.yaml", "--store", place / "store", "--out", place / "run"]
    build([*words, "--no-report"])
    return place / "run"


def commands(place: Path, images: Path, run: Path) -> dict[str, list[Any]]:
    ingest = ["data", "ingest", "folder", images, place / "made", "--size", "128", "--overwrite"]
    predict = ["predict", run, images, "--out", place / "made.parquet", "--engine", "onnx", "--overwrite"]
    return {"ingest": ingest, "predict": predict}


def measured(words: dict[str, list[Any]], builds: dict[str, Any], turns: int) -> dict[str, list[Taken]]:
    """What each command takes each build, turn by turn; the first turn warms up and is not counted."""
    found: dict[str, list[Taken]] = {command: [] for command in words}
    for turn in range(turns + 1):
        for command, each in words.items():
            taken: Taken = {"this": [], "other": []}
            for build in ORDERS[turn % 2]:
                taken[build].append(builds[build](each))
            if turn:
                found[command].append(taken)
        print(f"turn {turn} of {turns}", file=sys.stderr)
    return found


def line_of(command: str, turns: list[Taken]) -> str:
    spent = {build: [statistics.mean(cpu for cpu, _ in turn[build]) for turn in turns] for build in turns[0]}
    clock = {
        build: [statistics.mean(wall for _, wall in turn[build]) for turn in turns] for build in turns[0]
    }
    words = [
        f"{build} {statistics.median(values):.3f} ({min(values):.3f}-{max(values):.3f})"
        for build, values in spent.items()
    ]
    ratios, clocks = (
        [other / this for this, other in zip(values["this"], values["other"], strict=True)]
        for values in (spent, clock)
    )
    return (
        f"{command:<9}{'  '.join(words)}  ratio {statistics.median(ratios):.3f} "
        f"({min(ratios):.3f}-{max(ratios):.3f}), of the clock {statistics.median(clocks):.3f}"
    )


@contextmanager
def commander(source: Path) -> Iterator[Any]:
    """A process with one build's code, which runs commands as told and says what they took."""
    environment = surroundings(source, OMP_NUM_THREADS="1")
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, __file__, "--worker"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        to, back = process.stdin, process.stdout

        def seconds(words: list[Any]) -> tuple[float, float]:
            print(json.dumps(list(map(str, words))), file=to, flush=True)
            answer = back.readline()
            status, cpu, wall = json.loads(answer) if answer else (1, 0, 0)
            if status:
                said.seek(0)
                raise SystemExit(f"{source}: {' '.join(map(str, words))} failed:\n{said.read()[-2000:]}")
            return cpu, wall

        try:
            yield seconds
        finally:
            to.close()
            process.wait()


def worker() -> int:
    """Run commands as told, one line each, of whatever build is on the path."""
    from morphoscope.cli import main as run

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        sys.argv = ["morphoscope", *json.loads(line)]
        status, cpu, wall = 0, time.process_time(), time.perf_counter()
        try:
            run()
        except SystemExit as end:
            status = int(bool(end.code))
        taken = [status, time.process_time() - cpu, time.perf_counter() - wall]
        print(json.dumps(taken), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
