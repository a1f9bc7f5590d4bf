"""Routes that hand a view on: its rows as Parquet, CSV or VOTable, or to another program by SAMP."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from fastapi import APIRouter, Query
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, JSONResponse

from morphoscope.catalogue.formats.table_schema import Extent
from morphoscope.catalogue.formats.write import target_of, write_tables
from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean
from morphoscope.explorer.state import InAddress, State
from morphoscope.explorer.table import ROW, View
from morphoscope.report.formatting import plural

FORMATS = {
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv; charset=utf-8",
    "votable": "application/x-votable+xml",
}
_ENDINGS = {"parquet": ".parquet", "csv": ".csv", "votable": ".vot"}
_PIECE = 20_000  # rows written at a time


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter()

    @routes.get("/export")
    def export(asked: InAddress, kind: Annotated[str, Query(alias="format")] = "parquet") -> FileResponse:
        if kind not in FORMATS:
            raise UsageError(f"there is no format '{kind}'{did_you_mean(kind, FORMATS, 'formats')}")
        path = write_view(state, state.view(asked), kind, asked.filter)
        name = f"{_file_name(state.subject.path.stem)}-selection{_ENDINGS[kind]}"
        remove = BackgroundTask(shutil.rmtree, path.parent, ignore_errors=True)
        return FileResponse(path, media_type=FORMATS[kind], filename=name, background=remove)

    @routes.post("/samp")
    def samp(asked: InAddress) -> JSONResponse:
        view = state.view(asked)
        path = write_view(state, view, "votable", asked.filter)
        title = f"{state.subject.name} ({plural(len(view), 'galaxy', 'galaxies')})"
        return JSONResponse({"programs": state.samp.send_table(path, title)})

    return routes


def write_view(state: State, view: View, kind: str, expression: str) -> Path:
    """Write the rows of a view to a temporary file, which whoever asked removes.

    Raises:
        MorphoscopeError: no row passes, or the disk is full.
    """
    if not len(view):
        raise MorphoscopeError("no galaxy passes the filter, so there is nothing to write")
    schema, extent = _schema(state, view), Extent()
    for piece in _pieces(state, view, schema):
        extent += Extent.of(piece)
    folder = Path(tempfile.mkdtemp(dir=state.subject.table.folder))
    target = target_of(folder / f"selection{_ENDINGS[kind]}")
    said = {**state.subject.provenance, "selected_from": state.subject.name, "selected_by": expression}
    write_tables(target, _pieces(state, view, schema), schema, said, extent)
    return target.path


def _columns(state: State) -> str:
    names = [name for name in state.subject.table.kinds if name != ROW]
    return ", ".join(state.subject.table.need(name) for name in names)


def _pieces(state: State, view: View, schema: pa.Schema) -> Iterator[pa.Table]:
    table, columns = state.subject.table, _columns(state)
    for start in range(0, len(view), _PIECE):
        numbers = view.page(start, _PIECE)
        at = ", ".join(map(str, numbers)) or "-1"
        piece = table.arrow(f"SELECT {ROW}, {columns} FROM galaxies WHERE {ROW} IN ({at})")
        piece = piece.take(_order(piece[ROW].to_pylist(), numbers)).drop_columns([ROW])
        yield piece.cast(schema)


def _order(found: list[int], wanted: list[int]) -> pa.Array:
    where = {row: at for at, row in enumerate(found)}
    return pa.array([where[row] for row in wanted], pa.int64())


def _schema(state: State, view: View) -> pa.Schema:
    table = state.subject.table
    found = table.arrow(f"SELECT {_columns(state)} FROM galaxies LIMIT 0").schema
    described = {column.name: column for column in table.columns}
    fields = []
    for field in found:
        said: dict[str, Any] = {}
        column = described[field.name]
        if column.description:
            said["description"] = column.description
        if column.unit:
            said["unit"] = column.unit
        kind = field.type
        if pa.types.is_boolean(kind):  # which not every format has
            kind, said["description"] = pa.int16(), f"{column.description or field.name} (1: yes, 0: no)"
        elif pa.types.is_integer(kind) and kind not in (pa.int16(), pa.int32(), pa.int64()):
            kind = pa.int64()
        fields.append(pa.field(field.name, kind, metadata=said or None))
    return pa.schema(fields)


def _file_name(stem: str) -> str:
    return re.sub(r"[^\w.-]+", "-", stem, flags=re.ASCII).strip("-.") or "galaxies"
