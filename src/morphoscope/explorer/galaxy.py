"""Routes of one galaxy: its values, votes and links; maps of where the network looks; galaxies like it."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from starlette.responses import JSONResponse

from morphoscope.errors import UsageError
from morphoscope.explorer.feature_maps import NO_FEATURES
from morphoscope.explorer.gallery import CAPTION
from morphoscope.explorer.network import METHODS
from morphoscope.explorer.quantities import Measurements
from morphoscope.explorer.state import State
from morphoscope.explorer.thumbnails import png
from morphoscope.explorer.votes import votes_of
from morphoscope.images.decode import is_fits_name
from morphoscope.images.stretch import STRETCHES
from morphoscope.inference.preprocess import framing_of
from morphoscope.labels.classes import probability_column
from morphoscope.metrics.conformal import SEPARATOR

MOST_NEIGHBOURS = 60
# The addresses of survey viewers, which only a person opens.
_VIEWERS = {
    "Legacy Surveys": "https://www.legacysurvey.org/viewer?ra={ra}&dec={dec}&layer=ls-dr10&zoom=15&mark={ra},{dec}",
    "SDSS": "https://skyserver.sdss.org/dr18/VisualTools/navi?ra={ra}&dec={dec}",
    "Aladin Lite": "https://aladin.cds.unistra.fr/AladinLite/?target={both}&fov=0.03",
    "SIMBAD": "https://simbad.cds.unistra.fr/simbad/sim-coo?Coord={both}&CooFrame=ICRS&Radius=10&Radius.unit=arcsec",
    "NED": "https://ned.ipac.caltech.edu/conesearch?search_type=Near%20Position%20Search&coordinates={ra}d%20{dec}d&radius=0.2",
}


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter()
    subject = state.subject
    measurements = Measurements(subject.table)

    @routes.get("/galaxy/{row}")
    def galaxy(row: int) -> JSONResponse:
        values = state.values(row)
        return JSONResponse(
            {
                "row": row,
                "id": values["id"],
                "values": values,
                "probabilities": _probabilities(state, values),
                "set": _parts(values.get("set"), SEPARATOR) or None,
                "quality": _parts(values.get("quality"), "; "),
                "votes": votes_of(subject.scheme, values),
                "measurements": measurements.of(values),
                "links": links(values.get("ra"), values.get("dec")),
                "picture": _picture(state, values),
                "calibration": subject.provenance.get("calibration", ""),
                "methods": list(METHODS),
                "targets": list(subject.scheme.output_names) if subject.scheme is not None else [],
                "missing": {
                    "maps": state.network.why_no_maps,
                    "neighbours": "" if subject.embedded is not None else NO_FEATURES,
                },
            }
        )

    @routes.get("/map/{row}")
    def attribution(row: int, method: str = "gradcam", target: str = "predicted") -> JSONResponse:
        image = state.network.seen(subject.pictures, state.place(row))
        scale = framing_of(subject.provenance)  # as for the prediction beside it
        return JSONResponse(map_document(state, image, method, target, scale))

    @routes.get("/neighbours/{row}")
    def neighbours(row: int, count: int = 12) -> JSONResponse:
        if not 1 <= count <= MOST_NEIGHBOURS:
            raise UsageError(f"count {count}: 1 to {MOST_NEIGHBOURS} galaxies were expected")
        state.place(row)
        if state.neighbours is None:
            raise UsageError(NO_FEATURES)
        found = state.neighbours.of_row(row, count)
        return JSONResponse({"galaxies": with_similarity(state, found), "exact": state.neighbours.exact})

    return routes


def map_document(
    state: State, image: Any, method: str, target: str, scale: str | None = None
) -> dict[str, Any]:
    """A map as the page draws it: what the network saw and where it looks, as data addresses."""
    found = state.network.map(image, method, target, scale)
    return {
        "image": data_address(png(found.image)),
        "map": data_address(png(found.values)),
        "side": found.side,
        "target": found.target,
        "dead": found.dead,
    }


def data_address(content: bytes) -> str:
    """A PNG as the address of an image."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def with_similarity(state: State, found: list[tuple[int, float]]) -> list[dict[str, Any]]:
    """Similar galaxies with what is written below their pictures."""
    table = state.subject.table
    columns = [name for name in CAPTION if table.has(name)]
    galaxies = table.rows([row for row, _ in found], columns)
    similarity = dict(found)
    return [{**galaxy, "similarity": similarity[galaxy["row"]]} for galaxy in galaxies]


def _parts(value: Any, separator: str) -> list[str]:
    """What a text lists; nothing of what is no text, as a column of this name in somebody else's table."""
    return [part for part in value.split(separator) if part] if isinstance(value, str) else []


def _probabilities(state: State, values: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    classes = state.subject.classes
    names = [probability_column(name) for name in classes]
    if not classes or not all(name in values for name in names):
        return None
    return [
        {"name": name, "column": column, "probability": values[column]}
        for name, column in zip(classes, names, strict=True)
    ]


def _picture(state: State, values: Mapping[str, Any]) -> dict[str, Any]:
    pictures = state.subject.pictures
    scale = values.get("pixel_scale") or pictures.pixel_scale
    fits = pictures.renders_fits and is_fits_name(str(values.get("source") or ""))
    return {
        "pixelScale": scale if isinstance(scale, int | float) else None,
        "northUp": values.get("orientation") is not None,
        "stretches": [name for name in STRETCHES if name != "as-served"] if fits else [],
    }


def links(ra: Any, dec: Any) -> list[dict[str, str]]:
    """Addresses of survey viewers at a position in degrees; none without one."""
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in (ra, dec)):
        return []
    if not (0 <= ra <= 360 and -90 <= dec <= 90):
        return []
    both = quote(f"{ra:.6f} {dec:+.6f}")
    return [
        {"name": name, "address": address.format(ra=f"{ra:.6f}", dec=f"{dec:.6f}", both=both)}
        for name, address in _VIEWERS.items()
    ]
