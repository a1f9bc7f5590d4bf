"""Simulate galaxies with known truth as a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from morphoscope.data.store import Store, StoreMeta, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.errors import UsageError, did_you_mean
from morphoscope.extras import need

SCHEMES = ("galaxy10", "votes", "vote-counts", "measurements")
# What an image shows of any galaxy, with unit and UCD.
MEASURED = (
    ("half_light_radius", "arcsec", "phys.angSize"),
    ("axis_ratio", "", "phys.size.axisRatio"),
    ("r_mag", "mag", "phot.mag;em.opt.R"),
    ("bulge_fraction", "", "arith.ratio"),
)
PROPORTIONS = ("equal", "galaxy10")
SMALLEST, LARGEST = 16, 1024  # pixels along a side
BLOCK = 200  # rows over which Galaxy10's class proportions are exact
CHUNK = 16  # rows a worker renders at a time
FEW = 128  # galaxies up to which starting processes costs more than it saves


def simulate(
    out: Path | str,
    count: int,
    size: int,
    *,
    scheme: str = "galaxy10",
    seed: int = 0,
    workers: int | None = None,
    overwrite: bool = False,
    proportions: str = "equal",
    survey: str = "decals",
    masks: bool = False,
) -> Store:
    """Simulate galaxies as observed by a survey and write them as a store.

    Images are rendered at the survey's own sampling and then scaled to ``size``: DECaLS 67.07″ (256 pixels
    of 0.262″), Euclid 25.6″ (256 of 0.1″), SDSS 8.48 radii that enclose 90 % of the galaxy's light, as in
    Galaxy Zoo 2. With several surveys, one is drawn for each row. A galaxy depends only on the seed, its row,
    ``proportions`` and the surveys: more rows or other workers change nothing. Besides its labels the table
    has each galaxy's parameters (``simulation.galaxy.TRUTH``), survey and pixel scale; for votes also the
    counts and the number of volunteers, and for counts the probabilities that they were drawn from.

    Args:
        out: folder of the store.
        count: number of galaxies.
        size: pixels along a side, 16 to 1024.
        scheme: "galaxy10", ten classes; "votes", the 37 vote fractions of Galaxy Zoo 2; "vote-counts", the
            number of volunteers who gave each of its answers; or "measurements", true parameters
            (:data:`MEASURED`).
        seed: 0 or more.
        workers: processes; None: one per core.
        overwrite: replace an existing store.
        proportions: "equal", as many galaxies of every class, or "galaxy10", that data set's imbalance.
        survey: "decals", "sdss" or "euclid", or several separated by commas; one named twice is drawn twice
            as often.
        masks: also store a mask of every component (``Store.masks``).

    Raises:
        UsageError: a name is unknown, a number out of range, or ``out`` exists already.
        MorphoscopeError: the disk has too little space, or GalSim is not installed.
    """
    _check_numbers(count, size, seed, workers)
    _check_names(scheme, proportions, survey)
    need(("galsim",), "simulate", "simulating galaxies")
    from morphoscope.processes import available_cores
    from morphoscope.progress import Bar
    from morphoscope.simulation.rows import COMPONENTS, Job, Plan
    from morphoscope.simulation.survey import SURVEYS
    from morphoscope.simulation.workers import render

    chosen = tuple(SURVEYS[name] for name in survey_names(survey))
    alike = chosen[0] if len(chosen) == 1 else None
    plan = Plan(chosen, size, seed, scheme, block_of(proportions), masks)
    meta = StoreMeta(
        scheme=_label_scheme(scheme),
        size=size,
        pixel_scale=alike.field / size if alike and alike.view is None else None,
        stretch=alike.name if alike else "mixed",
        source="simulator",
        mask_components=COMPONENTS if masks else (),
        options={"seed": seed, "survey": survey, "proportions": proportions},
    )
    writer = StoreWriter(
        out,
        meta,
        image_shape=(size, size, 3),
        extra=_truth_columns(scheme),
        expected=count,
        overwrite=overwrite,
    )
    jobs = (Job(plan, start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))
    if workers is None:
        workers = available_cores() if count > FEW else 1
    with writer, Bar("simulating", total=count, unit="galaxies") as bar:
        for chunk in render(jobs, min(workers, -(-count // CHUNK))):
            for rendered in chunk:
                writer.append(rendered.image_HWC, rendered.values, rendered.mask_HW)
            bar.advance(len(chunk))
    return open_store(out)


def block_of(proportions: str) -> tuple[int, ...]:
    """Class indices of consecutive rows in the given proportions, before shuffling."""
    from morphoscope.labels.galaxy10 import COUNTS, GALAXY10

    if proportions == "equal":
        return tuple(range(len(GALAXY10.classes)))
    shares = np.asarray(COUNTS) / np.sum(COUNTS) * BLOCK
    counts = np.floor(shares).astype(int)
    largest = np.argsort(counts - shares)[: BLOCK - counts.sum()]
    counts[largest] += 1
    return tuple(np.repeat(np.arange(len(counts)), counts).tolist())


def survey_names(survey: str) -> tuple[str, ...]:
    """The surveys in a comma-separated list, in order, with repetitions."""
    return tuple(name.strip() for name in survey.split(","))


def _label_scheme(scheme: str):
    if scheme == "votes":
        from morphoscope.labels.scheme import GALAXY_ZOO_2_VOTES

        return GALAXY_ZOO_2_VOTES
    if scheme == "vote-counts":
        from morphoscope.labels.scheme import VoteCounts
        from morphoscope.labels.tree_files import tree_file
        from morphoscope.simulation.votes import FEWEST, MOST

        return VoteCounts(name="gz2", tree=tree_file("gz2").tree(), volunteers=(FEWEST + MOST) // 2)
    if scheme == "measurements":
        from morphoscope.labels.scheme import Measurements, Quantity

        quantities = tuple(Quantity(name=name, unit=unit, ucd=ucd) for name, unit, ucd in MEASURED)
        return Measurements(name="simulated", quantities=quantities)
    from morphoscope.labels.galaxy10 import GALAXY10

    return GALAXY10


def _truth_columns(scheme: str) -> dict[str, pa.DataType]:
    from morphoscope.simulation.galaxy import TRUTH

    arrow = {str: pa.string(), float: pa.float32(), int: pa.int32()}
    columns = {name: arrow[kind] for name, kind in TRUTH.items()} | {
        "survey": pa.string(),
        "pixel_scale": pa.float64(),
    }
    if scheme == "vote-counts":
        from morphoscope.labels.tree_files import tree_file
        from morphoscope.simulation.votes import chance_column

        chances = {chance_column(answer): pa.float32() for answer in tree_file("gz2").tree().columns}
        return columns | {"volunteers": pa.int32()} | chances
    if scheme != "votes":
        return columns
    from morphoscope.labels.tree import GALAXY_ZOO_2
    from morphoscope.simulation.votes import count_column

    counts = {count_column(answer): pa.int32() for answer in GALAXY_ZOO_2.columns}
    return columns | counts | {"volunteers": pa.int32()}


def _check_names(scheme: str, proportions: str, survey: str) -> None:
    from morphoscope.simulation.survey import SURVEYS

    for what, name, known in (
        ("scheme", scheme, SCHEMES),
        ("proportions", proportions, PROPORTIONS),
        *(("survey", name, tuple(SURVEYS)) for name in survey_names(survey)),
    ):
        if name not in known:
            raise UsageError(f"no {what} '{name}' to simulate{did_you_mean(name, known, 'known')}")


def _check_numbers(count: int, size: int, seed: int, workers: int | None) -> None:
    if count < 1:
        raise UsageError(f"count is {count}; at least one galaxy was expected")
    if not SMALLEST <= size <= LARGEST:
        raise UsageError(f"size is {size}; {SMALLEST} to {LARGEST} pixels were expected")
    if seed < 0:
        raise UsageError(f"seed is {seed}; 0 or more was expected")
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers}; at least one was expected")
