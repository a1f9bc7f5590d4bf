"""One picture of the sky: find its sources, cut each out at the size the network knows, classify them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from morphoscope.catalogue import pipeline
from morphoscope.catalogue.columns import catalogue_table, provenance_of, sets_of
from morphoscope.catalogue.detection.detect import Sources, cutout_sides, cutouts, detect_sources
from morphoscope.catalogue.detection.tiles import find_sources, source_items
from morphoscope.catalogue.formats.write import check_output, target_of, write_catalogue
from morphoscope.catalogue.inputs.mosaic_cutouts import Frame
from morphoscope.catalogue.inputs.open import stretch_like
from morphoscope.catalogue.predictions import FullColumns, note_missing_scores
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.decode import read_image
from morphoscope.images.mosaic import Mosaic, open_mosaics
from morphoscope.images.stream import Item, in_order
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


def classify_picture(
    predictor: Predictor | Ensemble,
    picture: Path | str | np.ndarray,
    *,
    factor: float = 2.0,
    min_area: int = 150,
    name: str = "",
    coverage: float | None = None,
    per_class: bool = False,
) -> tuple[pa.Table, Sources, np.ndarray]:
    """Detect the sources of a picture and classify each.

    Cutouts scale with the source, so that galaxies fill their squares about as they do in the training's
    images, whatever the picture's pixel scale.

    Args:
        predictor: a run's network.
        picture: an image file, or (H, W, 3) uint8.
        factor: side of a cutout in units of the source's length.
        min_area: least pixels of a source. On fewer than some 14 across hardly any shape can be told.
        name: what the table's ``source`` column says; the file's name where there is one.
        coverage: add the column ``set`` (see :func:`morphoscope.catalogue.predict.predict_catalogue`).
        per_class: as there.

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
        image, name = read_image(path), name or path.name
    sources = detect_sources(image, min_area=min_area)
    if not len(sources):
        raise MorphoscopeError(f"{name or 'the picture'}: no source was detected")
    sides = cutout_sides(sources, factor=factor)
    squares = cutouts(image, sources, factor=factor, size=predictor.input_side)
    answering = FullColumns(predictor)
    note_missing_scores(predictor)
    answers, values = answering(squares)
    items = [Item(name, lambda: image, {"id": str(number)}) for number in range(len(sources))]
    table = catalogue_table(predictor.scheme, items, answers, sets, answering.extras, values)
    table = _with_places(table, (sources.x, sources.y, sources.radius, sides))
    return table, sources, image


def classify_mosaic(
    predictor: Predictor | Ensemble,
    mosaic: Path | str,
    *,
    bands: Sequence[str] = (),
    factor: float = 2.0,
    min_area: int = 150,
    batch: int = 256,
    coverage: float | None = None,
    per_class: bool = False,
) -> tuple[pa.Table, list[Mosaic]]:
    """Detect the sources of a FITS mosaic and classify each, in memory that its size does not change.

    Args:
        predictor: a run's network.
        mosaic: a FITS file, or a pattern with ``{band}``.
        bands: see :func:`morphoscope.images.mosaic.open_mosaics`.
        factor: side of a cutout in units of the source's length.
        min_area: least pixels of a source.
        batch: cutouts at a time.
        coverage: as for :func:`classify_picture`.
        per_class: as there.

    Returns:
        The table as of :func:`classify_picture`, with ``ra`` and ``dec`` where the header has world
        coordinates, and the opened bands. Sources whose cutout lies half off the mosaic are left out, and a
        note says so.

    Raises:
        UsageError: no such file or band.
        MorphoscopeError: it cannot be read, or nothing was detected.
    """
    sets = sets_of(predictor, coverage, per_class=per_class)
    mosaics = open_mosaics(mosaic, bands)
    found = find_sources(mosaics, factor=factor, min_area=min_area)
    facts = predictor.run.header.store
    frame = Frame(facts.image_shape[0], stretch_like(facts.stretch))
    preprocess = partial(pipeline.preprocess_item, facts=facts, crop=None)
    places = (found.x, found.y, found.radius, found.side)
    answering = FullColumns(predictor)
    note_missing_scores(predictor)
    tables, left_out, row = [], 0, 0
    with closing(in_order(preprocess, source_items(mosaics, found, frame))) as images:
        while part := list(islice(images, batch)):
            rows = [row + offset for offset, one in enumerate(part) if one.image is not None]
            kept = [one for one in part if one.image is not None]
            row, left_out = row + len(part), left_out + len(part) - len(kept)
            if kept:
                answers, seen = answering([one.image for one in kept if one.image is not None])
                items = [one.item for one in kept]
                table = catalogue_table(predictor.scheme, items, answers, sets, answering.extras, seen)
                tables.append(_with_places(table, [values[rows] for values in places]))
    if left_out:
        note(f"{mosaics[0].name}: {left_out} sources are left out, for half of their cutout has no pixels")
    if not tables:
        raise MorphoscopeError(f"{mosaics[0].name}: no source was detected")
    return pa.concat_tables(tables), mosaics


def _with_places(table: pa.Table, values: Sequence[np.ndarray]) -> pa.Table:
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
) -> None:
    """Write the table of :func:`classify_picture` or :func:`classify_mosaic` with its provenance."""
    target = target_of(out)
    check_output(target, overwrite=overwrite)
    sets = sets_of(predictor, coverage, per_class=per_class)
    provenance = provenance_of(predictor, name, stretch=stretch, crop=None, sets=sets)
    provenance |= FullColumns(predictor).provenance
    write_catalogue(target, table, provenance)
