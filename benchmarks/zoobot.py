"""Zoobot 2.9.0 beside this program: the same JPEGs, a ResNet-18 at 128 pixels, whole processes in turns.

    python benchmarks/zoobot.py IMAGES RUN [--environment FOLDER] [--ways fp32,int8] [--against CHECKOUT]
        [--avx2] [--turns 3]

Zoobot is installed into an environment of its own by uv (gigabytes; kept in --environment, else deleted) and
runs its own recipe: FinetuneableZoobotClassifier and predict_on_catalog with batches of 256 and four workers,
from a folder of JPEGs to CSV; random weights, since a network's speed does not depend on them. RUN is a run
with a ResNet-18 at 128 pixels; int8 needs the validation galaxies of its training.

Seconds on the clock from the start of a process to its end, seconds of the processor and the largest memory,
those of workers included. --avx2 lets all programs compute as on a processor without AVX-512, VNNI and bf16
(avx2.py).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from avx2 import hiding
from morphoscope.inference.engine.processor import instructions, processor_name, threads
from surroundings import family, surroundings

ZOOBOT = "zoobot[pytorch]==2.9.0"
TELLING = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
HERE = Path(__file__).resolve().parents[1]
RECIPE = """
import sys
from pathlib import Path

import pandas as pd
import timm
from galaxy_datasets.transforms import fast_view_config, get_galaxy_transform
from zoobot.pytorch.predictions import predict_on_catalog
from zoobot.pytorch.training import finetune

if __name__ == "__main__":
    files = sorted(Path(sys.argv[1]).rglob("*.jpg"))
    catalog = pd.DataFrame({"id_str": [f.stem for f in files], "file_loc": [str(f) for f in files]})
    model = finetune.FinetuneableZoobotClassifier(
        encoder=timm.create_model("resnet18", pretrained=False, num_classes=0), num_classes=5
    )
    config = fast_view_config()
    config.output_size = 128
    predict_on_catalog.predict(
        catalog,
        model,
        inference_transform=get_galaxy_transform(config),
        label_cols=list("abcde"),
        save_loc=sys.argv[2],
        datamodule_kwargs={"batch_size": 256, "num_workers": 4},
        trainer_kwargs={"accelerator": "cpu", "logger": False, "enable_checkpointing": False},
    )
"""


@dataclass
class Contender:
    """A program with its options, and what it took in each turn."""

    name: str
    command: list[str]
    checkout: Path | None = None
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    def run(self, out: Path, before: Sequence[str] = ()) -> None:
        """Run it once, with some words before the command, and note what it took."""
        environment = surroundings(None if self.checkout is None else self.checkout / "src")
        command = [*before, *(word.replace("OUT", str(out)) for word in self.command)]
        begun, used = time.perf_counter(), _children()
        process = subprocess.Popen(
            command, env=environment, cwd=out.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        with Memory(process.pid) as memory:
            _, error = process.communicate()
        if process.returncode:
            sys.exit(f"{self.name}: {error.decode(errors='replace')[-2000:]}")
        self.seconds.append(time.perf_counter() - begun)
        self.processor.append(_children() - used)
        self.megabytes.append(memory.largest / 1e6)


class Memory:
    """The most memory that a process and its children held together (proportional set size), bytes."""

    def __init__(self, process: int) -> None:
        self._process, self.largest = process, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(2.0):
            self.largest = max(self.largest, sum(_own(each) for each in family(self._process)))


def _own(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def installed(folder: Path) -> Path:
    """The Python of an environment with Zoobot, which is made if it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "-q", str(folder)], check=True)
        install = [uv, "pip", "install", "-q", "--compile-bytecode", "-p", str(python), ZOOBOT]
        subprocess.run(install, check=True)
    return python


