"""The whole way once, offline, on one small machine: from simulated galaxies to a labelled piece of sky."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from morphoscope import files
from morphoscope.errors import UsageError
from morphoscope.packaged import DEFAULT
from morphoscope.progress import note

if TYPE_CHECKING:
    import numpy as np

    from morphoscope.api import LoadedRun

SIZE = 64  # pixels: enough for ten classes, and minutes of training on two cores
MIB = 2**20
PICTURES = ("deep-field-default", "deep-field")  # what the packaged network says, and the one trained here


def run_demo(out: Path, *, count: int = 4000, seed: int = 0, overwrite: bool = False) -> None:
    """Classify the Hubble Deep Field with the packaged network, then simulate, train, measure and report.

    Each part that is there from an earlier call is used again, so a demo that was stopped goes on.

    Args:
        out: folder to make.
        count: galaxies to simulate; a fifth of them is held out for the test.
        seed: of the galaxies and of the training.
        overwrite: begin anew.
    """
    import shutil

    from morphoscope import api
    from morphoscope.data.simulate import simulate
    from morphoscope.evaluation.text import summary_lines
    from morphoscope.studies.registry import find_recipe

    started = time.monotonic()
    if out.is_file():
        raise UsageError(f"{out} is a file; a folder to make was expected")
    if overwrite:
        for part in (
            "galaxies",
            "run",
            *(f"{name}{end}" for name in PICTURES for end in (".parquet", ".png")),
        ):
            place = out / part
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    files.ensure_room(out, count * SIZE * SIZE * 3 + 200 * MIB)

    note("1/5  the packaged network on the Hubble Deep Field (a picture that scikit-image carries)")
    _sky(api.load(DEFAULT), out / PICTURES[0])

    note(f"2/5  {count} simulated galaxies of ten classes → {out / 'galaxies'}")
    galaxies = out / "galaxies"
    store = (
        api.open_store(galaxies)
        if (galaxies / "store.yaml").is_file()
        else simulate(galaxies, count, SIZE, seed=seed)
    )

    note(f"3/5  a small network learns from them → {out / 'run'}")
    recipe = find_recipe("small/simulated").changed(seed=seed)
    begun = (out / "run" / "run.yaml").is_file()
    run = api.train(recipe, store, out / "run", resume=begun)

    note("4/5  measured on the held-out fifth:")
    print("\n".join(summary_lines(run.metrics()["test"])))

    note("5/5  the Hubble Deep Field again, by the network that was just trained")
    _sky(run, out / PICTURES[1])

    print(f"\nDone in {time.monotonic() - started:.0f} s. Look at:")
    print(f"  {out / 'run' / 'report.html'}    how good the network is, and why")
    print(f"  {out / PICTURES[0]}.png    a real piece of sky with the packaged network's labels")
    print(f"  {out / PICTURES[1]}.png    and with the labels of the network trained here")
    print(f"  {out / PICTURES[0]}.parquet    the same as a catalogue")
    print("Then try:")
    print("  morphoscope predict default YOUR-IMAGES --out catalogue.parquet")
    print("  morphoscope data ingest folder YOUR-IMAGES my-galaxies --size 128")
    print("  morphoscope train small/own-labels --store my-galaxies --out my-run")
    print("  morphoscope predict my-run MORE-IMAGES --out catalogue.parquet")


def _sky(run: LoadedRun, place: Path) -> None:
    """A catalogue and a labelled picture of the Deep Field, ``place`` with the endings of both."""
    table = run.sky(
        deep_field(), f"{place}.parquet", drawn=place.with_name(place.name + ".png"), overwrite=True
    )
    print(f"{table.num_rows} sources of the Hubble Deep Field classified")


def deep_field() -> np.ndarray:
    """The Hubble Deep Field, (872, 1000, 3) uint8 (NASA/ESA, R. Williams; in scikit-image)."""
    from skimage.data import hubble_deep_field

    return hubble_deep_field()
