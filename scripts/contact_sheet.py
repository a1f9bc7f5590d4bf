"""Simulated galaxies beside real ones, at the same scale and stretch: ``contact_sheet.py FOLDER SHEET.png``.

FOLDER holds real images of Galaxy10 DECaLS and a ``labels.csv`` (columns ``file``, ``label``: class indices
in that data set's own order). Every class is one row: real galaxies, a white bar, simulated ones. Real
images belong to their surveys: keep the sheet out of the repository.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np

from morphoscope.data.sources.simulated import block_of
from morphoscope.labels.galaxy10 import GALAXY10
from morphoscope.simulation.rows import Plan, class_of, render_row
from morphoscope.simulation.survey import SURVEYS

BAR = 6  # pixels between real and simulated
NAME_HEIGHT = 14  # pixels


def read_real(folder: Path) -> dict[int, list[np.ndarray]]:
    """The real images of a folder by class index, (H, W, 3) uint8 RGB."""
    images: dict[int, list[np.ndarray]] = {}
    with open(folder / "labels.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            path = next(p for p in (folder / row["file"], folder / "images" / row["file"]) if p.exists())
            image_HWC = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
            if image_HWC is None:
                raise SystemExit(f"{path} cannot be read as an image")
            images.setdefault(int(row["label"]), []).append(image_HWC)
    return images


def simulated(survey: str, seed: int, each: int, size: int) -> dict[int, list[np.ndarray]]:
    """As many simulated galaxies of each class, by class index."""
    plan = Plan((SURVEYS[survey],), size, seed, "galaxy10", block_of("equal"))
    images: dict[int, list[np.ndarray]] = {}
    for row in range(each * len(GALAXY10.classes)):
        images.setdefault(class_of(plan, row), []).append(render_row(plan, row).image_HWC)
    return images


def line(
    name: str, real: list[np.ndarray], made: list[np.ndarray], side: int, columns: tuple[int, int]
) -> np.ndarray:
    """One class: its name, real galaxies, a bar, simulated ones."""
    empty = np.zeros((side, side, 3), np.uint8)
    cells = []
    for images, count in zip((real, made), columns, strict=True):
        shown = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in images[:count]]
        cells.append(np.hstack([*shown, *[empty] * (count - len(shown))]) if count else empty[:, :0])
    row = np.hstack([cells[0], np.full((side, BAR, 3), 255, np.uint8), cells[1]])
    title = np.zeros((NAME_HEIGHT, row.shape[1], 3), np.uint8)
    cv2.putText(title, name, (3, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([title, row])


def main() -> None:
    """Draw the sheet that the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--survey", default="decals", choices=sorted(SURVEYS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=10, help="simulated galaxies of each class")
    parser.add_argument("--real", type=int, default=5, help="real galaxies of each class")
    parser.add_argument("--side", type=int, default=128, help="pixels of each galaxy on the sheet")
    parser.add_argument("--classes", type=int, nargs="*", help="class indices; all where not given")
    given = parser.parse_args()
    real = read_real(given.folder)
    made = simulated(given.survey, given.seed, given.each, 256)
    chosen = given.classes if given.classes else range(len(GALAXY10.classes))
    columns = (given.real, given.each)
    rows = [line(GALAXY10.classes[k], real.get(k, []), made[k], given.side, columns) for k in chosen]
    cv2.imwrite(str(given.sheet), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
