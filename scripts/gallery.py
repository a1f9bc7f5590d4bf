"""Draw the figures of docs/gallery.md: what each command draws, on simulated galaxies.

    python scripts/gallery.py [WORK]

WORK is a folder for stores and runs, kept if it is named; a figure whose data are there is made again from
them. It takes two minutes of one core.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

OUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "gallery"
WIDEST = 1100  # pixels
SEED = 11


def morphoscope(work: Path, *arguments: str) -> None:
    """Run a command in a folder, unless what it makes (its last argument) is there."""
    if not (work / arguments[-1]).exists():
        subprocess.run([sys.executable, "-m", "morphoscope", *arguments], cwd=work, check=True)


def save(picture: Path | Image.Image, name: str) -> None:
    """Put a figure into docs/images/gallery, not wider than a page needs."""
    image = picture if isinstance(picture, Image.Image) else Image.open(picture)
    image = image.convert("RGB")
    if image.width > WIDEST:
        image = image.resize((WIDEST, round(image.height * WIDEST / image.width)), Image.Resampling.LANCZOS)
    OUT.mkdir(parents=True, exist_ok=True)
    image.save(OUT / f"{name}.webp", quality=85, method=6)


def classes(work: Path) -> Image.Image:
    """Ten classes, four galaxies each: one class a column."""
    import morphoscope as ms

    store = ms.open_store(work / "galaxies")
    labels = np.asarray(store.table["label"])
    names = store.need_scheme().output_names
    columns = [np.concatenate(store.images[np.flatnonzero(labels == k)[:4]]) for k in range(len(names))]
    return Image.fromarray(np.concatenate(columns, axis=1))


def main(folder: str | None = None) -> None:
    """Make the data, run the commands, and save their figures."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(folder or temporary).resolve()
        work.mkdir(parents=True, exist_ok=True)
        simulated = ["--count", "300", "--size", "96", "--seed", str(SEED), "--masks"]
        morphoscope(work, "data", "simulate", *simulated, "galaxies")
        save(classes(work), "classes")
        quick = ["--folds", "5", "--set", "evaluation.views=1"]
        morphoscope(work, "train", "small/linear-probe", "--store", "galaxies", *quick, "--out", "probe")
        for figure in ("confusion_matrix", "reliability", "most_wrong"):
            save(work / "probe" / "figures" / f"{figure}.png", figure)
        morphoscope(work, "predict", "default", "galaxies", "--embeddings", "--out", "catalogue.parquet")
        first = f"simulated-{SEED}-0000005"
        morphoscope(work, "similar", "default", "catalogue.parquet", "--to", first, "--out", "similar.png")
        save(work / "similar.png", "similar")
        shown = ["--class", "Barred Spiral", "--count", "4", "--method", "saliency,gradcam"]
        morphoscope(work, "explain", "default", "--store", "galaxies", *shown, "--out", "maps")
        save(work / "maps" / "figures" / "maps_together.png", "maps")
        morphoscope(work, "trees", "gz-decals-dr5", "--out", "tree.png")
        save(work / "tree.png", "tree")


if __name__ == "__main__":
    main(*sys.argv[1:])
