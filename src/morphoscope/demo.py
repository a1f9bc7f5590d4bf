"""A complete example, offline, on one small machine.

The packaged network classifies real sky first, which takes no torch; then it is
fine-tuned on a new question that it was never trained for: which way do a galaxy's arms wind?
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from morphoscope import files
from morphoscope.errors import UsageError
from morphoscope.extras import DETECTION, DRAWING, TRAINING, need
from morphoscope.packaged import DEFAULT
from morphoscope.progress import note

if TYPE_CHECKING:
    import pyarrow as pa

    from morphoscope.api import LoadedRun
    from morphoscope.data.store import Store

SIZE = 128  # pixels of the simulated galaxies
TRAIN_SIZE = 96  # of the training images: minutes on two cores
SEED = 100  # of the galaxies: the packaged network was trained on others
MIB = 2**20
QUESTION = {0: "no arms", 1: "counter-clockwise", -1: "clockwise"}  # by the simulator's column "winding"
AMBIGUOUS = ("Merging", "Disturbed")  # may have arms that the column does not record
SEEN = ("deep-field.parquet", "deep-field.png", "cutouts", "cutouts.parquet")
TAUGHT = ("galaxies", "pictures", "pictures.parquet", "own", "run")
PARTS = (*SEEN, *TAUGHT)


def run_demo(
    out: Path, *, count: int = 2000, seed: int = 0, classify_only: bool = False, overwrite: bool = False
) -> None:
    """Classify the Deep Field and a folder with the packaged network, then fine-tune it on a new question.

    Parts that exist from an earlier call are reused, so an interrupted demo continues.

    Args:
        out: folder to make.
        count: galaxies to simulate; about two fifths become labelled images.
        seed: of the selection of galaxies and of the training.
        classify_only: end before the fine-tuning.
        overwrite: start from the beginning.

    Raises:
        MissingExtra: packages for figures, or after the classification for simulation and training, are not
            installed.
        UsageError: ``out`` is a file.
    """
    import shutil

    from morphoscope import api

    started = time.monotonic()
    need((*DETECTION, *DRAWING), "detect,report", "the demo")
    if out.is_file():
        raise UsageError(f"{out} is a file; a folder to make was expected")
    if overwrite:
        for path in (out / part for part in PARTS):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    files.ensure_room(out, 20 * MIB if classify_only else 2 * count * SIZE * SIZE * 3 + 200 * MIB)
    packaged = api.load(DEFAULT)
    _classify_sky(packaged, out)
    if classify_only:
        print(f"\nDone in {time.monotonic() - started:.0f} s. Look at {out / 'deep-field.png'}")
        return
    need(("galsim", *TRAINING), "simulate,train", "the rest of the demo, which simulates and trains,")
    _teach(packaged, out, count, seed)

    print(f"\nDone in {time.monotonic() - started:.0f} s. Look at:")
    print(f"  {out / 'deep-field.png'}    a real piece of sky with the packaged network's labels")
    print(f"  {out / 'deep-field.parquet'}    the same as a catalogue")
    print(f"  {out / 'pictures.parquet'}    the catalogue of a folder of simulated galaxies")
    print(f"  {out / 'run' / 'report.html'}    how good the fine-tuned network is, and why")
    print("Then try:")
    print("  morphoscope predict default YOUR-IMAGES --out catalogue.parquet")
    print("  morphoscope data ingest folder YOUR-IMAGES my-galaxies --size 128")
    print("  morphoscope train small/own-labels --store my-galaxies --out my-run")
    print("  morphoscope predict my-run MORE-IMAGES --out catalogue.parquet")


def _classify_sky(packaged: LoadedRun, out: Path) -> None:
    """The Deep Field as one picture, and its sources as a folder of pictures."""
    if all((out / part).exists() for part in SEEN):
        print(f"the Hubble Deep Field is classified already: {out / 'deep-field.png'}")
        return
    note("1/5  the packaged network on the Hubble Deep Field (an image that scikit-image includes)")
    sky = packaged.sky(deep_field(), out / "deep-field.parquet", drawn=out / "deep-field.png", overwrite=True)
    print(f"{sky.num_rows} sources of the Hubble Deep Field classified")

    note(f"2/5  the packaged network on a folder of JPEGs, the same sources → {out / 'cutouts'}")
    pictures = write_cutouts(sky, out / "cutouts")
    summary = packaged.catalogue(pictures, out / "cutouts.parquet", overwrite=True)
    print(f"{summary.predicted} images classified, {summary.rate:.0f} a second")


def write_cutouts(sky: pa.Table, folder: Path) -> Path:
    """JPEGs of the Deep Field's sources, by their names in its catalogue; nothing if the folder exists."""
    from PIL import Image

    from morphoscope.catalogue.detection.detect import cutout

    if folder.is_dir():
        return folder
    field = deep_field()
    colour = np.median(field, axis=(0, 1))
    with files.atomic_folder(folder) as partial:
        for row in sky.select(["id", "x", "y", "cutout"]).to_pylist():
            picture = cutout(field, row["x"], row["y"], round(row["cutout"]), fill=colour)
            Image.fromarray(picture).save(partial / f"source-{row['id']}.jpg", quality=92)
    return folder


