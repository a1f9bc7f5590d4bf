"""How many images of a folder another build reads in a second of processor time, beside this one, in turns.

    git worktree add ../base aa6cc5f
    python benchmarks/builds.py ../base/src [--images FOLDER] [--turns 8]

Each build reads the same folders in a process of its own, as `predict` does: its own input stream, one
thread, each image whole ("whole"), and cropped and resized to what a network of 128 pixels takes ("network").
The order of a turn is this, other, other, this, of the next the reverse. Counted are seconds of the
processor, so other people's load does not enter; caches do, hence the turns. JPEGs of 424 pixels are read,
and FITS of 256: one band of float32, 16-bit integers, and three bands in extensions.

Without --images it makes 256 JPEGs of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from surroundings import surroundings

WAYS = ("whole", "network")
ORDERS = ("this", "other", "other", "this"), ("other", "this", "this", "other")  # who is amid them may gain
FACTS = SimpleNamespace(image_shape=(128, 128, 3), crop=300, size=128)


def main() -> int:
    asked = parsed_options()
    if asked.worker:
        return worker()
    rates: dict[tuple[str, str], dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="morphoscope-bench-") as name:
        folders = made_folders(Path(name), asked.images, asked.count)
        here = Path(__file__).parents[1] / "src"
        with reader(here) as this, reader(asked.other) as other:
            for turn in range(asked.turns + 1):
                for folder in (folder for folder in folders if asked.only in ("", folder.name)):
                    for way in WAYS:
                        pair: dict[str, list[float]] = {"this": [], "other": []}
                        for build in ORDERS[turn % 2]:
                            pair[build].append((this if build == "this" else other)(folder, way))
                        if turn:  # the first one warms up
                            found = rates.setdefault((folder.name, way), {"this": [], "other": []})
                            for build, seconds in pair.items():
                                found[build].append(asked.count / statistics.mean(seconds))
                print(f"turn {turn} of {asked.turns}", file=sys.stderr)
    print(f"{asked.count} images, {asked.turns} turns; images per second of processor time, median and range")
    for (folder, way), found in rates.items():
        ratios = [a / b for a, b in zip(found["this"], found["other"], strict=True)]
        words = [
            f"{build} {statistics.median(values):6.0f} ({min(values):.0f}-{max(values):.0f})"
            for build, values in found.items()
        ]
        print(
            f"{folder:<14}{way:<9}{'  '.join(words)}  ratio {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f}-{max(ratios):.3f})"
        )
    return 0


def parsed_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("other", type=Path, nargs="?", help="the folder src of the other build")
    parser.add_argument("--images", type=Path, help="folder of JPEGs (default: made here)")
    parser.add_argument("--count", type=int, default=256, help="images of each folder")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--only", default="", help="one of the folders, such as JPEG")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.other is None and not asked.worker:
        parser.error("the folder src of the other build was expected")
    return asked


def made_folders(scratch: Path, images: Path | None, count: int) -> list[Path]:
    from astropy.io import fits

    from inputs import made_jpeg

    folders = [scratch / name for name in ("JPEG", "FITS float32", "FITS int16", "FITS bands")]
    for folder in folders:
        folder.mkdir()
    found = sorted(images.rglob("*.jpg"))[:count] if images else []
    for number in range(count):
        path = folders[0] / f"{number:05d}.jpg"
        if found:
            path.write_bytes(found[number % len(found)].read_bytes())
        else:
            made_jpeg(number, path)
        picture = cv2.imread(str(path))
        assert picture is not None
        noise = np.random.default_rng(number).normal(0, 3, (256, 256, 3))
        bands = cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA).astype(np.float32)
        bands = (bands + noise).astype(np.float32)
        fits.PrimaryHDU(bands[:, :, 0]).writeto(folders[1] / f"{number:05d}.fits")
        fits.PrimaryHDU(np.rint(100 * bands[:, :, 0]).astype(np.int16)).writeto(
            folders[2] / f"{number:05d}.fits"
        )
        units = [fits.ImageHDU(bands[:, :, at], name=band) for at, band in enumerate("grz")]
        fits.HDUList([fits.PrimaryHDU(), *units]).writeto(folders[3] / f"{number:05d}.fits")
    return folders


@contextmanager
def reader(source: Path) -> Iterator[Callable[[Path, str], float]]:
    """A process with one build's code, which reads a folder when it is told so and says how long it took."""
    environment = surroundings(source, OMP_NUM_THREADS="1")
    process = subprocess.Popen(
        [sys.executable, __file__, "--worker"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    to, back = process.stdin, process.stdout

    def seconds(folder: Path, way: str) -> float:
        print(json.dumps([str(folder), way]), file=to, flush=True)
        return float(json.loads(back.readline()))

    try:
        yield seconds
    finally:
        to.close()
        process.wait()


def worker() -> int:
    """Read folders as told, one line each, by whatever build is on the path."""
    cv2.setNumThreads(1)
    open_input, prepare = of_this_path()
    for line in sys.stdin:
        folder, way = json.loads(line)
        start = time.process_time()
        for item in open_input(folder).items:
            image = item.load() if way == "whole" else prepare(item)
            assert image is not None
        print(json.dumps(time.process_time() - start), flush=True)
    return 0


def of_this_path() -> tuple[Any, Callable[[Any], np.ndarray | None]]:
    """The functions that open a folder and make an image as the network takes it, tuned as predict is."""
    from importlib import import_module
    from importlib.util import find_spec

    inputs, pipeline = "morphoscope.catalogue.inputs", import_module("morphoscope.catalogue.pipeline")
    old = find_spec(f"{inputs}.open") is None
    import_module("morphoscope.models.memory" if old else "morphoscope.processes").keep_freed_memory()
    open_input = import_module(f"{inputs}.read" if old else f"{inputs}.open").open_input
    fit = pipeline.fit if old else pipeline.preprocess_item
    return open_input, lambda item: fit(item, facts=FACTS, crop=None).image


if __name__ == "__main__":
    sys.exit(main())
