"""From FITS images to a catalogue of measured shapes, on all cores.

Images are read by the same code as for predictions, and measured before any stretch; a picture that is
stretched already, such as a JPEG, is refused. Threads read, processes measure; rows keep the order of the
input.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Generator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from morphoscope.catalogue.formats.table_schema import Extent
from morphoscope.catalogue.formats.write import check_output, target_of, write_tables
from morphoscope.catalogue.inputs.open import Images, open_input, open_request
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.extras import need
from morphoscope.images.bands import parse_bands
from morphoscope.images.mosaic import open_mosaics
from morphoscope.images.stream import Item, in_order
from morphoscope.images.stretch import measured_values
from morphoscope.labels.scheme import Column
from morphoscope.measurement.shapes import SHAPE_COLUMNS, Bands, ShapeSettings, measure_shape
from morphoscope.processes import available_cores
from morphoscope.progress import Bar, note
from morphoscope.version import __version__

NO_FLUXES = "is a stretched picture; shapes are measured on fluxes, as FITS has them"
_BATCH = 4096
_PLACE = (
    Column("id", pa.string(), "name of the galaxy", ucd="meta.id;meta.main"),
    Column("source", pa.string(), "where the image came from"),
    Column("ra", pa.float64(), "right ascension (ICRS)", "deg", "pos.eq.ra;meta.main"),
    Column("dec", pa.float64(), "declination (ICRS)", "deg", "pos.eq.dec;meta.main"),
    Column("band", pa.string(), "band whose shape was measured", ucd="instr.filter"),
)
_END = (
    Column(
        "flag", pa.int32(), "statmorph's: 0 good, 1 suspect, 2 bad, 4 nothing measured", ucd="meta.code.qual"
    ),
    Column("reason", pa.string(), "why nothing was measured; empty if something was"),
)


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
        settings: how shapes are measured.
        workers: processes; None: one per core. With 1 everything happens in this process.
        overwrite: replace a table that is there.
    """

    source: Path | str
    out: Path | str
    bands: Sequence[str] | str | None = None
    image_column: str | None = None
    sources: Path | str | None = None
    cutout_arcsec: float | None = None
    settings: ShapeSettings = field(default_factory=ShapeSettings)
    workers: int | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class MeasureSummary:
    """What came of it.

    Attributes:
        flags: galaxies with each flag.
        seconds: that it took.
    """

    flags: dict[int, int]
    seconds: float

    @property
    def galaxies(self) -> int:
        """All of them."""
        return sum(self.flags.values())

    @property
    def measured(self) -> int:
        """Those with numbers."""
        return self.galaxies - self.flags.get(4, 0)


def measure_catalogue(request: MeasureRequest) -> MeasureSummary:
    """Measure the galaxy in the middle of every image of an input.

    Raises:
        UsageError: the input has no fluxes, or the request is wrong; raised before anything is measured.
        MorphoscopeError: no galaxy could be measured, or the disk is full.
    """
    need(("statmorph", "photutils", "skimage"), "measure", "measuring shapes")
    if request.settings.seconds <= 0 or request.settings.threshold <= 0:
        raise UsageError("--seconds and --threshold: numbers above 0 were expected")
    target = target_of(request.out)
    check_output(target, overwrite=request.overwrite)
    images = _open(request)
    began = time.monotonic()
    rows: list[dict[str, Any]] = []
    tables: list[pa.Table] = []
    with Bar("measuring", images.count, "galaxies") as bar, closing(_measured(images, request)) as measured:
        for row in measured:
            if not rows and not tables and row.get("reason", "").endswith(NO_FLUXES):
                raise UsageError(f"{request.source}: {row['source']} {NO_FLUXES}")
            rows.append(row)
            bar.advance()
            if len(rows) == _BATCH:
                tables.append(pa.Table.from_pylist(rows))
                rows = []
    tables.append(pa.Table.from_pylist(rows))
    table = pa.concat_tables(tables, promote_options="permissive")
    if not table.num_rows:
        raise MorphoscopeError(f"{request.source}: holds no images, so nothing was written")
    table = _typed(table)
    flags = Counter(table["flag"].to_pylist())
    if set(flags) == {4}:
        raise MorphoscopeError(
            f"{request.source}: none of {table.num_rows} galaxies could be measured (the first, "
            f"{table['source'][0]}: {table['reason'][0]})"
        )
    target.check(table.schema)
    write_tables(target, [table], table.schema, _provenance(request), Extent.of(table))
    return MeasureSummary(dict(sorted(flags.items())), time.monotonic() - began)


