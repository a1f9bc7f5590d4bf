"""Detect the sources of an image or mosaic, cut each out at a size like the training's, and classify them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from morphoscope.catalogue import pipeline
from morphoscope.catalogue.columns import (
    FullColumns,
    catalogue_table,
    note_missing_scores,
    provenance_of,
    sets_of,
)
from morphoscope.catalogue.detection.detect import (
    MIN_AREA,
    Sources,
    cutout_sides,
    cutouts,
    detect_sources,
)
from morphoscope.catalogue.detection.tiles import find_sources, source_items
from morphoscope.catalogue.formats.write import check_output, target_of, write_catalogue
from morphoscope.catalogue.inputs.mosaic_cutouts import Frame
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.coverage import OFF_IMAGE, share_of
from morphoscope.images.decode import read_image
from morphoscope.images.mosaic import Mosaic, open_mosaics
from morphoscope.images.source_quality import DESCRIPTION
from morphoscope.images.stream import Item, in_order
from morphoscope.inference.preprocess import stretch_like
from morphoscope.progress import note

if TYPE_CHECKING:
    from morphoscope.inference.ensemble import Ensemble
    from morphoscope.inference.predictor import Predictor

PLACE = (
    ("x", "pixel", "column of the centroid, from 0"),
    ("y", "pixel", "row of the centroid, from 0"),
    ("radius", "pixel", "semi-major axis of the light"),
    ("cutout", "pixel", "side of the square the network saw"),
)
CHIP = pa.field("chip", pa.string(), metadata={"description": "image of the file that x and y count in"})
_A_HAIR = 0.002  # fraction of a cutout that may lie beyond the image
ADAPT_TO = 512  # cutouts that batch normalisation is adapted to


def classify_picture(
    predictor: Predictor | Ensemble,
    picture: Path | str | np.ndarray,
    *,
    factor: float = 2.0,
    min_area: int = MIN_AREA,
    name: str = "",
    stretch: str | None = None,
    coverage: float | None = None,
    per_class: bool = False,
    check: bool = True,
    adapt: Callable[[Sequence[np.ndarray]], None] | None = None,
) -> tuple[pa.Table, Sources, np.ndarray]:
    """Detect the sources of a picture and classify each.

    Cutouts scale with the source, so galaxies fill them about as in the training images, whatever the
    image's pixel scale.

    Args:
        predictor: a run's network.
        picture: an image file, or (H, W, 3) uint8.
        factor: side of a cutout in units of the source's length.
        min_area: least pixels of a source.
        name: for the table's ``source`` column; default: the file's name.
        stretch: of a file of measured values, such as a 32-bit TIFF; None: as in the run's training.
        coverage: add the column ``set`` (see :func:`morphoscope.catalogue.predict.predict_catalogue`).
        per_class: as there.
        check: give no class to sources that are too small or too faint, or like stars.
        adapt: called first with up to :data:`ADAPT_TO` of the cutouts, to adapt the network's batch
            normalisation to them.

    Returns:
        The catalogue's table (its usual columns and x, y, radius, cutout in pixels, brightest source
        first), the sources, and the picture.

    Raises:
        UsageError: no such file.
        MorphoscopeError: it cannot be read, or nothing was detected.
    """
    sets = sets_of(predictor, coverage, per_class=per_class)
    if isinstance(picture, np.ndarray):
        image = picture
    else:
        path = Path(picture)
        if not path.is_file():
            raise UsageError(f"{path}: no such file; one picture of the sky was expected")
        stretch = stretch or stretch_like(predictor.run.header.store.stretch)
        image, name = read_image(path, stretch=stretch), name or path.name
    sources = detect_sources(image, min_area=min_area)
    if not len(sources):
        raise MorphoscopeError(f"{name or 'the picture'}: no source was detected")
    sides = cutout_sides(sources, factor=factor)
    squares = cutouts(image, sources, factor=factor, size=predictor.input_side)
    if adapt is not None:
        adapt(squares[:ADAPT_TO])
    full_columns = FullColumns(predictor)
    note_missing_scores(predictor)
    predictions_NK, values = full_columns(squares)
    faults = sources.faults() if check else [()] * len(sources)
    beyond = [_beyond(image, *at) for at in zip(sources.x, sources.y, sides, strict=True)]
    reasons = [(*why, *fault) for why, fault in zip(beyond, faults, strict=True)]
    items = [
        Item(name, lambda: image, {"id": str(number), "quality": why}) for number, why in enumerate(reasons)
    ]
    table = catalogue_table(
        predictor.scheme, items, predictions_NK, sets, full_columns.extras, values, check=check
    )
    table = _with_positions(table, (sources.x, sources.y, sources.radius, sides))
    return table, sources, image


def _beyond(image_HWC: np.ndarray, x: float, y: float, side: float) -> tuple[str, ...]:
    """Whether a cutout extends beyond the image."""
    height, width = image_HWC.shape[:2]
    inside = [
        min(middle + side / 2, length - 0.5) - max(middle - side / 2, -0.5)
        for middle, length in ((x, width), (y, height))
    ]
    share = 1 - max(inside[0], 0.0) * max(inside[1], 0.0) / side**2
    return (share_of(OFF_IMAGE, share),) if share > _A_HAIR else ()


def classify_mosaic(
    predictor: Predictor | Ensemble,
    mosaic: Path | str,
    *,
    bands: Sequence[str] = (),
    stretch: str | None = None,
    factor: float = 2.0,
    min_area: int = MIN_AREA,
    batch: int = 256,
    coverage: float | None = None,
    per_class: bool = False,
    check: bool = True,
    adapt: Callable[[Sequence[np.ndarray]], None] | None = None,
) -> tuple[pa.Table, list[Mosaic]]:
    """Detect the sources of a FITS mosaic and classify each, in memory independent of its size.

    Args:
        predictor: a run's network.
        mosaic: a FITS file, or a pattern with ``{band}``.
        bands: see :func:`morphoscope.images.mosaic.open_mosaics`.
        stretch: of the cutouts; None: as in the run's training.
        factor: side of a cutout in units of the source's length.
        min_area: least pixels of a source.
        batch: cutouts per batch.
        coverage: as for :func:`classify_picture`.
        per_class: as there.
        check: as there.
        adapt: as there.

    Returns:
        The table as of :func:`classify_picture`, with ``ra`` and ``dec`` where the header has world
        coordinates and ``chip`` where the file has several, and the opened bands. Sources of whose cutout the
        mosaic covers less than half are left out, and a note says so.

    Raises:
        UsageError: no such file or band, or bands whose chips differ in number.
        MorphoscopeError: it cannot be read, or nothing was detected.
    """
    sets = sets_of(predictor, coverage, per_class=per_class)
    mosaics = open_mosaics(mosaic, bands)
    detected = []
    for chip in chips_of(mosaics):
        found = find_sources(chip, factor=factor, min_area=min_area)
        detected.append((chip, found))
    total = sum(len(found) for _, found in detected)
    facts = predictor.run.header.store
    frame = Frame(facts.image_shape[0], stretch or stretch_like(facts.stretch))
    preprocess = partial(pipeline.preprocess_item, facts=facts, crop=None)
    if adapt is not None:
        everything = chain.from_iterable(source_items(chip, found, frame) for chip, found in detected)
        with closing(in_order(preprocess, everything)) as images:
            shown = (one.image for one in images if one.image is not None)
            adapt(list(islice(shown, ADAPT_TO)))
    full_columns = FullColumns(predictor)
    note_missing_scores(predictor)
    tables, kept_rows = [], 0
    for chip, found in detected:
        values, row = (found.x, found.y, found.radius, found.side), 0
        items = (
            replace(item, found={"quality": found.faults[number] if check else ()})
            for number, item in enumerate(source_items(chip, found, frame, first=kept_rows))
        )
        with closing(in_order(preprocess, items)) as images:
            while part := list(islice(images, batch)):
                rows = [row + offset for offset, one in enumerate(part) if one.image is not None]
                kept = [one for one in part if one.image is not None]
                row += len(part)
                if kept:
                    predictions_NK, extra_values = full_columns(
                        [one.image for one in kept if one.image is not None]
                    )
                    table = catalogue_table(
                        predictor.scheme,
                        [one.item for one in kept],
                        predictions_NK,
                        sets,
                        full_columns.extras,
                        extra_values,
                        check=check,
                    )
                    table = _with_positions(table, [column[rows] for column in values])
                    if len(detected) > 1:
                        table = table.append_column(CHIP, pa.array([chip[0].chip] * len(table), pa.string()))
                    tables.append(table)
        kept_rows += row
    left_out = total - sum(map(len, tables))
    if left_out:
        note(f"{mosaics[0].name}: {left_out} sources are left out, of whose cutouts half has no data")
    if not tables:
        raise MorphoscopeError(f"{mosaics[0].name}: no source was detected")
    return pa.concat_tables(tables), mosaics


def chips_of(mosaics: Sequence[Mosaic]) -> list[list[Mosaic]]:
    """The bands of each chip.

    Raises:
        UsageError: they have different numbers of chips.
    """
    counts = {len(mosaic.chips) for mosaic in mosaics}
    if len(counts) > 1:
        raise UsageError(
            f"{mosaics[0].name}: the bands have {' and '.join(map(str, sorted(counts)))} chips; as many in "
            "each were expected, or a chip's name or number in --bands"
        )
    return [list(chip) for chip in zip(*(mosaic.chips for mosaic in mosaics), strict=True)]


def _with_positions(table: pa.Table, values: Sequence[np.ndarray]) -> pa.Table:
    for (column, unit, description), numbers in zip(PLACE, values, strict=True):
        field = pa.field(column, pa.float32(), metadata={"unit": unit, "description": description})
        table = table.append_column(field, pa.array(numbers, pa.float32()))
    return table


def write_picture_catalogue(
    predictor: Predictor | Ensemble,
    table: pa.Table,
    out: Path | str,
    *,
    name: str,
    overwrite: bool = False,
    stretch: str = "as-served",
    coverage: float | None = None,
    per_class: bool = False,
    check: bool = True,
) -> None:
    """Write the table of :func:`classify_picture` or :func:`classify_mosaic` with its provenance."""
    target = target_of(out)
    check_output(target, overwrite=overwrite)
    sets = sets_of(predictor, coverage, per_class=per_class)
    provenance = provenance_of(predictor, name, stretch=stretch, crop=None, sets=sets)
    provenance |= FullColumns(predictor).provenance
    provenance["quality"] = DESCRIPTION if check else "off: every source gets a class"
    write_catalogue(target, table, provenance)
