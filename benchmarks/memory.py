"""Does memory grow with the number of images? Peaks of ingest, training and predict for N and 10 N.

Every stage runs in a process of its own, as a person would call it:

- ingest:   a folder of N JPEGs (128 pixels, two classes) to a store of 64 pixels
- training: two epochs of a ResNet-18 at 32 pixels on that store, with evaluation and report
- predict:  the folder of N JPEGs to a Parquet catalogue, by the run trained on the smaller store

Two peaks are printed. "own" is memory that the process itself holds (anonymous pages, sampled every
10 ms); it is the one that must stay flat. "resident" also counts pages of the memory-mapped store that
the system keeps while nobody else wants the room. Linux only.

    python benchmarks/memory.py [--images 2000] [--keep FOLDER]

Exit status 1 if "own" grows by more than 2 kB an image (one image of the store is 12 kB; names, labels
and answers of an image are some hundred bytes).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

STAGES = ("ingest", "training", "predict")
BOUND = 2000  # bytes an image
MB = 1e6


class Peak:
    """The most anonymous memory this process held while the block ran, bytes."""

    def __enter__(self) -> Peak:
        self.own = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        self.resident = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def _watch(self) -> None:
        while True:
            with open("/proc/self/status") as file:
                for line in file:
                    if line.startswith("RssAnon:"):
                        self.own = max(self.own, 1024 * int(line.split()[1]))
            if self._over.wait(0.01):
                return


def make_images(folder: Path, count: int) -> None:
    """Blobs in noise, round ones and flat ones, one folder each; no two alike."""
    import cv2
    import numpy as np

    y, x = np.mgrid[-64:64, -64:64]
    for index in range(count):
        random = np.random.default_rng(index)
        flat = index % 2
        place = folder / ("flat" if flat else "round")
        place.mkdir(parents=True, exist_ok=True)
        width = random.uniform(15, 25)
        blob = 200 * np.exp(-((x / width) ** 2) - (y * (2.5 if flat else 1) / width) ** 2)
        image = np.clip(blob + random.normal(10, 4, blob.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(place / f"{index:06d}.jpg"), cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))


def run_stage(stage: str, images: Path, store: Path, run: Path) -> None:
    if stage == "ingest":
        from morphoscope.data.sources.folder import ingest_folder

        ingest_folder(images, store, size=64)
        return
    from morphoscope import api

    if stage == "training":
        from morphoscope.studies.registry import find_recipe

        recipe = find_recipe("small/simulated").changed(
            training={"epochs": 2}, augment={"size": 32, "train_size": ()}
        )
        api.train(recipe, store, run)
    else:
        api.load(run).catalogue(images, store.with_suffix(".parquet"))


def measured(stage: str, count: int, work: Path, trained_on: int) -> dict[str, float]:
    """Peaks of one stage in a process of its own."""
    arguments = [
        *("--stage", stage),
        *("--folder", str(work / f"images-{count}")),
        *("--store", str(work / f"store-{count}")),
        *("--run", str(work / f"run-{trained_on}")),
    ]
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{stage} of {count} images failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(count: int, work: Path) -> int:
    counts = (count, 10 * count)
    for number in counts:
        print(f"making {number} images", file=sys.stderr)
        make_images(work / f"images-{number}", number)
    print(f"{'peak, MB':<10}" + "".join(f"{f'own, {number}':>14}" for number in counts), end="")
    print("".join(f"{f'resident, {number}':>18}" for number in counts) + f"{'own, B/image':>15}")
    grows = False
    for stage in STAGES:
        peaks = [measured(stage, number, work, number if stage == "training" else count) for number in counts]
        growth = (peaks[1]["own"] - peaks[0]["own"]) / (9 * count)
        grows |= growth > BOUND
        print(f"{stage:<10}" + "".join(f"{peak['own'] / MB:>14.0f}" for peak in peaks), end="")
        print("".join(f"{peak['resident'] / MB:>18.0f}" for peak in peaks) + f"{growth:>15.0f}", flush=True)
    return int(grows)


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--images", type=int, default=2000, help="N")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave everything there")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    for name in ("--folder", "--store", "--run"):
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.stage:
        with Peak() as peak:
            run_stage(asked.stage, asked.folder, asked.store, asked.run)
        print(json.dumps({"own": peak.own, "resident": peak.resident}))
        return 0
    if asked.keep:
        asked.keep.mkdir(parents=True)
        return compare(asked.images, asked.keep)
    with tempfile.TemporaryDirectory() as work:
        return compare(asked.images, Path(work))


if __name__ == "__main__":
    sys.exit(main())
