"""`predict default` beside an older build: the same JPEGs, whole processes in turns.

    python benchmarks/default.py IMAGES --against CHECKOUT [--ways auto,fp32] [--avx2] [--turns 3]

Seconds on the clock from the start of a process to its end, seconds of the processor and the largest memory.
The older build runs in this environment from the sources of CHECKOUT (``git worktree add CHECKOUT COMMIT``).
``auto`` is the command as it stands; other ways are ``--precision``s, ``--scale``s or numbers of views.
--avx2 hides AVX-512, VNNI, bf16 and AMX from both (avx2.py).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from zoobot import HERE, Contender, in_turns, parsed, report


def options_of(way: str) -> list[str]:
    """The options of a way of predicting, such as "auto", "fp32", "trained" or "8"."""
    kinds = {"fp32": "--precision", "int8": "--precision", "trained": "--scale"}
    if way == "auto":
        return []
    return [kinds.get(way, "--views"), way]


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("images", type=Path, help="folder of JPEGs")
    parser.add_argument("--against", type=Path, required=True, help="checkout of an older build")
    parser.add_argument("--ways", default="auto,fp32", help="such as auto,fp32,trained,1")
    asked, count = parsed(parser)
    images = str(asked.images.resolve())
    command = [sys.executable, "-m", "morphoscope", "predict", "default", images]
    out = ["--out", "OUT.parquet", "--overwrite"]
    measured = [Contender("older build", [*command, *out], asked.against.resolve())]
    measured += [
        Contender(f"this, {way}", [*command, *options_of(way), *out], HERE) for way in asked.ways.split(",")
    ]
    with tempfile.TemporaryDirectory(prefix="morphoscope-bench-") as name:
        in_turns(measured, Path(name), asked.turns, avx2=asked.avx2)
    report(asked, measured, count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
