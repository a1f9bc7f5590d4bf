"""The application: its routes, its static files, and errors as one sentence."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse
from starlette.staticfiles import StaticFiles

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.explorer import charts, classify, comparison, galaxy, gallery, labelling, sharing
from morphoscope.explorer.pictures import MissingPicture
from morphoscope.explorer.security import App, Guard
from morphoscope.explorer.server import Request
from morphoscope.explorer.state import NoSuchGalaxy, State

_STATUS: dict[type[MorphoscopeError], int] = {
    MissingPicture: 404,
    NoSuchGalaxy: 404,
    classify.NoSuchUpload: 404,
    classify.TooLarge: 413,
    UsageError: 400,
}
STATIC = Path(__file__).parent / "static"


def create_app(request: Request, *, token: str = "", framed: bool = False) -> tuple[App, Callable[[], None]]:
    """The application that serves a request, and a function that removes its temporary files.

    Args:
        request: what is explored.
        token: that a browser must have; empty: none is needed.
        framed: a notebook of this machine may show the page in a frame.

    Raises:
        UsageError: the source is of no known kind.
        MorphoscopeError: it is damaged.
    """
    state = State.open(request)
    if request.compare is not None:
        try:
            state.compared = comparison.add_other(state.subject, request.compare)
        except BaseException:
            state.close()
            raise
    # No pages about the interface: they would load their scripts from elsewhere.
    app = FastAPI(title="Morphoscope explorer", docs_url=None, redoc_url=None, openapi_url=None)
    _explain_errors(app)
    for module in (charts, classify, comparison, gallery, galaxy, labelling, sharing):
        app.include_router(module.router(state), prefix="/api")

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    app.mount("/static", _Fresh(directory=STATIC), name="static")
    return Guard(app, hosts=_names(request.host), token=token, framed=framed), state.close


class _Fresh(StaticFiles):
    """Files that a browser asks for again when the program has been updated."""

    def file_response(self, *arguments: Any, **options: Any):
        response = super().file_response(*arguments, **options)
        response.headers["cache-control"] = "no-cache"
        return response


def _names(host: str) -> tuple[str, ...]:
    """The names under which a server that listens at an address is asked."""
    if host not in ("0.0.0.0", "::"):
        return (host,)
    name = socket.gethostname()
    found = {name, socket.getfqdn()}
    with contextlib.suppress(OSError):
        found |= {str(address[4][0]) for address in socket.getaddrinfo(name, None)}
    return tuple(found)


def _explain_errors(app: FastAPI) -> None:
    def answer(status: int, sentence: str) -> JSONResponse:
        return JSONResponse({"error": sentence}, status)

    @app.exception_handler(MorphoscopeError)
    def failed(_: HttpRequest, error: MorphoscopeError) -> JSONResponse:
        status = next((number for kind, number in _STATUS.items() if isinstance(error, kind)), 422)
        return answer(status, str(error))

    @app.exception_handler(RequestValidationError)
    def invalid(_: HttpRequest, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        parts = [str(part) for part in first["loc"][1:] if not isinstance(part, int)]  # no place in a text
        where = ".".join(parts) or "the request"
        return answer(400, f"{where}: {first['msg'][:200]}")

    @app.exception_handler(HTTPException)
    def refused(_: HttpRequest, error: HTTPException) -> JSONResponse:
        words = {404: "there is nothing at this address", 405: "this address does not take such a request"}
        return answer(error.status_code, words.get(error.status_code, str(error.detail)))

    @app.exception_handler(Exception)
    def broken(_: HttpRequest, error: Exception) -> JSONResponse:
        return answer(500, f"the explorer failed ({type(error).__name__}); its terminal says where")
