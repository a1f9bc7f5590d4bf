"""The non-parametric set of statmorph (Rodriguez-Gomez et al. 2019, doi:10.1093/mnras/sty3345).

Concentration, asymmetry and smoothness (Conselice 2003, doi:10.1086/375001), Gini and M20 (Lotz et al. 2004,
doi:10.1086/421849), multimode, intensity and deviation (Freeman et al. 2013), Petrosian radii and signal to
noise.

Shape letters: B bands, H × W pixels.
"""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from types import FrameType
from typing import Any

import numpy as np
import pyarrow as pa

from morphoscope.errors import MorphoscopeError, reason_of
from morphoscope.images.coverage import uncovered
from morphoscope.images.stretch import Flux
from morphoscope.labels.scheme import Column
from morphoscope.measurement.segment import Segment, central_segment

EMPTY = -99.0  # what statmorph writes if nothing could be measured
_NUMBER = pa.float64()
_MORPHOLOGY = "src.morph.param"


def _column(name: str, description: str, unit: str = "", ucd: str = "") -> Column:
    return Column(name, _NUMBER, description, unit, ucd)


SHAPE_COLUMNS = (
    _column("concentration", "C = 5 log10(r80 / r20), Conselice 2003", "", _MORPHOLOGY),
    _column("asymmetry", "A, sky subtracted, within 1.5 Petrosian radii, Conselice 2003", "", _MORPHOLOGY),
    _column("smoothness", "S (clumpiness), Lotz et al. 2004", "", _MORPHOLOGY),
    _column("gini", "Gini coefficient of the pixels, Lotz et al. 2004", "", _MORPHOLOGY),
    _column("m20", "second moment of the brightest 20 % of the light, Lotz et al. 2004", "", _MORPHOLOGY),
    _column("gini_m20_bulge", "F(G, M20), Snyder et al. 2015", "", _MORPHOLOGY),
    _column("gini_m20_merger", "S(G, M20), Snyder et al. 2015", "", _MORPHOLOGY),
    _column("multimode", "M of Freeman et al. 2013, as Peth et al. 2016", "", _MORPHOLOGY),
    _column("intensity", "I of the same", "", _MORPHOLOGY),
    _column("deviation", "D of the same", "", _MORPHOLOGY),
    _column("outer_asymmetry", "asymmetry outside the half-light radius, Wen et al. 2014", "", _MORPHOLOGY),
    _column("shape_asymmetry", "asymmetry of the detection mask, Pawlik et al. 2016", "", _MORPHOLOGY),
    _column(
        "rms_asymmetry2", "squared asymmetry by root mean squares, Sazonova et al. 2024", "", _MORPHOLOGY
    ),
    _column("rpetro_circ", "Petrosian radius (η = 0.2), circular", "pix", "phys.angSize"),
    _column("rpetro_ellip", "Petrosian semi-major axis, elliptical", "pix", "phys.angSize"),
    _column("rhalf_circ", "radius with half of the light, circular", "pix", "phys.angSize"),
    _column("rhalf_ellip", "semi-major axis with half of the light, elliptical", "pix", "phys.angSize"),
    _column("r20", "radius with 20 % of the light", "pix", "phys.angSize"),
    _column("r50", "radius with 50 % of the light", "pix", "phys.angSize"),
    _column("r80", "radius with 80 % of the light", "pix", "phys.angSize"),
    _column("rmax_circ", "largest radius of the detection mask", "pix", "phys.angSize"),
    _column(
        "ellipticity_asymmetry", "1 − axis ratio, about the centre of least asymmetry", "", "src.ellipticity"
    ),
    _column(
        "orientation_asymmetry", "angle of the major axis against the rows as shown", "rad", "pos.posAng"
    ),
    _column("xc_asymmetry", "column of the centre of least asymmetry, from 0", "pix", "pos.cartesian.x"),
    _column(
        "yc_asymmetry", "row of the same, from 0 at the top of the image as shown", "pix", "pos.cartesian.y"
    ),
    _column("flux_ellip", "flux within two Petrosian ellipses, unit of the image", "", "phot.flux"),
    _column("sn_per_pixel", "mean signal to noise of the galaxy's pixels", "", "stat.snr"),
    _column("sky_sigma", "noise of the sky, unit of the image", "", "stat.stdev"),
)
NAMES = tuple(column.name for column in SHAPE_COLUMNS)


@dataclass(frozen=True)
class ShapeSettings:
    """How shapes are measured.

    Attributes:
        threshold: least brightness of a galaxy's pixels in units of the sky's noise.
        gain: electrons per unit of the image, for the noise of the galaxy's own light; None: the sky's noise
            alone, so that ``sn_per_pixel`` of bright galaxies is an upper limit.
        seconds: longest time for one galaxy, of a processor: a busy machine changes no result.
    """

    threshold: float = 1.5
    gain: float | None = None
    seconds: float = 60.0