def _teach(packaged: LoadedRun, out: Path, count: int, seed: int) -> None:
    """Simulate galaxies, fine-tune the packaged network on which way their arms wind, and measure it."""
    from morphoscope import api
    from morphoscope.data.sources.folder import ingest_folder
    from morphoscope.data.sources.simulated import simulate
    from morphoscope.report.kinds import report_of
    from morphoscope.studies.registry import find_recipe

    note(f"3/5  the packaged network on {count} simulated galaxies → {out / 'galaxies'}")
    galaxies = _store(out / "galaxies") or simulate(out / "galaxies", count, SIZE, seed=SEED + seed)
    pictures = write_pictures(galaxies, out / "pictures", seed)
    _classify(packaged, galaxies, pictures, out / "pictures.parquet")

    note(f"4/5  fine-tuning on a new question, which way the arms wind → {out / 'run'}")
    own = _store(out / "own") or ingest_folder(pictures, out / "own", classes=list(QUESTION.values()))
    recipe = find_recipe("small/own-labels").changed(
        seed=seed,
        # In a mirror image the arms wind the other way.
        augment={"size": TRAIN_SIZE, "flip_horizontal": False, "flip_vertical": False},
        training={"epochs": 15},
    )
    run = api.train(recipe, own, out / "run", resume=(out / "run" / "run.yaml").is_file())

    note("5/5  measured on the held-out fifth:")
    metrics = run.metrics()
    print("\n".join(report_of(metrics["scheme"]).summary_lines(metrics["test"])))


def _store(path: Path) -> Store | None:
    """The store that an earlier call finished, if any."""
    from morphoscope import api

    return api.open_store(path) if (path / "store.yaml").is_file() else None


def write_pictures(galaxies: Store, folder: Path, seed: int) -> Path:
    """JPEGs of simulated galaxies in one folder per class: as many without arms as of either sense.

    Files are named by the galaxy's row in the store. Nothing is written if the folder exists already.
    """
    from PIL import Image

    if folder.is_dir():
        return folder
    winding = np.array(galaxies.table["winding"].to_pylist())
    clear = ~np.isin(galaxies.table["morphology"].to_pylist(), AMBIGUOUS)
    fewest = min(int((clear & (winding == sense)).sum()) for sense in (-1, 1))
    draw = np.random.default_rng(seed)
    with files.atomic_folder(folder) as partial:
        for sense, answer in QUESTION.items():
            (partial / answer).mkdir()
            for row in np.sort(draw.permutation(np.flatnonzero(clear & (winding == sense)))[:fewest]):
                picture = Image.fromarray(np.asarray(galaxies.pictures[row]))
                picture.save(partial / answer / f"{row:06d}.jpg", quality=92)
    return folder


def _classify(network: LoadedRun, galaxies: Store, pictures: Path, out: Path) -> None:
    """Make a catalogue of the folder and print its accuracy: here the truth is known."""
    import pyarrow.parquet as pq

    summary = network.catalogue(pictures, out, overwrite=True)
    table = pq.read_table(out, columns=["id", "predicted"]).to_pydict()
    morphology = galaxies.table["morphology"].to_pylist()
    right = sum(
        predicted == morphology[int(Path(name).stem)]
        for name, predicted in zip(table["id"], table["predicted"], strict=True)
    )
    share = right / max(1, summary.predicted)
    print(
        f"{summary.predicted} images classified, {share:.0%} into the class they were simulated as "
        "(the network was trained on other galaxies of this simulator; on real ones it does less well)"
    )


def deep_field() -> np.ndarray:
    """The Hubble Deep Field, (872, 1000, 3) uint8 (NASA/ESA, R. Williams; in scikit-image)."""
    from skimage.data import hubble_deep_field

    return hubble_deep_field()
