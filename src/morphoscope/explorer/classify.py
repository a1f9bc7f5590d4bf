"""Routes for an image that a person drops: classified at once, with maps and similar galaxies."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from fastapi import Request as HttpRequest
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.explorer.galaxy import data_address, map_document, with_similarity
from morphoscope.explorer.gallery import check_shown
from morphoscope.explorer.network import METHODS
from morphoscope.explorer.state import State
from morphoscope.explorer.subject import prediction_sets
from morphoscope.explorer.thumbnails import png, within
from morphoscope.explorer.votes import votes_of
from morphoscope.images.decode import begins_as_fits, read_image
from morphoscope.images.planes import picture_of
from morphoscope.images.stretch import STRETCHES
from morphoscope.inference.preprocess import bands_asked, framing_of
from morphoscope.metrics.conformal import filled_sets, ranked_sets

MOST_UPLOADED = 32 << 20  # bytes
KEPT = 8  # images, for their maps
LARGEST_KEPT = 1024  # pixels a side
_NEIGHBOURS = 12


class TooLarge(MorphoscopeError):
    """More bytes were sent than an image may have."""


class NoSuchUpload(MorphoscopeError):
    """An image that is not kept any more."""


class Uploads:
    """The images dropped last, shrunk."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, image_HWC: np.ndarray) -> str:
        """Keep an image; the name to ask for it."""
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._kept[name] = image_HWC
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return name

    def get(self, name: str) -> np.ndarray:
        """One of them.

        Raises:
            NoSuchUpload: it is not kept any more.
        """
        with self._lock:
            if name not in self._kept:
                raise NoSuchUpload("this image is not kept any more; drop it again")
            return self._kept[name]


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/classify")
    uploads = Uploads()

    @routes.get("")
    def about() -> JSONResponse:
        document = {"missing": state.network.why_not, "mapsMissing": state.network.why_no_maps}
        return JSONResponse({**document, "mostBytes": MOST_UPLOADED, "stretches": list(STRETCHES)})

    @routes.post("")
    async def classify(
        request: HttpRequest, name: Annotated[str, Query(max_length=300)] = "the image", stretch: str = ""
    ) -> JSONResponse:
        if state.network.why_not:
            raise UsageError(state.network.why_not)
        if stretch:
            check_shown(stretch)
        content = await body_of(request)
        return JSONResponse(await run_in_threadpool(_classified, state, uploads, content, name, stretch))

    @routes.get("/map/{upload}")
    def attribution(upload: str, method: str = "gradcam", target: str = "predicted") -> JSONResponse:
        return JSONResponse(map_document(state, uploads.get(upload), method, target, scale_of(state)))

    return routes


async def body_of(request: HttpRequest) -> bytes:
    """What was sent, read only up to the bound.

    Raises:
        TooLarge: it is more.
    """
    most = f"{MOST_UPLOADED >> 20} MiB"
    sentence = f"the image is larger than {most}; give a smaller one, or use 'morphoscope predict'"
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > MOST_UPLOADED:
        raise TooLarge(sentence)
    parts, taken = [], 0
    async for part in request.stream():
        taken += len(part)
        if taken > MOST_UPLOADED:
            raise TooLarge(sentence)
        parts.append(part)
    return b"".join(parts)


def scale_of(state: State) -> str | None:
    """How a dropped image is framed: as those of the catalogue; beside a run, as its recipe says."""
    return framing_of(state.subject.provenance) if state.subject.kind == "catalogue" else None


def _classified(state: State, uploads: Uploads, content: bytes, name: str, stretch: str) -> dict[str, Any]:
    if not content:
        raise UsageError(f"{name}: the file is empty")
    found: dict[str, Any] = {}
    run = state.network.run
    planes = run is not None and not run.header.store.pictures
    image = read_image(
        content,
        name=name,
        stretch=run.header.store.stretch if run and planes else stretch or _stretch(state),
        bands=bands_asked((), run.header.store) if run else (),
        found=found,
    )
    prediction = state.network.predict(image, scale_of(state))
    assert run is not None
    scheme, predictions_K = run.scheme, prediction.predictions_NK[0]
    classes = scheme.class_names
    values = {column: _plain(array) for column, array in scheme.catalogue_values(predictions_K[None]).items()}
    kept = within(picture_of(image), LARGEST_KEPT)
    document: dict[str, Any] = {
        "upload": uploads.keep(within(image, LARGEST_KEPT) if planes else kept),
        "name": name,
        "image": data_address(png(kept)),
        "size": [image.shape[1], image.shape[0]],
        "fits": begins_as_fits(content[:16]),
        "quality": list(found.get("quality", ())),
        "probabilities": None,
        "set": None,
        "votes": votes_of(scheme, values),
        "values": values,
        "ood": None if prediction.ood_score_N is None else float(prediction.ood_score_N[0]),
        "methods": list(METHODS),
        "targets": list(scheme.output_names),
        "missing": {"maps": state.network.why_no_maps},
        "neighbours": [],
    }
    if classes is not None:
        document["probabilities"] = [
            {"name": each, "column": each, "probability": float(value)}
            for each, value in zip(classes, predictions_K, strict=True)
        ]
        sets = prediction_sets(run, classes)
        if sets is not None:
            document["set"] = ranked_sets(
                predictions_K[None], filled_sets(predictions_K[None], sets.least_K), classes
            )[0]
    if state.neighbours is not None and prediction.features_ND is not None and state.same_network:
        similar = state.neighbours.of_features(prediction.features_ND[0], _NEIGHBOURS)
        document["neighbours"] = with_similarity(state, similar)
    return document


def _stretch(state: State) -> str:
    found = state.subject.provenance.get("stretch", "")
    return found if found in STRETCHES and found not in ("as-served", "sdss") else "lupton"


def _plain(array: Any) -> Any:
    value = array[0].as_py()
    return value if not isinstance(value, float) or np.isfinite(value) else None