@dataclass(frozen=True)
class Bands:
    """The bands of one galaxy as measured.

    Attributes:
        planes: (H, W) each, reddest first; NaN where there is no data.
        flux: what is known about each.
    """

    planes: Sequence[np.ndarray]
    flux: Sequence[Flux]

    @property
    def reference(self) -> int:
        """The band whose shape is measured: the middle one of three, the redder one of two."""
        return (len(self.planes) - 1) // 2

    @property
    def name(self) -> str:
        """Of that band; empty if unknown."""
        return self.flux[self.reference].band


def measure_shape(bands: Bands, settings: ShapeSettings) -> dict[str, Any]:
    """Measure one galaxy; nothing is raised for a galaxy that cannot be measured.

    Args:
        bands: its pixels.
        settings: how.

    Returns:
        The values of :data:`SHAPE_COLUMNS` that could be measured, ``flag`` (0 good, 1 suspect, 2 bad, 4
        nothing measured), ``reason`` why it was not measured, and colours, ``g_r`` in magnitudes, where the
        bands' zero points are known.
    """
    plane_HW = np.asarray(bands.planes[bands.reference], np.float64)
    _non_parametric()  # its import is no part of the galaxy's time
    try:
        with within(settings.seconds):
            lost_HW = uncovered(plane_HW)
            plane_HW = np.where(lost_HW, 0.0, plane_HW)
            segment = central_segment(plane_HW, lost_HW, settings.threshold)
            found = _by_statmorph(plane_HW, lost_HW, segment, settings)
            return found | colours(bands, segment)
    except TimeoutError:
        return {"flag": 4, "reason": f"took more than {settings.seconds:g} s"}
    except MorphoscopeError as error:
        return {"flag": 4, "reason": str(error)}
    except Exception as error:  # statmorph and photutils raise whatever their arithmetic does
        return {"flag": 4, "reason": f"could not be measured ({reason_of(error)})"}


def noise_map(bare_HW: np.ndarray, segment: Segment, gain: float | None) -> np.ndarray:
    """One standard deviation of each pixel (H, W): the sky's, and that of the galaxy's electrons."""
    own_HW = np.maximum(bare_HW, 0.0) / gain if gain else np.zeros_like(bare_HW)
    return np.sqrt(segment.noise**2 + own_HW)


def _by_statmorph(
    plane_HW: np.ndarray, lost_HW: np.ndarray, segment: Segment, settings: ShapeSettings
) -> dict[str, Any]:
    from astropy.utils.exceptions import AstropyWarning

    bare_HW = plane_HW - segment.sky
    np.random.seed(0)  # noqa: NPY002 - statmorph's search for modes draws from the global generator
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        shape = _non_parametric()(
            bare_HW,
            segment.labels,
            segment.label,
            mask=lost_HW,
            weightmap=noise_map(bare_HW, segment, settings.gain),
        )
    values = {name: float(shape[name]) for name in NAMES}
    known = {name: value for name, value in values.items() if np.isfinite(value) and value != EMPTY}
    flag = int(shape.flag)
    return known | {"flag": flag, "reason": "" if known else "statmorph found nothing to measure"}


@cache
def _non_parametric() -> type:
    """Statmorph without its Sérsic fits, which take most of its time and are another kind of measurement."""
    from statmorph.statmorph import SourceMorphology

    class NonParametric(SourceMorphology):
        def _calculate_morphology(self) -> None:
            for name in (*NAMES, "sky_mean"):
                _ = self[name]

    return NonParametric


def colours(bands: Bands, segment: Segment) -> dict[str, float]:
    """Colours within the galaxy's segment, magnitudes: of neighbouring bands whose zero points are known."""
    fluxes: list[tuple[str, float]] = []
    inside_HW = segment.labels == segment.label
    sky_HW = segment.labels == 0
    for plane, flux in zip(bands.planes, bands.flux, strict=True):
        values_HW = np.asarray(plane, np.float64)
        good = np.isfinite(values_HW)
        if (
            flux.nanomaggies is None
            or not flux.band
            or not (good & inside_HW).any()
            or not (good & sky_HW).any()
        ):
            continue
        level = float(np.median(values_HW[good & sky_HW]))
        total = float((values_HW[good & inside_HW] - level).sum()) * flux.nanomaggies
        if total > 0:
            fluxes.append((flux.band, total))
    fluxes.reverse()  # from blue to red
    return {
        f"{blue}_{red}": float(-2.5 * np.log10(of_blue / of_red))
        for (blue, of_blue), (red, of_red) in pairwise(fluxes)
    }


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError if the block takes more processor time; in a main thread alone, not on Windows."""
    possible = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not possible:
        yield
        return

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
