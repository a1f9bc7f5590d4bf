"""Cutouts of 2,000 positions from a local server, a tenth of whose answers go wrong in eight ways.

``python benchmarks/cutouts.py`` fetches them once without interruption and once killed (SIGKILL) and resumed,
compares the two, and prints what the server counted. With ``--predict`` they go straight into a catalogue of
the packaged network, which is compared. With ``--archive`` the server is an archive of the Virtual
Observatory, asked by SIA 2.0, DataLink and SODA.
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
from sia2_archive import Archive, Tile  # type: ignore[import-not-found]

PER_DEGREE = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--predict", action="store_true")
    parser.add_argument("--archive", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = folder / "positions.csv"
        rows = [f"g{row},{150 + row / PER_DEGREE:.2f},2.5" for row in range(asked.count)]
        table.write_text("id,ra,dec\n" + "\n".join(rows) + "\n")
        sky = Sky(fault=fault, outside=outside, seconds=0.01, archive=Tiles())
        work = (
            Prediction(table) if asked.predict else FromArchive(table) if asked.archive else Fetching(table)
        )
        with serving(sky) as server:
            services = server.table(folder / "whole.yaml", connections=asked.connections, rate=asked.rate)
            work.server = server
            seconds = run(work.command(folder / "whole", services))
            report("uninterrupted", server, work.rows(folder / "whole"), seconds)
        with serving(sky) as server:
            services = server.table(folder / "killed.yaml", connections=asked.connections, rate=asked.rate)
            work.server = server
            for share in (0.2, 0.5, 0.8):
                kill(work.command(folder / "killed", services), server, int(share * asked.count))
            seconds = run(work.command(folder / "killed", services))
            report("killed three times", server, work.rows(folder / "killed"), seconds)
        same = work.rows(folder / "whole") == work.rows(folder / "killed")
        pictures = images(folder / "whole") == images(folder / "killed")
        print(f"rows of the two are the same: {same}; images: {pictures}")


def row_of(place: tuple[float, float]) -> int:
    return round((place[0] - 150) * PER_DEGREE)


def outside(place: tuple[float, float]) -> bool:
    return row_of(place) % 40 == 7


class Tiles(Archive):
    """An archive with a small image of each position."""

    def near(self, ra: float) -> list[Tile]:
        """The image of a position, unless it is outside."""
        return [] if outside((ra, 2.5)) else [self.named(f"row-{row_of((ra, 2.5))}")]

    def named(self, identity: str) -> Tile:
        """An image by its row."""
        row = int(identity.rpartition("-")[2])
        return Tile(f"row-{row}", ra=150 + row / PER_DEGREE, pixels=48)


def fault(place: tuple[float, float], attempt: int) -> str:
    """A tenth of the positions goes wrong at first, in eight ways in turn; one in a hundred for good."""
    row = row_of(place)
    if row % 100 == 99:
        return "page"
    return FAULTS[row // 10 % len(FAULTS)] if row % 10 == 3 and attempt == 0 else ""


class Fetching:
    """``data cutouts``: a folder of images and a manifest."""

    server: CutoutServer

    def __init__(self, table: Path) -> None:
        self.table = table

    def command(self, out: Path, services: Path) -> list[str]:
        """The command, which goes on where an earlier one was killed."""
        words = ["data", "cutouts", str(self.table), str(out), "--survey", "legacy-dr10", "--pixels", "96"]
        return [*words, "--service", str(services)]

    def rows(self, out: Path) -> list[dict[str, Any]]:
        """A row of each position, with its status."""
        return pq.read_table(out / "manifest.parquet").drop_columns("fetched_at").to_pylist()


class FromArchive(Fetching):
    """``data cutouts --survey sia2:``: three requests for each image."""

    def command(self, out: Path, services: Path) -> list[str]:
        """The same for an archive."""
        words = ["data", "cutouts", str(self.table), str(out), "--survey", self.server.archive.service]
        return [*words, "--format", "fits", "--arcsec", "16", "--service", str(services)]

    def rows(self, out: Path) -> list[dict[str, Any]]:
        """The same, but for the address: each server has its own."""
        return [{**row, "survey": ""} for row in super().rows(out)]


class Prediction(Fetching):
    """``predict --positions``: a catalogue, whose images are kept so that none is asked for again."""

    def command(self, out: Path, services: Path) -> list[str]:
        """The same for a catalogue."""
        words = ["predict", "default", "--positions", str(self.table), "--survey", "legacy-dr10"]
        words += ["--cutout-arcsec", "67.1", "--keep-images", str(out), "--out", str(self._catalogue(out))]
        return [*words, "--service", str(services), "--resume"]

    def rows(self, out: Path) -> list[dict[str, Any]]:
        """The same of a catalogue."""
        rows = pq.read_table(self._catalogue(out)).to_pylist()
        for row in rows:
            status, _, _ = (row["quality"] or "").partition(":")
            row["status"] = status if row["probability"] is None else "predicted"
        return rows

    def _catalogue(self, out: Path) -> Path:
        return out.with_suffix(".parquet")


def run(command: list[str]) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "morphoscope", *command], check=False, capture_output=True)
    return time.monotonic() - began


def kill(command: list[str], server: CutoutServer, requests: int) -> None:
    """Run it until the server has had so many requests."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([sys.executable, "-m", "morphoscope", *command], stdout=quiet, stderr=quiet)
    while len(server.requests) < requests and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def images(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("images/*/*")}


def report(what: str, server: CutoutServer, rows: list[dict[str, Any]], seconds: float) -> None:
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
