"""Cutouts of a survey, fetched as they are predicted (``predict --positions TABLE --survey NAME``).

No image is kept unless that is asked for. Each galaxy of the table becomes one item; its image is fetched in
the thread that decodes it.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.cutouts.client import Client, Failed, Outside
from morphoscope.cutouts.fetch import MEASURED, WIDE, Cutout, CutoutSource
from morphoscope.cutouts.folder import FAILED, INVALID, OUTSIDE, CutoutFolder, Outcome, now
from morphoscope.cutouts.recent import Recent
from morphoscope.cutouts.services import Format, find_service
from morphoscope.cutouts.targets import CutoutRequest, Target, Targets
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.decode import read_image, whole_scale
from morphoscope.images.fits import read_bands
from morphoscope.images.stream import Item
from morphoscope.progress import note

if TYPE_CHECKING:
    from morphoscope.runs.run import StoreFacts

_MOST_PIXELS = 512  # of the wide cutouts that are framed by their galaxy's size
_RECENT = 32  # cutouts that are remembered
_open_folders: weakref.WeakValueDictionary[Path, Kept] = weakref.WeakValueDictionary()


@dataclass(frozen=True)
class SurveyCutouts:
    """The galaxies of a request with a survey.

    Attributes:
        name: in messages and provenance.
        items: one per row of the table.
        count: rows.
        connections: images that may be fetched at a time.
        fits: whether the images are FITS.
        integer_ids: whether every id is an integer.
    """

    name: str
    items: Iterator[Item]
    count: int
    connections: int
    fits: bool
    integer_ids: bool


def survey_cutouts(request: CatalogueRequest, facts: StoreFacts, *, stretch: str) -> SurveyCutouts:
    """The galaxies of a table of positions, whose images a survey's service has.

    Args:
        request: with ``survey``, and with a ``scale``.
        facts: of the training's store: how much sky its images show, and at how many pixels.
        stretch: for FITS images.

    Raises:
        UsageError: no positions, no such service, or options that do not go together.
    """
    service = find_service(request.survey or "", request.service)
    kind = "fits" if request.bands or "jpg" not in service.formats else "jpg"
    fitted = request.scale == "auto"
    arcsec = MEASURED if fitted else None if request.size_column else _side(request, facts)
    wanted = CutoutRequest(
        table=request.source,
        out=request.keep_images or "",
        survey=service.name,
        arcsec=arcsec,
        size_column=request.size_column,
        kind=kind,
        bands=tuple(request.bands),
        service=request.service,
    )
    targets = Targets(wanted, service)
    pixels = _pixels(service.format(kind), facts, fitted)
    source = CutoutSource(Client(service), kind, pixels, wanted.bands)
    count = targets.check()
    if fitted:
        note(f"cutouts of {WIDE * service.arcsec:.4g}″ from {service.title}, framed by their galaxies' sizes")
    else:
        size = "sizes by column" if targets.side is None else f"{targets.side:.4g}″"
        note(f"cutouts from {service.title}, {size}")
    kept = None if request.keep_images is None else Kept.of(Path(request.keep_images), source, targets)
    fetcher = _Fetcher(source, kept, stretch, wide=fitted)
    items = _items(targets, fetcher, str(request.source))
    name = f"{service.name} at {request.source}"
    return SurveyCutouts(name, items, count, service.connections, kind == "fits", targets.integer_ids)


def _side(request: CatalogueRequest, facts: StoreFacts) -> float | None:
    if request.cutout_arcsec is not None:
        return request.cutout_arcsec
    return None if facts.pixel_scale is None else facts.pixel_scale * facts.image_shape[0]


def _pixels(form: Format, facts: StoreFacts, fitted: bool) -> int:
    """As many as the training's images have, or a multiple of that which the service serves."""
    if fitted:
        return min(_MOST_PIXELS, form.pixels[1])
    side = facts.image_shape[0]
    return side * -(-form.pixels[0] // side)


class Kept:
    """A folder of cutouts that is open for as long as anything may be written into it."""

    def __init__(self, folder: CutoutFolder) -> None:
        self.folder = folder
        self._open = contextlib.ExitStack()
        self._open.enter_context(folder.opened())
        self._end = weakref.finalize(self, self._open.close)

    @classmethod
    def of(cls, path: Path, source: CutoutSource, targets: Targets) -> Kept:
        """The folder at a path, which may be open already in this process.

        Raises:
            UsageError: it holds something else, or another process writes it.
        """
        from morphoscope.cutouts.download import header_of

        found = _open_folders.get(path.absolute())
        if found is None:
            found = cls(CutoutFolder(path, header_of(source, targets)))
            _open_folders[path.absolute()] = found
        return found


@dataclass(frozen=True)
class _Fetcher:
    """Fetches, decodes and, if asked to, keeps the images.

    Attributes:
        source: of the images.
        kept: the folder to keep them in; None: they are not kept.
        stretch: of FITS images.
        wide: fetch a cutout with sky round its galaxy, of whatever size.
        recent: the latest.
    """

    source: CutoutSource
    kept: Kept | None
    stretch: str
    wide: bool
    recent: Recent[Cutout] = field(default_factory=lambda: Recent(_RECENT))

    def load(self, target: Target, name: str, values: dict[str, Any], found: dict[str, Any]) -> np.ndarray:
        """The image of a position, (H, W, 3) uint8; runs in a decoding thread.

        ``values`` gets the side of the cutout, or in ``no_image`` what came of it.

        Raises:
            MorphoscopeError: there is none; the reason.
        """
        if target.reason:
            values["no_image"] = INVALID
            raise MorphoscopeError(target.reason)
        try:
            cutout = self.recent.get(target.key, lambda: self._cutout(target))
        except Outside:
            values["no_image"] = OUTSIDE
            raise
        values["cutout"] = cutout.arcsec
        contents = list(cutout.files.values())
        if len(contents) == 1:
            bands = self.source.bands if self.source.kind == "fits" and len(self.source.bands) > 1 else ()
            return read_image(contents[0], name=name, stretch=self.stretch, bands=bands, found=found)
        order = list(reversed(list(cutout.files)))  # services list bands from blue to red
        files = [cutout.files[band] for band in order]
        return read_bands(files, name=name, stretch=self.stretch, bands=order, found=found)

    def _cutout(self, target: Target) -> Cutout:
        if self.kept is None:
            return self._fetched(target)
        folder = self.kept.folder
        if folder.done(target.key):
            outcome = folder.outcomes[target.key]
            if outcome.status == OUTSIDE:
                raise Outside(outcome.reason)
            return Cutout(folder.contents(target.key), outcome.arcsec or 0.0, outcome.diameter)
        try:
            cutout = self._fetched(target)
        except (Outside, Failed) as error:
            status = OUTSIDE if isinstance(error, Outside) else FAILED
            folder.enter(target.key, Outcome(status, str(error), arcsec=target.arcsec, at=now()))
            raise
        folder.keep(target.key, cutout)
        return cutout

    def _fetched(self, target: Target) -> Cutout:
        with whole_scale():  # the number of pixels is checked
            if self.wide:
                return self.source.wide(target.ra, target.dec)[0]
            if target.arcsec is not None and (wrong := self.source.check_side(target.arcsec)):
                raise Failed(wrong)
            return self.source.fetch(target.ra, target.dec, target.arcsec)


def _items(targets: Targets, fetcher: _Fetcher, table: str) -> Iterator[Item]:
    suffix = fetcher.source.kind
    try:
        for piece in targets.rows():
            for identity, target in zip(piece.ids, targets.of(piece), strict=True):
                name = f"{fetcher.source.service.name}/{target.key or identity}.{suffix}"
                values: dict[str, Any] = {"id": identity}
                if target.key:
                    values |= {"ra": target.ra, "dec": target.dec}
                found: dict[str, Any] = {}
                load = partial(fetcher.load, target, name, values, found)
                yield Item(name, load, values, found, (table,))
    except GeneratorExit:
        fetcher.source.client.stop()
        raise


def check_survey_options(request: CatalogueRequest) -> None:
    """Refuse options that do not go with a survey.

    Raises:
        UsageError: one does not.
    """
    for name, value in (
        ("--sources", request.sources),
        ("--image-column", request.image_column),
        ("--crop", request.crop),
    ):
        if value is not None:
            raise UsageError(f"{name} does not go with --survey; --cutout-arcsec says how much sky is shown")
