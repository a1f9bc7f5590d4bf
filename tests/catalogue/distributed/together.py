"""Makes catalogues in the processes of torchrun; run by test_torchrun.py.

    torchrun --nproc-per-node 2 together.py FOLDER OUT

One catalogue, one that is interrupted and resumed, and one in which a helper fails.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from conftest import BrightnessPredictor
from morphoscope import cli
from morphoscope.catalogue.checkpoint import Journal
from morphoscope.catalogue.predict import predict_catalogue
from morphoscope.errors import MorphoscopeError
from morphoscope.processes import Process, fall_silent, of_one_machine


class FailingPredictor(BrightnessPredictor):
    """Fails in a helper."""

    def probabilities(self, images: list[np.ndarray]) -> np.ndarray:
        if not of_one_machine().leads:
            raise MorphoscopeError("the second process has no room")
        return super().probabilities(images)


def make(process: Process, folder: str, out: Path) -> None:
    asked = {"batch": 2, "process": process}
    first, second = BrightnessPredictor(), BrightnessPredictor()
    summary = predict_catalogue(first, folder, out / "c.parquet", **asked)
    if process.leads:
        (out / "summary.txt").write_text(f"{summary.predicted} {summary.unreadable}")
    (out / f"asked-{process.rank}.txt").write_text(str(sum(first.sizes)))

    whole, kept = Journal.add, []

    def broken_off(self: Journal, *rows) -> None:
        if len(kept) == 2:
            raise MorphoscopeError("the disk is full")
        kept.append(whole(self, *rows))

    Journal.add = broken_off
    with contextlib.suppress(MorphoscopeError, SystemExit):
        predict_catalogue(BrightnessPredictor(), folder, out / "again.csv", **asked)
    Journal.add = whole
    summary = predict_catalogue(second, folder, out / "again.csv", **asked, resume=True)
    if process.leads:
        (out / "resumed.txt").write_text(f"{summary.predicted} {summary.resumed}")
    predict_catalogue(FailingPredictor(), folder, out / "error.parquet", **asked)


def main() -> None:
    folder, out = sys.argv[1:3]
    fall_silent()
    cli.app = lambda **_: make(of_one_machine(), folder, Path(out))
    cli.main()


if __name__ == "__main__":
    main()
