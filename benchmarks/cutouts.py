"""Cutouts of 2,000 positions from a local server, a tenth of whose answers go wrong in eight ways.

``python benchmarks/cutouts.py`` fetches them once without interruption and once killed (SIGKILL) and resumed,
compares the two, and prints what the server counted.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))

from cutout_server import (  # type: ignore[import-not-found]
    FAULTS,
    CutoutServer,
    Sky,
    serving,
)

PER_DEGREE = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--rate", type=float, default=100.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = folder / "positions.csv"
        rows = [f"g{row},{150 + row / PER_DEGREE:.2f},2.5" for row in range(asked.count)]
        table.write_text("id,ra,dec\n" + "\n".join(rows) + "\n")
        sky = Sky(fault=fault, outside=lambda place: row_of(place) % 40 == 7, seconds=0.01)
        with serving(sky) as server:
            services = server.table(folder / "whole.yaml", connections=asked.connections, rate=asked.rate)
            seconds = fetched(table, folder / "whole", services)
            report("uninterrupted", server, folder / "whole", seconds)
        with serving(sky) as server:
            services = server.table(folder / "killed.yaml", connections=asked.connections, rate=asked.rate)
            for share in (0.2, 0.5, 0.8):
                killed(table, folder / "killed", services, server, int(share * asked.count))
            seconds = fetched(table, folder / "killed", services)
            report("killed three times", server, folder / "killed", seconds)
        same = outcome(folder / "whole") == outcome(folder / "killed")
        print(f"manifest and images of the two are the same: {same}")


def row_of(place: tuple[float, float]) -> int:
    return round((place[0] - 150) * PER_DEGREE)


def fault(place: tuple[float, float], attempt: int) -> str:
    """A tenth of the positions goes wrong at first, in eight ways in turn; one in a hundred for good."""
    row = row_of(place)
    if row % 100 == 99:
        return "page"
    return FAULTS[row // 10 % len(FAULTS)] if row % 10 == 3 and attempt == 0 else ""


def command(table: Path, out: Path, services: Path) -> list[str]:
    words = [sys.executable, "-m", "morphoscope", "data", "cutouts", str(table), str(out)]
    return [*words, "--survey", "legacy-dr10", "--pixels", "96", "--service", str(services)]


def fetched(table: Path, out: Path, services: Path) -> float:
    began = time.monotonic()
    subprocess.run(command(table, out, services), check=False, capture_output=True)
    return time.monotonic() - began


def killed(table: Path, out: Path, services: Path, server: CutoutServer, requests: int) -> None:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command(table, out, services), stdout=quiet, stderr=quiet)
    while len(server.requests) < requests and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def outcome(folder: Path) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    rows = pq.read_table(folder / "manifest.parquet").drop_columns("fetched_at").to_pylist()
    return rows, {path.name: path.read_bytes() for path in folder.rglob("*.jpg")}


def report(what: str, server: CutoutServer, folder: Path, seconds: float) -> None:
    rows = pq.read_table(folder / "manifest.parquet").to_pylist()
    ids = Counter(row["id"] for row in rows)
    asked = server.positions()
    good = [times for place, times in asked.items() if row_of(place) % 100 != 99 and row_of(place) % 10 != 3]
    print(
        f"{what}: {len(rows)} rows, {len(ids)} ids, {dict(Counter(row['status'] for row in rows))}; "
        f"{len(server.requests)} requests, at most {server.most_under_way} at a time and "
        f"{server.most_in_a_second()} within a second; positions without a fault asked for at most "
        f"{max(good)} times; {seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
