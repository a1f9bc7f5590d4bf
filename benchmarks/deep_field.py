"""How a run does on the Hubble Deep Field: 60 sources against what a person sees.

``deep_field_judged.csv`` has the position of each source (pixels of scikit-image's picture, 872 × 1000) and
the classes that one of us would accept, judged from unlabelled cutouts; "can't tell" is allowed. A class is
relied on where ``predict --detect`` labels it in its picture. Everything is written to a temporary folder.

    python benchmarks/deep_field.py [RUN]
"""

from __future__ import annotations

import csv
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

import morphoscope as ms
from morphoscope.catalogue.detection.catalogue import LIKELY
from morphoscope.demo import deep_field

JUDGED = Path(__file__).with_name("deep_field_judged.csv")
NEAR = 3.0  # pixels within which a detected source is the judged one


def main(run: str) -> None:
    with open(JUDGED, encoding="utf-8") as file:
        judged = [
            (float(row["x"]), float(row["y"]), row["judged"].split("|")) for row in csv.DictReader(file)
        ]
    with tempfile.TemporaryDirectory() as folder:
        sky = ms.load(run).sky(deep_field(), Path(folder) / "sky.parquet").to_pydict()
    x, y = np.array(sky["x"]), np.array(sky["y"])
    score = np.array(sky.get("out_of_distribution") or np.zeros(len(x)))
    sure = (np.array(sky["probability"], np.float64) >= LIKELY) & (score <= 1)
    without = sum(name is None for name in sky["predicted"])
    print(f"{len(x)} sources, {without} without a class, {sure.sum()} with a class to rely on: ", end="")
    print(", ".join(f"{name} {n}" for name, n in Counter(np.array(sky["predicted"])[sure]).most_common()))
    right, relied, right_of_relied, clear, named = 0, 0, 0, 0, 0
    stars: list[str] = []
    for at_x, at_y, accepted in judged:
        distance = np.hypot(x - at_x, y - at_y)
        nearest = int(distance.argmin())
        if distance[nearest] > NEAR or accepted == ["can't tell"]:
            continue
        predicted = sky["predicted"][nearest]
        if accepted == ["star"]:
            reason = (
                sky["quality"][nearest] if predicted is None else "relied on" if sure[nearest] else "grey"
            )
            stars.append(f"{predicted or 'no class'} ({reason})")
            continue
        clear += 1
        named += predicted is not None
        right += predicted in accepted
        relied += bool(sure[nearest])
        right_of_relied += predicted in accepted and bool(sure[nearest])
    print(
        f"of {clear} judged clearly {named} have a class, {right} right; "
        f"of {relied} relied on {right_of_relied} right"
    )
    print("stars:", "; ".join(stars))


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["default"]))
