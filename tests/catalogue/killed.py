"""Makes catalogues in processes that are killed again and again; run by test_resume.py.

    python killed.py OUT SEED KILLS TABLE

A process that has imported everything forks one child for each attempt, so that an attempt takes
milliseconds. Prints, as JSON, how many children were killed and how many galaxies each next one found done.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import cv2
import numpy as np
import PIL.Image
import pyarrow as pa

from conftest import BrightnessPredictor
from morphoscope.catalogue import checkpoint, predict, rows
from morphoscope.catalogue.formats.write import target_of, write_catalogue
from morphoscope.catalogue.request import CatalogueRequest

BATCH = 5


class SlowPredictor(BrightnessPredictor):
    """Slow enough to be killed at work."""

    def probabilities(self, images: list[np.ndarray]) -> np.ndarray:
        time.sleep(0.004)
        return super().probabilities(images)


def make(out: str, table: str) -> None:
    predictor = SlowPredictor()
    original = rows.provenance_of
    rows.provenance_of = lambda *a, **k: {**original(*a, **k), "date": "2026-11-21"}
    predict.predict_catalogue(predictor, CatalogueRequest(table, out, batch=BATCH, workers=2, resume=True))


def in_a_child(out: str, table: str, kill_at: tuple[int, float] | None = None) -> int:
    """Exit status of a child that makes or continues a catalogue, −9 if it was killed.

    ``kill_at``: so many galaxies are kept, and so many seconds later. Waiting for galaxies rather than for
    the clock puts the kills into the work on a machine that is busy with something else, too.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            make(out, table)
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    if kill_at is not None:
        galaxies, seconds = kill_at
        while kept(out) < galaxies:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.001)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def import_all(place: Path) -> None:
    """What every child would have to import: done once, without threads, which a fork does not take along."""
    cv2.setNumThreads(0)
    PIL.Image.init()
    write_catalogue(target_of(place), pa.table({"id": ["x"]}), {})
    place.unlink()


def kept(out: str) -> int:
    """Galaxies that are in parts."""
    parts = checkpoint.partial_folder(Path(out)).glob("*-*.parquet")
    return max((int(part.name.split(".")[0].split("-")[1]) for part in parts), default=0)


def main() -> None:
    out, seed, kills, table = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    import_all(Path(out))
    checkpoint.PART_SECONDS = 0.0
    chance = random.Random(seed)
    whole = Path(out).with_name("whole" + Path(out).suffix)
    assert in_a_child(str(whole), table) == 0, "the uninterrupted catalogue failed"
    with open(table, encoding="utf-8") as file:
        count = sum(1 for _ in file) - 1
    killed, found, attempts = 0, [], 0
    while killed < kills:
        moment = chance.randint(kept(out), count), chance.uniform(0, 0.03)
        status = in_a_child(out, table, moment)
        done = Path(out).exists() and not checkpoint.partial_folder(Path(out)).exists()
        if status == 0 or done:  # before it could be killed, or in the last moment before its end: begin anew
            Path(out).unlink()
        else:
            assert status == -signal.SIGKILL, f"a continued catalogue failed with exit status {status}"
            killed += 1
            found.append(kept(out))
        attempts += 1
        assert attempts < 20 * kills, "the catalogue was done before it could be killed"
    assert in_a_child(out, table) == 0, "the last continuation failed"
    print(json.dumps({"killed": killed, "done": found}))


if __name__ == "__main__":
    main()
