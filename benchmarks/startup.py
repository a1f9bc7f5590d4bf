"""How long a person waits for nothing: the import, the help, and the first prediction.

Medians over fresh processes, in turns within one run, beside the bare interpreter. Bounds that hold on two
cores: 0.3 s for the import, 0.5 s for the help (exit status 1 if either is passed). With ``--against`` the
first prediction (``predict default`` of one image, files in the disk's cache) is also taken by an older
checkout, by the same Python. The seconds of processor time stand beside those on the clock: on a machine
with other work they are the steadier ones.

    python benchmarks/startup.py [--repeats 11] [--against CHECKOUT]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from surroundings import surroundings

HERE = Path(__file__).resolve().parents[1]
MAIN = ["-c", "from morphoscope.cli import main; main()"]


@dataclass
class Case:
    """What is started, and how long it took each time."""

    name: str
    arguments: list[str]
    bound: float | None = None
    checkout: Path = HERE
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Start it once more and take the time."""
        environment = surroundings(self.checkout / "src")
        before, start = _children(), time.perf_counter()
        subprocess.run(
            [sys.executable, *self.arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self.seconds.append(time.perf_counter() - start)
        self.processor.append(_children() - before)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cases(folder: Path, against: Path | None) -> list[Case]:
    pictures = folder / "pictures"
    pictures.mkdir()
    grey = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    Image.fromarray(grey).save(pictures / "galaxy.jpg")
    predict = [*MAIN, "predict", "default", str(pictures), "--out", str(folder / "a.parquet"), "--overwrite"]
    found = [
        Case("python -c pass", ["-c", "pass"]),
        Case("import morphoscope", ["-c", "import morphoscope"], 0.3),
        Case("morphoscope --help", [*MAIN, "--help"], 0.5),
        Case("first prediction", predict),
    ]
    return found if against is None else [*found, Case("the same before", predict, checkout=against)]


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--against", type=Path, help="checkout of an older version")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = cases(Path(folder), options.against)
        for case in measured:
            case.run()  # compiled and in the disk's cache before the clock starts
            case.seconds, case.processor = [], []
        # Turn by turn rather than case by case, so that a machine that drifts does so for all.
        for _ in range(options.repeats):
            for case in measured:
                case.run()
    late = False
    head = ("median s", "slowest s", "processor s", "bound s")
    print(f"{'':<20}{''.join(f'{name:>13}' for name in head)}   n = {options.repeats}")
    for case in measured:
        median = statistics.median(case.seconds)
        late |= case.bound is not None and median > case.bound
        numbers = (median, max(case.seconds), statistics.median(case.processor))
        print(f"{case.name:<20}{''.join(f'{each:>13.3f}' for each in numbers)}{case.bound or '':>13}")
    if options.against is not None:
        now, then = measured[-2:]
        clock = statistics.median(a / b for a, b in zip(now.seconds, then.seconds, strict=True))
        processor = statistics.median(a / b for a, b in zip(now.processor, then.processor, strict=True))
        print(
            f"first prediction against before: {clock:.2f} of the seconds, {processor:.2f} of the processor's"
        )
    return int(late)


if __name__ == "__main__":
    sys.exit(main())
