"""Measured shapes of the galaxies of a catalogue: which columns, and the processes that measure.

Images are read by the same code as for predictions, and measured before any stretch; a picture that is
stretched already, such as a JPEG, has no fluxes. The caller's threads read, processes measure.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice, pairwise
from typing import Any, TypeVar

import pyarrow as pa

from morphoscope.errors import CannotContinue, MorphoscopeError, UsageError
from morphoscope.images.stream import Item
from morphoscope.images.stretch import measured_values
from morphoscope.labels.scheme import Column
from morphoscope.measurement.shapes import SHAPE_COLUMNS, Bands, ShapeSettings, measure_shape

NO_FLUXES = "is a stretched picture; shapes are measured on fluxes, as FITS has them"
BAND = Column("band", pa.string(), "band whose shape was measured", ucd="instr.filter")
FLAG = Column(
    "flag", pa.int32(), "statmorph's: 0 good, 1 suspect, 2 bad, 4 nothing measured", ucd="meta.code.qual"
)
REASON = Column("reason", pa.string(), "why nothing was measured; empty if something was")
_PREFIX = "shape_"  # of the three beside a network's columns
_TRIED = 8  # images that are opened to see whether there are fluxes
Result = TypeVar("Result")


def colour(name: str) -> Column:
    """The column of a colour, such as ``g_r``."""
    return Column(name, pa.float64(), "colour within the galaxy's segment", "mag", "phot.color")


def shape_provenance(settings: ShapeSettings) -> dict[str, str]:
    """What shapes were measured with; must be the same when a table is resumed."""
    from importlib.metadata import version

    return {
        "measured_by": f"statmorph {version('statmorph')}, photutils {version('photutils')}",
        "threshold": f"{settings.threshold:g} noises of the sky",
        "gain": "sky noise alone" if settings.gain is None else f"{settings.gain:g} electrons per unit",
        "time_limit": f"{settings.seconds:g} s",
    }


@contextmanager
def measuring(
    workers: int, settings: ShapeSettings, *, apart: bool = False
) -> Iterator[Callable[[Bands], dict[str, Any]]]:
    """What measures a galaxy, in one of several processes; with one worker in this process.

    Args:
        workers: processes.
        settings: how.
        apart: in another process even with one worker, since the caller has threads and a time limit can
            be kept in a main thread alone.

    Raises:
        MorphoscopeError: a process was ended from outside.
    """
    if workers == 1 and not apart:
        yield lambda bands: measure_shape(bands, settings)
        return
    pool: Executor = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))

    def measure(bands: Bands) -> dict[str, Any]:
        try:
            return pool.submit(measure_shape, bands, settings).result()
        except BrokenProcessPool as error:
            raise CannotContinue(
                "a process that measures was ended from outside, perhaps for want of memory; choose fewer "
                "--workers"
            ) from error

    try:
        yield measure
    finally:
        pool.shutdown(cancel_futures=True)


def with_fluxes(load: Callable[[], Result]) -> tuple[Result, Bands | None]:
    """Load an image, and its fluxes before any stretch; None if it has none."""
    with measured_values() as values:
        loaded = load()
    return loaded, Bands(*values[-1]) if values else None


class BesideClasses:
    """The shapes of galaxies in a catalogue of predictions.

    Args:
        items: the galaxies; the first are loaded, to see their bands.
        source: name of the input in messages.
        settings: how shapes are measured.

    Attributes:
        columns: what is added to the catalogue; ``shape_band``, ``shape_flag`` and ``shape_reason`` last.

    Raises:
        UsageError: the input has no fluxes.
    """

    def __init__(self, items: Iterable[Item], source: str, settings: ShapeSettings) -> None:
        self.settings = settings
        colours = [colour(name) for name in _colours(items, source)]
        ends = [
            Column(_PREFIX + each.name, each.kind, each.description, each.unit, each.ucd)
            for each in (BAND, FLAG, REASON)
        ]
        self.columns: Sequence[Column] = (*SHAPE_COLUMNS, *colours, *ends)

    def values(self, bands: Bands | None, measure: Callable[[Bands], dict[str, Any]]) -> dict[str, Any]:
        """The values of these columns for one galaxy; those that could not be measured are left out."""
        if bands is None:
            return {f"{_PREFIX}flag": 4, f"{_PREFIX}reason": f"the image {NO_FLUXES}"}
        shape = measure(bands)
        ends = {f"{_PREFIX}{name}": shape.pop(name, None) for name in ("flag", "reason")}
        return {**shape, **ends, f"{_PREFIX}band": bands.name or None}


def _colours(items: Iterable[Item], source: str) -> list[str]:
    """The colours that the first galaxy with fluxes has."""
    pictures = ""
    for item in islice(items, _TRIED):
        try:
            _, bands = with_fluxes(item.load)
        except MorphoscopeError:
            continue
        if bands is not None:
            known = [flux.band for flux in bands.flux if flux.band and flux.nanomaggies is not None]
            return [f"{blue}_{red}" for blue, red in pairwise(reversed(known))]
        pictures = pictures or item.source
    if pictures:
        raise UsageError(f"{source}: {pictures} {NO_FLUXES}; leave out --measure")
    return []
