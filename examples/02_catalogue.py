"""A folder of images becomes a catalogue; then ask it for the galaxies the network is least sure of.

    python examples/01_own_images.py out
    python examples/02_catalogue.py out/run out/images out/catalogue.parquet

The catalogue is written while it is made, so memory does not grow with its length. Parquet opens in
pandas, polars, astropy and TOPCAT.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

import morphoscope as ms


def main(run: Path, images: Path, out: Path, worst: int = 5) -> None:
    """Predict a folder, list what to look at by eye, and ask again for one image in memory."""
    # One view a galaxy; views=16 averages eight rotations and their mirror images: slower, better.
    galaxies = ms.load(run, views=1)
    summary = galaxies.catalogue(images, out)
    print(f"{summary.predicted} galaxies, {summary.unreadable} unreadable, {summary.rate:.0f} a second")

    table = pq.read_table(out)
    entropy = np.asarray(table["entropy"])  # nats; 0: certain, ln(classes): no idea
    unsure = np.argsort(-entropy)[:worst]
    print("look at these first:")
    for row in unsure:
        galaxy = {name: table[name][int(row)].as_py() for name in ("id", "predicted", "probability")}
        print(f"  {galaxy['id']}: {galaxy['predicted']}, probability {galaxy['probability']:.2f}")

    first = images / table["source"][int(unsure[0])].as_py()
    answer = galaxies.predict(first)[0]
    for best in np.argsort(-answer)[:3]:
        print(f"  {first.name} is {galaxies.classes[best]}: {answer[best]:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("run", type=Path, help="a finished run")
    parser.add_argument("images", type=Path, help="folder of images")
    parser.add_argument("out", type=Path, help="catalogue to write, .parquet")
    arguments = parser.parse_args()
    main(arguments.run, arguments.images, arguments.out)