def _typed(table: pa.Table) -> pa.Table:
    """The columns in their order: place, shape, colours, flag and reason."""
    fixed = [column.field for column in (*_PLACE, *SHAPE_COLUMNS, *_END)]
    own = {each.name for each in fixed}
    extra = [
        Column(name, pa.float64(), "colour within the galaxy's segment", "mag", "phot.color").field
        for name in sorted(set(table.schema.names) - own)
    ]
    fields = [*fixed[: -len(_END)], *extra, *fixed[-len(_END) :]]
    empty = pa.nulls(table.num_rows)
    there = set(table.schema.names)
    columns = [(table[each.name] if each.name in there else empty).cast(each.type) for each in fields]
    return pa.table(columns, schema=pa.schema(fields))


def _provenance(request: MeasureRequest) -> dict[str, str]:
    from importlib.metadata import version

    settings = request.settings
    return {
        "program": "morphoscope",
        "program_version": __version__,
        "source": str(request.source),
        "measured_by": f"statmorph {version('statmorph')}, photutils {version('photutils')}",
        "threshold": f"{settings.threshold:g} noises of the sky",
        "gain": "sky noise alone" if settings.gain is None else f"{settings.gain:g} electrons per unit",
        "time_limit": f"{settings.seconds:g} s",
    }


def _open(request: MeasureRequest) -> Images:
    bands = tuple(parse_bands(request.bands) if request.bands else ())
    if request.sources is None:
        if request.cutout_arcsec is not None:
            raise UsageError("--cutout-arcsec says how to cut sources out of a mosaic; --sources is missing")
        return open_input(request.source, image_column=request.image_column, bands=bands)
    from morphoscope.runs.run import StoreFacts

    if request.cutout_arcsec is None:
        raise UsageError("--sources needs --cutout-arcsec, the side of the cutouts")
    mosaic = open_mosaics(str(request.source), bands)[0]
    side = _native_side(mosaic, request.cutout_arcsec)
    facts = StoreFacts.model_validate(
        {"name": "", "path": "", "image_shape": (side, side, 3), "size": side, "pixel_scale": None}
    )
    wanted = CatalogueRequest(
        request.source, request.out, bands=bands, sources=request.sources, cutout_arcsec=request.cutout_arcsec
    )
    return open_request(wanted, facts, stretch="lupton")


def _native_side(mosaic: Any, arcsec: float) -> int:
    """Pixels of the mosaic along a side, so that cutouts are not resampled to others."""
    import numpy as np

    height, width = mosaic.shape
    ra, dec = mosaic.positions_of(np.array([width / 2]), np.array([height / 2]))
    steps = mosaic.pixels_per_arcsec(ra, dec)[0]
    return max(16, round(arcsec * float(np.sqrt(abs(np.linalg.det(steps))))))


def _measured(images: Images, request: MeasureRequest) -> Generator[dict[str, Any]]:
    workers = request.workers or available_cores()
    with ExitStack() as stack:
        pool: Executor | None = None
        if workers > 1:
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=context))
        settings = request.settings

        def one(item: Item) -> dict[str, Any]:
            bands = _bands_of(item)
            if isinstance(bands, str):
                shape: dict[str, Any] = {"flag": 4, "reason": bands}
            elif pool is None:
                shape = measure_shape(bands, settings)
            else:
                shape = pool.submit(measure_shape, bands, settings).result()
            name = "" if isinstance(bands, str) else bands.name
            place = item.coordinates
            return {
                "id": str(item.row.get("id")),
                "source": item.source,
                "ra": place.get("ra"),
                "dec": place.get("dec"),
                "band": name or None,
                **shape,
            }

        try:
            if pool is None:
                yield from map(one, images.items)  # in this thread, where a time limit can be kept
            else:
                yield from stack.enter_context(closing(in_order(one, images.items, workers)))
        except BrokenProcessPool as error:
            raise MorphoscopeError(
                "a process that measures was ended from outside, perhaps for want of memory; choose fewer "
                "--workers"
            ) from error


def _bands_of(item: Item) -> Bands | str:
    """The fluxes of an image, or why there are none."""
    try:
        with measured_values() as values:
            item.load()
    except MorphoscopeError as error:
        return str(error).removeprefix(f"{item.source}: ")
    if not values:
        return f"the image {NO_FLUXES}"
    return Bands(*values[-1])


def note_summary(done: MeasureSummary, out: Path | str, cores: int) -> None:
    """Say what came of it."""
    flags = ", ".join(f"{count} with flag {flag}" for flag, count in done.flags.items())
    rate = done.galaxies / max(done.seconds, 1e-9) / cores
    note(f"{done.measured} of {done.galaxies} galaxies measured → {out} ({flags}; {rate:.1f}/s per core)")
