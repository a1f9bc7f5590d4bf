"""A complete example, offline, on one small machine.

The packaged network classifies first; then it is fine-tuned on a new question that it was never trained for:
which way do a galaxy's arms wind?
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from morphoscope import files
from morphoscope.errors import UsageError
from morphoscope.packaged import DEFAULT
from morphoscope.progress import note

if TYPE_CHECKING:
    from morphoscope.api import LoadedRun
    from morphoscope.data.store import Store

SIZE = 128  # pixels of the simulated galaxies
TRAIN_SIZE = 96  # of the training images: minutes on two cores
SEED = 100  # of the galaxies: the packaged network was trained on others
MIB = 2**20
QUESTION = {0: "no arms", 1: "counter-clockwise", -1: "clockwise"}  # by the simulator's column "winding"
AMBIGUOUS = ("Merging", "Disturbed")  # may have arms that the column does not record
PARTS = ("deep-field.parquet", "deep-field.png", "galaxies", "pictures", "pictures.parquet", "own", "run")


def run_demo(out: Path, *, count: int = 2000, seed: int = 0, overwrite: bool = False) -> None:
    """Classify the Deep Field and a folder with the packaged network, then fine-tune it on a new question.

    Parts that exist from an earlier call are reused, so an interrupted demo continues.

    Args:
        out: folder to make.
        count: galaxies to simulate; about two fifths become labelled images.
        seed: of the selection of galaxies and of the training.
        overwrite: start from the beginning.
    """
    import shutil

    from morphoscope import api
    from morphoscope.data.sources.folder import ingest_folder
    from morphoscope.data.sources.simulated import simulate
    from morphoscope.report.kinds import report_of
    from morphoscope.studies.registry import find_recipe

    started = time.monotonic()
    if out.is_file():
        raise UsageError(f"{out} is a file; a folder to make was expected")
    if overwrite:
        for path in (out / part for part in PARTS):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    files.ensure_room(out, 2 * count * SIZE * SIZE * 3 + 200 * MIB)
    packaged = api.load(DEFAULT)

    note("1/5  the packaged network on the Hubble Deep Field (an image that scikit-image includes)")
    sky = packaged.sky(deep_field(), out / "deep-field.parquet", drawn=out / "deep-field.png", overwrite=True)
    print(f"{sky.num_rows} sources of the Hubble Deep Field classified")

    note(f"2/5  {count} simulated galaxies → {out / 'galaxies'}")
    galaxies = _store(out / "galaxies") or simulate(out / "galaxies", count, SIZE, seed=SEED + seed)
    pictures = write_pictures(galaxies, out / "pictures", seed)

    note(f"3/5  the packaged network on the folder {out / 'pictures'}")
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

    print(f"\nDone in {time.monotonic() - started:.0f} s. Look at:")
    print(f"  {out / 'deep-field.png'}    a real piece of sky with the packaged network's labels")
    print(f"  {out / 'deep-field.parquet'}    the same as a catalogue")
    print(f"  {out / 'pictures.parquet'}    the catalogue of the folder")
    print(f"  {out / 'run' / 'report.html'}    how good the fine-tuned network is, and why")
    print("Then try:")
    print("  morphoscope predict default YOUR-IMAGES --out catalogue.parquet")
    print("  morphoscope data ingest folder YOUR-IMAGES my-galaxies --size 128")
    print("  morphoscope train small/own-labels --store my-galaxies --out my-run")
    print("  morphoscope predict my-run MORE-IMAGES --out catalogue.parquet")


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
                picture = Image.fromarray(np.asarray(galaxies.images[row]))
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
