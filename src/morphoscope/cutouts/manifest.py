"""The manifest of a folder of cutouts: a table that ``data ingest table`` and ``predict`` read.

One row for each row of the table of positions, in its order, whether there is an image or not.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from morphoscope import files
from morphoscope.cutouts.fetch import CutoutSource
from morphoscope.cutouts.folder import (
    FAILED,
    FETCHED,
    INVALID,
    MANIFEST,
    OUTSIDE,
    PENDING,
    CutoutFolder,
    Outcome,
)
from morphoscope.cutouts.targets import Target, Targets
from morphoscope.errors import UsageError
from morphoscope.images.table_csv import typed
from morphoscope.images.tables import is_text_table
from morphoscope.version import __version__

_ORDER = (FETCHED, OUTSIDE, FAILED, INVALID, PENDING)
_TEXT, _NUMBER = pa.string(), pa.float64()


def _field(name: str, kind: pa.DataType, description: str, unit: str = "", ucd: str = "") -> pa.Field:
    about = {"description": description, "unit": unit, "ucd": ucd}
    return pa.field(name, kind, metadata={key: text for key, text in about.items() if text})


_BEFORE = (
    _field("id", _TEXT, "name of the galaxy, as in the table of positions", ucd="meta.id;meta.main"),
    _field("ra", _NUMBER, "right ascension (ICRS)", "deg", "pos.eq.ra;meta.main"),
    _field("dec", _NUMBER, "declination (ICRS)", "deg", "pos.eq.dec;meta.main"),
)
_AFTER = (
    _field("status", _TEXT, "fetched, outside (the footprint), failed, invalid (no position) or pending"),
    _field("reason", _TEXT, "why there is no image"),
    _field("arcsec", _NUMBER, "side of the cutout", "arcsec", "phys.angSize"),
    _field("pixels", pa.int32(), "side of the cutout", "pix"),
    _field("galaxy_arcsec", _NUMBER, "diameter of the galaxy in a wide cutout", "arcsec", "phys.angSize"),
    _field("survey", _TEXT, "service, as --survey names it"),
    _field("fetched_at", _TEXT, "when, UTC", ucd="time.processing"),
)


def file_column(band: str) -> str:
    """The column with the files of a band; of all bands where they share a file."""
    return f"file_{band}" if band else "file"


def check_kept(targets: Targets, source: CutoutSource) -> None:
    """Refuse columns to keep that have the name of one of the manifest's own.

    Raises:
        UsageError: one has.
    """
    own = {each.name for each in (*_BEFORE, *_AFTER)} | {file_column(band) for band in source.file_bands}
    for name in targets.columns.kept if targets.columns else ():
        if name in own:
            raise UsageError(f"--keep-column {name}: the manifest has a column of this name already")


def write_manifest(folder: CutoutFolder, targets: Targets, source: CutoutSource) -> dict[str, int]:
    """Write the manifest, and count the rows of each status.

    Args:
        folder: with what was fetched.
        targets: the rows.
        source: says which files a cutout has.
    """
    of_files = [
        _field(file_column(band), _TEXT, f"image{f' in {band}' if band else ''}, relative to this table")
        for band in source.file_bands
    ]
    fields = [*_BEFORE, *of_files, *_AFTER]
    kept_names = targets.columns.kept if targets.columns else ()
    values: dict[str, list[Any]] = {each.name: [] for each in fields}
    kept = []
    for piece in targets.rows():
        for identity, target in zip(piece.ids, targets.of(piece), strict=True):
            _append(values, identity, target, _outcome(folder, target), source)
        if piece.kept is not None:
            kept.append(piece.kept)
    arrays = [pa.array(values[each.name], each.type) for each in fields]
    table = _with_integer_ids(pa.table(arrays, schema=pa.schema(fields)), targets)
    for name in kept_names:
        column = pa.concat_tables(kept).column(name)
        text = targets.request.table is not None and is_text_table(files_path(targets))
        table = table.append_column(name, typed(column) if text else column)
    about = {f"morphoscope.{name}": str(text) for name, text in folder.header.items() if text}
    about["morphoscope.program_version"] = __version__
    with files.atomic_file(folder.path / MANIFEST) as partial:
        pq.write_table(table.replace_schema_metadata(about), partial, compression="zstd")
    counts = Counter(values["status"])
    return {status: counts[status] for status in _ORDER if counts[status]}


def _outcome(folder: CutoutFolder, target: Target) -> Outcome:
    if not target.key:
        return Outcome(INVALID, target.reason)
    found = folder.outcomes.get(target.key)
    return Outcome(PENDING, "not asked for yet") if found is None else found


def _append(
    values: dict[str, list[Any]], identity: str, target: Target, outcome: Outcome, source: CutoutSource
) -> None:
    names = dict(outcome.names)
    arcsec = target.arcsec if outcome.arcsec is None else outcome.arcsec
    row = {
        "id": identity,
        "ra": target.ra if target.key else None,
        "dec": target.dec if target.key else None,
        "status": outcome.status,
        "reason": outcome.reason or None,
        "arcsec": arcsec if target.key else None,
        "galaxy_arcsec": outcome.diameter,
        "fetched_at": outcome.at or None,
        **{file_column(band): names.get(band) for band in source.file_bands},
        "pixels": source.pixels_of(arcsec) if target.key else None,
        "survey": source.service.name,
    }
    for name, value in row.items():
        values[name].append(value)


def _with_integer_ids(table: pa.Table, targets: Targets) -> pa.Table:
    """Ids that are integers in the table of positions are integers here, so that the two can be joined."""
    if not targets.integer_ids:
        return table
    return table.set_column(0, table.schema.field(0).with_type(pa.int64()), table[0].cast(pa.int64()))


def files_path(targets: Targets) -> Any:
    """The first file of a table of positions."""
    assert targets.columns is not None
    return targets.columns.files[0]
