"""Routes of the gallery: what is explored, a page of a view, its thumbnails, one picture."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from morphoscope.errors import UsageError, did_you_mean
from morphoscope.explorer.pictures import NoPictures
from morphoscope.explorer.state import InAddress, NoSuchGalaxy, State, soon
from morphoscope.explorer.thumbnails import MOST_AT_ONCE, SIZES, jpeg, png, within
from morphoscope.images.stretch import STRETCHES
from morphoscope.version import __version__

MOST_ROWS = 500  # of a page
LARGEST_SENT = 2048  # pixels a side: larger pictures are shrunk
CAPTION = ("id", "predicted", "probability", "truth", "correct", "path")


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter()
    table = state.subject.table

    @routes.get("/subject")
    def subject() -> JSONResponse:
        return JSONResponse(describe(state))

    @routes.get("/page")
    async def page(asked: InAddress, start: int = 0, count: int = 60) -> Response:
        if not 0 <= count <= MOST_ROWS:
            raise UsageError(f"count {count}: at most {MOST_ROWS} galaxies a page were expected")
        columns = [name for name in CAPTION if table.has(name)]
        if asked.sort and asked.sort not in columns:
            columns.append(asked.sort)

        def answer() -> Response:
            view = state.view(asked)
            galaxies = table.rows(view.page(start, count), columns)
            return JSONResponse({"total": len(view), "start": max(0, start), "galaxies": galaxies})

        return await soon(state.has_at_hand(asked, columns), answer)

    @routes.get("/position")
    def position(asked: InAddress, row: int) -> JSONResponse:
        view = state.view(asked)
        at = view.position(row)
        before = view.page(at - 1, 1) if at else []
        after = view.page(at + 1, 1) if at is not None else []
        neighbours = {"previous": next(iter(before), None), "next": next(iter(after), None)}
        return JSONResponse({"position": at, "total": len(view), **neighbours})

    @routes.get("/find")
    def find(identity: Annotated[str, Query(alias="id")]) -> JSONResponse:
        row = table.find(identity)
        if row is None:
            raise NoSuchGalaxy(f"there is no galaxy with the id '{identity}'")
        return JSONResponse({"row": row})

    @routes.get("/thumbnails")
    async def thumbnails(rows: str, size: int = 128) -> Response:
        if size not in SIZES:
            raise UsageError(f"size {size}: one of {', '.join(map(str, SIZES))} was expected")
        numbers = _numbers(rows)

        def answer() -> Response:
            stream = state.thumbnails.pack(state.places(numbers), size)
            headers = {"cache-control": "private, max-age=600"}
            return Response(stream, media_type="application/octet-stream", headers=headers)

        at_hand = table.has_at_hand("", "", ("id", "source")) and state.thumbnails.has_at_hand(numbers, size)
        return await soon(at_hand, answer)

    @routes.get("/image/{row}")
    def image(row: int, stretch: str = "") -> Response:
        if stretch:
            check_shown(stretch)
        place = state.place(row)
        picture = state.subject.pictures.load(place, stretch=stretch)
        headers = {"cache-control": "private, max-age=600"}
        height, width = picture.shape[:2]
        headers["x-original-size"] = f"{width}x{height}"
        if max(height, width) > LARGEST_SENT:
            return Response(jpeg(within(picture, LARGEST_SENT), 92), media_type="image/jpeg", headers=headers)
        return Response(png(picture), media_type="image/png", headers=headers)

    return routes


def check_shown(stretch: str) -> None:
    """Refuse a stretch that makes no picture of three channels.

    Raises:
        UsageError: it is none.
    """
    if stretch not in STRETCHES:
        raise UsageError(f"no stretch '{stretch}'{did_you_mean(stretch, STRETCHES, 'stretches')}")


def describe(state: State) -> dict[str, Any]:
    """What the page has to know before it shows anything."""
    subject, table = state.subject, state.subject.table
    run = subject.run
    return {
        "name": subject.name,
        "kind": subject.kind,
        "version": __version__,
        "rows": table.count,
        "columns": [
            {"name": c.name, "kind": c.kind, "description": c.description, "unit": c.unit}
            for c in table.columns
        ],
        "classes": list(subject.classes),
        "pictures": not isinstance(subject.pictures, NoPictures),
        "picturesNote": subject.pictures.note,
        "pixelScale": subject.pictures.pixel_scale,
        "run": None if run is None else run.name,
        "provenance": subject.provenance,
        "features": subject.embedded is not None,
        "featureMap": state.request.feature_map,
        "compared": state.compared,
    }


def _numbers(rows: str) -> list[int]:
    """Row numbers separated by commas.

    Raises:
        UsageError: something else, or too many.
    """
    parts = [part for part in rows.split(",") if part]
    if len(parts) > MOST_AT_ONCE:
        raise UsageError(f"at most {MOST_AT_ONCE} thumbnails at once were expected, not {len(parts)}")
    if not all(part.isascii() and part.isdigit() and len(part) < 16 for part in parts):
        raise UsageError("rows: numbers separated by commas were expected")
    return list(map(int, parts))
