"""A catalogue of a million galaxies, rehearsed: throughput and memory from the first row to the last, drawn.

    python benchmarks/rehearsal.py [--rows 1000000] [--run RUN] [--images FOLDER] [--figure FILE.png] [--json]

A folder of JPEGs of 64 pixels, a few hundred of them linked again and again under names of their own, goes
through ``morphoscope predict RUN FOLDER --out FILE.parquet`` as a process of its own. Without --run the
smallest network there is (timm's test_resnet at 32 pixels) is trained on simulated galaxies first, so that
what is measured is the program round the network. The catalogue is read at the end: each name once, no gap.

Memory is what the process and its children hold of their own (anonymous pages) and what is resident, twice
a second; galaxies are counted by the program's own progress lines. Linux only. Exit status 1 if the
catalogue is not whole, or if its own memory in the last quarter of the run exceeds that of the second by more
than a twentieth (the end, in which the catalogue is put together, is told apart).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2

from inputs import machine, made_jpeg

DISTINCT = 200  # images that differ; a file may not have more links than its file system allows
A_FOLDER = 1000
PROGRESS = re.compile(r": (\d+)(?:/\d+)? galaxies")
MB = 1e6


@dataclass
class Course:
    """How a run went: samples of (second, MB) and of (second, galaxies)."""

    own: list[tuple[float, float]] = field(default_factory=list)
    resident: list[tuple[float, float]] = field(default_factory=list)
    galaxies: list[tuple[float, int]] = field(default_factory=list)
    seconds: float = 0.0

    def rates(self) -> list[tuple[float, float]]:
        """(Second, galaxies per second since the sample before)."""
        pairs = zip(self.galaxies, self.galaxies[1:], strict=False)
        return [(late, (more - few) / (late - early)) for (early, few), (late, more) in pairs if late > early]

    def own_in(self, begin: float, end: float) -> float:
        """Median of own memory, MB, between two shares of the time in which galaxies were counted."""
        last = self.galaxies[-1][0]
        return statistics.median(size for at, size in self.own if begin * last <= at <= end * last)


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--run", help="a run (default: the smallest network, trained here)")
    parser.add_argument("--images", type=Path, help="JPEGs to repeat (default: made here)")
    parser.add_argument("--figure", type=Path, help="where the course is drawn (PNG, PDF or SVG)")
    parser.add_argument("--scratch", type=Path, help="where links and catalogue go")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="morphoscope-rehearsal-", dir=asked.scratch) as name:
        scratch = Path(name)
        run = asked.run or smallest_run(scratch)
        linked_images(scratch / "images", asked.rows, asked.images)
        course = rehearsed(run, scratch / "images", scratch / "catalogue.parquet")
        whole = is_whole(scratch / "catalogue.parquet", asked.rows)
    early, late = course.own_in(0.25, 0.5), course.own_in(0.75, 1.0)
    figures = {
        "machine": machine(),
        "rows": asked.rows,
        "run": asked.run or "test_resnet at 32 pixels",
        "whole": whole,
        "seconds": course.seconds,
        "per_second": asked.rows / course.seconds,
        "slowest, fastest stretch": [min(r for _, r in course.rates()), max(r for _, r in course.rates())],
        "own MB, second quarter": early,
        "own MB, last quarter": late,
        "own MB, most": max(size for _, size in course.own),
        "resident MB, most": max(size for _, size in course.resident),
    }
    if asked.figure:
        draw(course, asked.figure, asked.rows)
    if asked.json:
        print(json.dumps({**figures, "course": asdict(course)}, indent=2))
    else:
        print("\n".join(f"{key}: {value}" for key, value in figures.items()))
    return int(not whole or late > 1.05 * early)


def smallest_run(scratch: Path) -> str:
    """The smallest network, a few epochs on simulated galaxies."""
    told("training the smallest network")
    command = [sys.executable, "-m", "morphoscope"]
    store, run = scratch / "store", scratch / "run"
    simulate = ["data", "simulate", store, "--count", "200", "--size", "48"]
    small = [
        "model.name=test_resnet",
        "model.pretrained=false",
        "augment.size=32",
    ]
    options = [word for each in [*small, "training.epochs=2"] for word in ("--set", each)]
    train = ["train", "small/simulated", "--store", store, "--out", run, *options]
    for words in (simulate, train):
        done = subprocess.run([*command, *map(str, words)], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
    return str(run)


def linked_images(folder: Path, rows: int, images: Path | None) -> None:
    """``rows`` names for a few images, a thousand to a folder."""
    told(f"linking {rows} images")
    sources = sorted(images.rglob("*.jpg"))[:DISTINCT] if images else []
    folder.mkdir()
    if not sources:
        made = folder.with_name("made")
        made.mkdir()
        sources = [made / f"{index}.jpg" for index in range(DISTINCT)]
        for index, file in enumerate(sources):
            image = cv2.imread(str(made_jpeg(index, file)))
            assert image is not None
            cv2.imwrite(str(file), cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA))
    for index in range(rows):
        place = folder / f"{index // A_FOLDER:04d}"
        if index % A_FOLDER == 0:
            place.mkdir()
        os.link(sources[index % len(sources)], place / f"{index:08d}.jpg")


def rehearsed(run: str, folder: Path, out: Path) -> Course:
    """The prediction as a process, watched."""
    told("predicting")
    course, begun = Course(), time.perf_counter()
    command = [sys.executable, "-m", "morphoscope", "predict", run, str(folder), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            own, resident = _memory(process.pid)
            if resident:
                at = time.perf_counter() - begun
                course.own.append((at, own / MB))
                course.resident.append((at, resident / MB))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    lines: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if found := PROGRESS.search(line):
            course.galaxies.append((time.perf_counter() - begun, int(found[1])))
            told(line.strip())
    status = process.wait()
    over.set()
    watcher.join()
    course.seconds = time.perf_counter() - begun
    if status:
        sys.exit("".join(lines[-20:]))
    return course


def _memory(process: int) -> tuple[int, int]:
    """Own and resident bytes of a process and its children."""
    own = resident = 0
    family = [process]
    for each in family:
        try:
            for task in Path(f"/proc/{each}/task").iterdir():
                family += [int(child) for child in (task / "children").read_text().split()]
            status = Path(f"/proc/{each}/status").read_text()
        except OSError:
            continue  # it has ended
        own += _kilobytes(status, "RssAnon") * 1024
        resident += _kilobytes(status, "VmRSS") * 1024
    return own, resident


def _kilobytes(status: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) if found else 0


def is_whole(catalogue: Path, rows: int) -> bool:
    """Whether each name is there once, in order."""
    import pyarrow.parquet as pq

    column = pq.ParquetFile(catalogue).schema_arrow.names[0]
    names: Any = pq.read_table(catalogue, columns=[column]).column(0).to_pylist()
    return [Path(name).stem for name in names] == [f"{index:08d}" for index in range(rows)]


def draw(course: Course, file: Path, rows: int) -> None:
    """Galaxies per second above, memory below, over the minutes."""
    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(6.4, 4.8), layout="constrained")
    ends = [course.galaxies[0][0] / 60, *(at / 60 for at, _ in course.rates())]
    above.stairs([rate for _, rate in course.rates()], ends, baseline=None, color="C0")
    above.set(ylabel="galaxies/s", ylim=(0, None), title=f"A catalogue of {rows:,} galaxies")
    for what, samples, colour in (("resident", course.resident, "C1"), ("its own", course.own, "C2")):
        below.plot([at / 60 for at, _ in samples], [size for _, size in samples], label=what, color=colour)
    below.set(xlabel="minutes", ylabel="memory / MB", ylim=(0, None))
    below.legend(frameon=False, loc="lower right")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


def told(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
