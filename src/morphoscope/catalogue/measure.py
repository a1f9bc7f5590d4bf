"""From FITS images to a catalogue of measured shapes, on all cores.

Threads read, processes measure (:mod:`morphoscope.catalogue.shapes`); rows keep the order of the input, and
are stored in parts as those of a prediction are (:mod:`morphoscope.catalogue.checkpoint`).
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from morphoscope import files
from morphoscope.catalogue.checkpoint import Journal, was_placed
from morphoscope.catalogue.detection.detect import MIN_AREA
from morphoscope.catalogue.formats.table_schema import Extent
from morphoscope.catalogue.formats.write import check_output, target_of, written
from morphoscope.catalogue.inputs.open import Images, open_input
from morphoscope.catalogue.measure_mosaic import at_positions, detected
from morphoscope.catalogue.pipeline import Batch, Stamps, stamp_of
from morphoscope.catalogue.predict import kept_if_interrupted, not_yet_done
from morphoscope.catalogue.rows import Remaining
from morphoscope.catalogue.shapes import (
    BAND,
    FLAG,
    NO_FLUXES,
    REASON,
    colour,
    measuring,
    shape_provenance,
    with_fluxes,
)
from morphoscope.errors import CannotContinue, MorphoscopeError, UsageError
from morphoscope.extras import need
from morphoscope.images.bands import parse_bands
from morphoscope.images.file_names import writable
from morphoscope.images.stream import Item, in_order
from morphoscope.labels.scheme import Column
from morphoscope.measurement.shapes import SHAPE_COLUMNS, Bands, ShapeSettings
from morphoscope.processes import available_cores
from morphoscope.progress import Bar, note
from morphoscope.version import __version__

_PLACE = (
    Column("id", pa.string(), "name of the galaxy", ucd="meta.id;meta.main"),
    Column("source", pa.string(), "where the image came from"),
    Column("ra", pa.float64(), "right ascension (ICRS)", "deg", "pos.eq.ra;meta.main"),
    Column("dec", pa.float64(), "declination (ICRS)", "deg", "pos.eq.dec;meta.main"),
    BAND,
)
_COLOURS = "colours"  # JSON in the journal: which there are is only known at the end
_LARGE = 1500  # pixels along both sides of an image from which it is remarked that one galaxy is measured


@dataclass(frozen=True)
class MeasureRequest:
    """What is measured.

    Attributes:
        source: FITS images in any form that ``predict`` reads; with ``sources``, a FITS mosaic.
        out: the table; its ending says the format.
        bands: as for ``predict``.
        image_column: as for ``predict``.
        sources: a table of positions on the mosaic.
        cutout_arcsec: side of the cutouts round them.
        detect: ``source`` is a FITS mosaic, of which every source is measured.
        min_area: least pixels of such a source.
        settings: how shapes are measured.
        workers: processes; None: one per core. With 1 everything happens in this process.
        resume: continue an interrupted table of the same name and request, if there is one.
        overwrite: replace a table that is there.
    """

    source: Path | str
    out: Path | str
    bands: Sequence[str] | str | None = None
    image_column: str | None = None
    sources: Path | str | None = None
    cutout_arcsec: float | None = None
    detect: bool = False
    min_area: int = MIN_AREA
    settings: ShapeSettings = field(default_factory=ShapeSettings)
    workers: int | None = None
    resume: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class MeasureSummary:
    """What came of it.

    Attributes:
        flags: galaxies with each flag.
        seconds: that it took, in this session.
        resumed: galaxies measured by an earlier, interrupted session.
    """

    flags: dict[int, int]
    seconds: float
    resumed: int = 0

    @property
    def galaxies(self) -> int:
        """All of them."""
        return sum(self.flags.values())

    @property
    def measured(self) -> int:
        """Those with numbers."""
        return self.galaxies - self.flags.get(4, 0)


def measure_catalogue(request: MeasureRequest) -> MeasureSummary:
    """Measure the galaxy in the middle of every image of an input; a kill loses at most half a minute's work.

    Raises:
        UsageError: the input has no fluxes, or the request is wrong; raised before anything is measured. Or
            ``resume`` was asked for, and the request or the input has changed.
        MorphoscopeError: no galaxy could be measured, or the disk is full.
    """
    need(("statmorph", "photutils", "skimage"), "measure", "measuring shapes")
    if request.min_area < 1:
        raise UsageError(f"--min-area {request.min_area}: at least 1 pixel was expected")
    if request.settings.seconds <= 0 or request.settings.threshold <= 0:
        raise UsageError("--seconds and --threshold: numbers above 0 were expected")
    target = target_of(request.out)
    out = target.path
    check_output(target, overwrite=request.overwrite or (request.resume and was_placed(out)))
    images = _open(request)
    place = (*_PLACE, *images.extras) if request.detect else _PLACE
    journal = Journal(out, _journal_schema(place), _provenance(request))
    began = time.monotonic()
    with files.explained_os_errors(out, "what was done is kept. Free some room, then continue with --resume"):
        journal.open(resume=request.resume, afresh=request.overwrite)
        with kept_if_interrupted(journal):
            remaining = not_yet_done(images, journal, lambda: _open(request))
            resumed = journal.done
            _fill(journal, remaining, request, place)
            if not journal.done:
                raise MorphoscopeError(f"{request.source}: holds no images, so nothing was written")
            table = _with_colours(pa.concat_tables(journal.tables()), place)
            flags = Counter(table["flag"].to_pylist())
            if set(flags) == {4}:
                journal.discard()
                raise MorphoscopeError(
                    f"{request.source}: none of {table.num_rows} galaxies could be measured (the first, "
                    f"{table['source'][0]}: {table['reason'][0]})"
                )
            target.check(table.schema)
            extent = Extent.of(table)
            with written(target, journal.result, table.schema, journal.provenance, extent) as writer:
                writer.write(table)
            journal.announce()
            target.put_in_place(journal.result)
            journal.discard()
    return MeasureSummary(dict(sorted(flags.items())), time.monotonic() - began, resumed)


def _journal_schema(place: Sequence[Column]) -> pa.Schema:
    columns = (*place, *SHAPE_COLUMNS, FLAG, REASON)
    return pa.schema([*(column.field for column in columns), pa.field(_COLOURS, pa.string())])


def _fill(journal: Journal, remaining: Remaining, request: MeasureRequest, place: Sequence[Column]) -> None:
    """Measure the galaxies that are not in the journal yet, and store their rows as they come."""
    digest = remaining.digest
    with (
        Bar("measuring", remaining.count, "galaxies", done=journal.done) as bar,
        closing(_measured(remaining.items, request, [column.name for column in place])) as measured,
    ):
        for item, stamp, row in measured:
            if not journal.done and (row["reason"] or "").endswith(NO_FLUXES):
                raise UsageError(f"{request.source}: {row['source']} {NO_FLUXES}")
            digest.add(item)
            known = {name: row.pop(name, None) for name in journal.schema.names if name != _COLOURS}
            known[_COLOURS] = json.dumps(row, sort_keys=True) if row else None
            table = pa.Table.from_pylist([known], schema=journal.schema)
            journal.add(table, Batch(stop=digest.count, digest=digest.hex, stamps=stamp))
            bar.advance()
    journal.commit()


def _with_colours(table: pa.Table, place: Sequence[Column]) -> pa.Table:
    """The columns in their order: place, shape, colours, flag and reason."""
    colours = [json.loads(text) if text else {} for text in table[_COLOURS].to_pylist()]
    further = [colour(name) for name in sorted({name for each in colours for name in each})]
    ends = [FLAG.field, REASON.field]
    fields = [*(column.field for column in (*place, *SHAPE_COLUMNS, *further)), *ends]
    values = {
        column.name: pa.array([each.get(column.name) for each in colours], column.kind) for column in further
    }
    columns = [values[each.name] if each.name in values else table[each.name] for each in fields]
    return pa.table(columns, schema=pa.schema(fields))


def _provenance(request: MeasureRequest) -> dict[str, str]:
    bands = parse_bands(request.bands) if request.bands else ()
    options = {
        "bands": ",".join(bands),
        "sources": "" if request.sources is None else str(request.sources),
        "cutout_arcsec": "" if request.cutout_arcsec is None else f"{request.cutout_arcsec:g}",
        "detected": f"sources of {request.min_area} pixels or more" if request.detect else "",
    }
    return {
        "program": "morphoscope",
        "program_version": __version__,
        "source": str(request.source),
        **shape_provenance(request.settings),
        **{name: text for name, text in options.items() if text},
    }


def _open(request: MeasureRequest) -> Images:
    bands, source = tuple(parse_bands(request.bands) if request.bands else ()), str(request.source)
    if request.detect:
        for name, value in (
            ("--sources", request.sources),
            ("--cutout-arcsec", request.cutout_arcsec),
            ("--image-column", request.image_column),
        ):
            if value is not None:
                raise UsageError(f"--detect finds the sources of a mosaic itself; leave out {name}")
        return detected(source, bands, request.min_area)
    if request.sources is not None:
        if request.image_column is not None:
            raise UsageError("--image-column does not go with --sources")
        if request.cutout_arcsec is None:
            raise UsageError("--sources needs --cutout-arcsec, the side of the cutouts")
        return at_positions(source, bands, request.sources, request.cutout_arcsec)
    if request.cutout_arcsec is not None:
        raise UsageError("--cutout-arcsec says how to cut sources out of a mosaic; --sources is missing")
    return open_input(request.source, image_column=request.image_column, bands=bands)


def _measured(
    items: Iterable[Item], request: MeasureRequest, places: Sequence[str]
) -> Generator[tuple[Item, Stamps, dict[str, Any]]]:
    """Each galaxy with the fingerprint of its files and its row, in the order of the input."""
    workers = request.workers or available_cores()
    remarked = request.detect or request.sources is not None
    with measuring(workers, request.settings) as measure:

        def one(item: Item) -> tuple[Item, Stamps, dict[str, Any]]:
            stamp, bands = stamp_of(item), _bands_of(item)
            shape = {"flag": 4, "reason": bands} if isinstance(bands, str) else measure(bands)
            name = "" if isinstance(bands, str) else bands.name
            place = item.coordinates
            nonlocal remarked
            if not remarked and not isinstance(bands, str):
                remarked = _remark_on_size(item.source, bands)
            row = {
                **{name: item.row.get(name) for name in places},
                "id": writable(str(item.row.get("id"))),
                "source": writable(item.source),
                "ra": place.get("ra"),
                "dec": place.get("dec"),
                "band": name or None,
                **shape,
            }
            return item, stamp, row

        if workers == 1:
            yield from map(one, items)  # in this thread, where a time limit can be kept
        else:
            with closing(in_order(one, items, workers)) as rows:
                yield from rows


def _remark_on_size(source: str, bands: Bands) -> bool:
    """Say that of an image as large as a mosaic one galaxy is measured; returns whether it was said."""
    height, width = bands.planes[0].shape
    if min(height, width) < _LARGE:
        return False
    note(
        f"{source}: of {width}×{height} pixels only the galaxy in the middle is measured; --detect measures "
        "every source of a mosaic"
    )
    return True


def _bands_of(item: Item) -> Bands | str:
    """The fluxes of an image, or why there are none."""
    try:
        _, bands = with_fluxes(item.load)
    except CannotContinue:
        raise
    except MorphoscopeError as error:
        return str(error).removeprefix(f"{item.source}: ")
    return bands or f"the image {NO_FLUXES}"


def note_summary(done: MeasureSummary, out: Path | str, cores: int) -> None:
    """Say what came of it."""
    flags = ", ".join(f"{count} with flag {flag}" for flag, count in done.flags.items())
    rate = (done.galaxies - done.resumed) / max(done.seconds, 1e-9) / cores
    note(f"{done.measured} of {done.galaxies} galaxies measured → {out} ({flags}; {rate:.1f}/s per core)")