def contenders(asked: argparse.Namespace, python: Path, scratch: Path) -> list[Contender]:
    """Zoobot, this program in each precision, and an older build."""
    recipe = scratch / "recipe.py"
    recipe.write_text(RECIPE, encoding="utf-8")
    images = str(asked.images.resolve())
    mine = [sys.executable, "-m", "morphoscope", "predict", str(asked.run.resolve()), images]
    out = ["--out", "OUT.parquet", "--overwrite"]
    found = [Contender("Zoobot 2.9.0", [str(python), str(recipe), images, "OUT.csv"])]
    for name in asked.ways.split(","):
        engine, _, precision = name.rpartition("-")
        options = ["--engine", engine] if engine else []
        options += ["--precision", "int8"] if precision == "int8" else []
        found.append(Contender(f"this, {name}", [*mine, *options, *out], HERE))
    if asked.against is not None:
        found.append(Contender("older build", [*mine, *out], asked.against.resolve()))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("images", type=Path, help="folder of JPEGs")
    parser.add_argument("run", type=Path, help="a run with a ResNet-18 at 128 pixels")
    parser.add_argument("--environment", type=Path, help="where Zoobot is, or will be")
    parser.add_argument("--ways", default="fp32,int8", help="such as fp32,int8,onnx-int8,torch-fp32")
    parser.add_argument("--against", type=Path, help="checkout of an older build")
    asked, count = parsed(parser)
    with tempfile.TemporaryDirectory(prefix="morphoscope-bench-") as name:
        scratch = Path(name)
        python = installed(asked.environment or scratch / "zoobot")
        measured = contenders(asked, python, scratch)
        in_turns(measured, scratch, asked.turns, avx2=asked.avx2)
    report(asked, measured, count)
    return 0


def parsed(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, int]:
    """The options, with those that all such comparisons have, and the number of JPEGs."""
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--avx2", action="store_true", help="hide AVX-512, VNNI, bf16 and AMX from all")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    count = sum(1 for _ in asked.images.rglob("*.jpg"))
    if not count:
        parser.error(f"{asked.images}: no *.jpg there")
    return asked, count


def in_turns(measured: Sequence[Contender], scratch: Path, turns: int, *, avx2: bool) -> None:
    """Run all of them several times, in turns, every other time in the opposite order."""
    with hiding() if avx2 else nullcontext([]) as before:
        for turn in range(turns):
            for way in measured if turn % 2 == 0 else measured[::-1]:
                way.run(scratch / "catalogue", before)
                print(f"turn {turn + 1}: {way.name} {way.seconds[-1]:.1f} s", file=sys.stderr)


def report(asked: argparse.Namespace, measured: list[Contender], count: int) -> None:
    told = " ".join(sorted(instructions() & set(TELLING))) or "none of note"
    told += " (all but avx2 hidden)" if asked.avx2 else ""
    head = {
        "processor": f"{processor_name()}, {threads()} threads, instructions: {told}",
        "images": count,
        "turns": asked.turns,
    }
    rows, first = {}, measured[0]
    for way in measured:
        pairs = list(zip(first.seconds, way.seconds, strict=True))
        used = list(zip(first.processor, way.processor, strict=True))
        rows[way.name] = {
            "seconds": way.seconds,
            "per_second": count / statistics.median(way.seconds),
            "processor_seconds": way.processor,
            "megabytes": max(way.megabytes),
            "times_first": statistics.median(a / b for a, b in pairs),
            "times_first_by_processor": statistics.median(a / b for a, b in used),
        }
    if asked.json:
        print(json.dumps({**head, "ways": rows}, indent=2))
        return
    print(", ".join(f"{key}: {value}" for key, value in head.items()))
    for name, row in rows.items():
        clock = ", ".join(f"{each:.1f}" for each in row["seconds"])
        print(
            f"{name:<22}{row['per_second']:>7.0f}/s  {row['times_first']:.2f} × {first.name} by the clock, "
            f"{row['times_first_by_processor']:.2f} × by the processor, {row['megabytes']:.0f} MB; {clock} s"
        )


if __name__ == "__main__":
    sys.exit(main())
