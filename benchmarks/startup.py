"""How long a person waits for nothing: ``import morphoscope`` and ``morphoscope --help``.

Medians over fresh processes, beside the bare interpreter in the same run. Bounds that hold on two
cores: 0.3 s for the import, 0.5 s for the help (exit status 1 if either is passed).

    python benchmarks/startup.py [--repeats 11]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

CASES = {  # name → (arguments of python, bound in seconds)
    "python -c pass": (["-c", "pass"], None),
    "import morphoscope": (["-c", "import morphoscope"], 0.3),
    "morphoscope --help": (["-c", "from morphoscope.cli import main; main()", "--help"], 0.5),
}


def seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--repeats", type=int, default=11)
    repeats = parser.parse_args().repeats
    for arguments, _ in CASES.values():
        seconds(arguments)  # compiled and in the disk cache before the clock starts
    # Turn by turn rather than case by case, so that a machine that drifts does so for all.
    turns = [[seconds(arguments) for arguments, _ in CASES.values()] for _ in range(repeats)]
    late = False
    print(f"{'':<24}{'median s':>10}{'slowest s':>11}{'bound s':>9}   n = {repeats}")
    for (name, (_, bound)), times in zip(CASES.items(), zip(*turns, strict=True), strict=True):
        median = statistics.median(times)
        late |= bound is not None and median > bound
        print(f"{name:<24}{median:>10.3f}{max(times):>11.3f}{'' if bound is None else bound:>9}")
    return int(late)


if __name__ == "__main__":
    sys.exit(main())
