"""Several people looked at each galaxy: learn the fractions of their answers from a table.

    python examples/04_own_votes.py out

The table has a column with the image file and one column of fractions (0 to 1) an answer; no code says
what the answers mean. Here simulated galaxies and three answers of their simulated volunteers stand in.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from pyarrow import csv

import morphoscope as ms

ANSWERS = {"smooth": "Class1.1", "edge_on": "Class2.1", "spiral_arms": "Class4.1"}


def stand_in(folder: Path, count: int) -> Path:
    """Images and a table of votes, as a project of your own might have them."""
    galaxies = ms.simulate(folder / "simulated", count, size=64, scheme="votes")
    (folder / "cutouts").mkdir()
    names = [f"cutouts/{row:05d}.png" for row in range(len(galaxies))]
    for name, image in zip(names, galaxies.images, strict=True):
        cv2.imwrite(str(folder / name), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    columns = {"image": names} | {own: galaxies.column(column) for own, column in ANSWERS.items()}
    csv.write_csv(pa.table(columns), folder / "votes.csv")
    return folder / "votes.csv"


def main(out: Path, count: int = 1500, epochs: int = 8) -> ms.LoadedRun:
    """Ingest the table, train by squared error, and compare with always giving the mean."""
    table = stand_in(out, count)
    store = ms.ingest_table(table, out / "store", vote_columns=tuple(ANSWERS))
    recipe = ms.find_recipe("small/simulated").changed(training={"epochs": epochs})
    run = ms.train(recipe, store, out / "run", report=False)

    split = run.run.split(store)
    fractions = store.targets()
    spread = np.sqrt(np.mean((fractions[split.test] - fractions[split.train].mean(axis=0)) ** 2))
    rmse = run.metrics()["test"]["rmse"]
    print(f"RMSE {rmse['value']:.4f} ({rmse['low']:.4f} to {rmse['high']:.4f}); the mean alone: {spread:.4f}")
    return run


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to make")
    main(parser.parse_args().out)
