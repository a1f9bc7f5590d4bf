"""Pictures of real survey files beside the survey's own JPEG, or what its published formula makes of them.

``python tests/real_files/pictures.py REAL_FILES OUT`` writes ``OUT/real_files.png`` and prints, for each
file, how far the two pictures agree. The right-hand pictures are made with astropy and numpy alone: the bands
are resampled to north up, east left by astropy's WCS and pass through the formula named below them. Real
images belong to their surveys: keep OUT outside the repository.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from astropy.io import fits
from astropy.visualization import make_lupton_rgb
from astropy.wcs import WCS
from scipy.ndimage import map_coordinates
from scipy.stats import rankdata

from morphoscope.catalogue.inputs.open import open_input
from morphoscope.images.bands import parse_bands
from morphoscope.images.mosaic import open_mosaics, sky_square
from morphoscope.images.stretch import rendered

SIDE, LABEL = 300, 40  # of a picture and of the words below it, pixels
Formula = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Case:
    """One real file.

    Attributes:
        source: file, or pattern with ``{id}`` and ``{band}``, below the folder of real files.
        planes: file, extension and plane of red, green and blue, or of grey.
        formula: makes 0..255 of the planes (B, H, W), red first; None: ``jpeg`` is the other picture.
        words: what the formula is.
        bands: as for ``--bands``.
        jpeg: the survey's own picture.
        part: centre (RA, Dec) and side in arcsec of a cutout of a mosaic; None: the whole image.
    """

    source: str
    planes: Sequence[tuple[str, int, int]]
    formula: Formula | None
    words: str
    bands: str | None = None
    jpeg: str | None = None
    part: tuple[float, float, float] | None = None


def imagine(factors: Sequence[float], floor: float) -> Formula:
    """The DESI Legacy Surveys viewer's formula (github.com/legacysurvey/imagine, map/views.py), Q = 20."""

    def formula(planes_BHW: np.ndarray) -> np.ndarray:
        planes_BHW = np.maximum(0, planes_BHW * np.reshape(factors, (-1, 1, 1)) + floor)
        mean_HW = np.maximum(planes_BHW.mean(axis=0), 1e-6)
        return 255 * np.clip(planes_BHW * np.arcsinh(20 * mean_HW) / np.sqrt(20) / mean_HW, 0, 1)

    return formula


def of_zero_points(*magnitudes: float) -> Formula:
    """Lupton et al. (2004) of fluxes in one unit, by each band's zero point."""
    factors = 10 ** (-0.4 * (np.reshape(magnitudes, (-1, 1, 1)) - 22.5))
    return lambda planes_BHW: lupton_2004(planes_BHW * factors)


def lupton_2004(planes_BHW: np.ndarray) -> np.ndarray:
    """Lupton et al. (2004) by astropy, one scale for all bands: stretch of ten noises, Q = 8."""
    sky_B = np.nanmedian(planes_BHW, axis=(1, 2))
    noise = np.median([1.4826 * np.nanmedian(np.abs(p - s)) for p, s in zip(planes_BHW, sky_B, strict=True)])
    flux_BHW = np.nan_to_num(planes_BHW - sky_B[:, None, None])
    flux_BHW = (
        flux_BHW if len(flux_BHW) == 3 else np.stack([flux_BHW[0], flux_BHW.mean(axis=0), flux_BHW[-1]])
    )
    return np.moveaxis(make_lupton_rgb(*flux_BHW, minimum=-3 * noise, stretch=10 * noise, Q=8), 2, 0)


BRICK = "legacysurvey-coadd/legacysurvey-0959p805-image-g.fits.fz"
CASES = (
    Case(
        "legacysurvey-pysersic/cutout_59.1067_-30.4848.fits",
        [("legacysurvey-pysersic/cutout_59.1067_-30.4848.fits", unit, 0) for unit in (5, 3, 1)],
        imagine((2.2, 3.4, 6.0), 0.03),
        "Legacy Surveys, published",
        bands="g,r,z",
    ),
    Case(
        BRICK,
        [(BRICK, 1, 0)],
        imagine((6.0,), 0.03),
        "Legacy Surveys, published, g",
        part=(96.65, 80.385, 60.0),
    ),
    Case(
        "sdss-tractor/frame-r-001000-1-0100.fits.bz2",
        [("sdss-tractor/frame-r-001000-1-0100.fits.bz2", 0, 0)],
        imagine((1.5,), 0.02),
        "SDSS, published, r",
    ),
    Case("hips-dss/Npix448.fits", [], None, "its JPEG", jpeg="hips-dss/Npix448.jpg"),
    Case(
        "2mass-blast/{id}_{band}.fits",
        [(f"2mass-blast/2MASS_{band}.fits", 0, 0) for band in "KHJ"],
        of_zero_points(19.9023, 20.4185, 20.8058),
        "Lupton 2004 of MAGZP",
        bands="J,H,K",
    ),
    Case(
        "jwst-slsim/COSMOSWeb_galaxy_6701_image.fits",
        [("jwst-slsim/COSMOSWeb_galaxy_6701_image.fits", unit, 0) for unit in (4, 3, 1)],
        lupton_2004,
        "Lupton 2004",
        bands="F115W,F277W,F444W",
    ),
    Case(
        "hsc-scarlet/Cut_HSC.fits",
        [("hsc-scarlet/Cut_HSC.fits", 0, plane) for plane in (2, 1, 0)],
        lupton_2004,
        "Lupton 2004",
        bands="3,2,1",
    ),
    Case(
        "ukidss-astroquery/image.fits", [("ukidss-astroquery/image.fits", 1, 0)], lupton_2004, "Lupton 2004"
    ),
    Case(
        "ps1-tractor/H1413+117_10x10arcsec_55377.34051_z_sci.fits",
        [("ps1-tractor/H1413+117_10x10arcsec_55377.34051_z_sci.fits", 0, 0)],
        lupton_2004,
        "Lupton 2004",
    ),
    Case(
        "hst-slsim/test_galaxy_images_23.5.fits",
        [("hst-slsim/test_galaxy_images_23.5.fits", 1, 0)],
        lupton_2004,
        "Lupton 2004",
    ),
    Case(
        "dss-horsehead/HorseHead.fits", [("dss-horsehead/HorseHead.fits", 0, 0)], lupton_2004, "Lupton 2004"
    ),
    Case("galex-blast/GALEX_NUV.fits", [("galex-blast/GALEX_NUV.fits", 0, 0)], lupton_2004, "Lupton 2004"),
)


def ours(folder: Path, case: Case) -> np.ndarray:
    """The picture that the program shows to a network, (H, W, 3) uint8."""
    bands = parse_bands(case.bands)
    if case.part is None:
        (item,) = open_input(folder / case.source, bands=bands).items
        return item.load()
    (mosaic,) = open_mosaics(folder / case.source, bands)
    ra, dec, arcsec = case.part
    place = np.array([ra]), np.array([dec])
    (x,), (y,) = mosaic.pixels_of(*place)
    side = round(arcsec * float(np.sqrt(abs(np.linalg.det(mosaic.pixels_per_arcsec(*place)[0])))))
    square = sky_square(mosaic, x, y, mosaic.pixels_per_arcsec(*place)[0], arcsec=arcsec, side=side)
    return rendered([square], "legacy", name=case.source, flux=[mosaic.flux])[0]


def theirs(folder: Path, case: Case, shape: tuple[int, ...]) -> np.ndarray:
    """The survey's JPEG, or its formula, (H, W, 3) uint8."""
    if case.formula is None:
        return cv2.cvtColor(cv2.imread(str(folder / str(case.jpeg))), cv2.COLOR_BGR2RGB)
    planes, first = [], None
    for name, unit, plane in case.planes:
        with fits.open(folder / name, memmap=False) as units:
            data = np.asarray(units[unit].data, float)
            pixels = data.reshape(-1, *data.shape[-2:])[plane]
            wcs: Any = WCS(units[unit].header, fobj=units).sub([1, 2])
            if not wcs.has_celestial:
                planes.append(pixels[::-1])
                continue
            first = first or (wcs, pixels.shape)
            planes.append(north_up(pixels, wcs, *first, shape, case.part))
    grey = np.clip(np.nan_to_num(case.formula(np.stack(planes))), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(grey, (3, *grey.shape[1:])).transpose(1, 2, 0))


def north_up(
    pixels: np.ndarray,
    wcs: Any,
    first: Any,
    stored: tuple[int, int],
    shape: tuple[int, ...],
    part: tuple[float, float, float] | None,
) -> np.ndarray:
    """An image on a grid of its own scale with north up and east left, by astropy's WCS, (H, W)."""
    scale = np.sqrt(abs(np.linalg.det(first.pixel_scale_matrix)))
    middle = first.pixel_to_world((stored[1] - 1) / 2, (stored[0] - 1) / 2).icrs
    grid = WCS(naxis=2)
    grid.wcs.ctype, grid.wcs.crval = ["RA---TAN", "DEC--TAN"], [middle.ra.deg, middle.dec.deg]
    if part is not None:
        grid.wcs.crval, scale = part[:2], part[2] / 3600 / shape[0]
    grid.wcs.crpix, grid.wcs.cdelt = [(shape[1] + 1) / 2, (shape[0] + 1) / 2], [-scale, scale]
    y, x = np.mgrid[shape[0] - 1 : -1 : -1, : shape[1]]
    columns, rows = wcs.world_to_pixel(grid.pixel_to_world(x, y))
    return map_coordinates(pixels, [rows, columns], order=1, cval=np.nan)


def agreement(one: np.ndarray, other: np.ndarray) -> str:
    """Correlation of brightness ranks, and of hue where both are in colour, over what is not sky."""
    grey = [image.mean(axis=2) for image in (one, other)]
    bright = grey[1] > np.median(grey[1])
    said = f"brightness {np.corrcoef(*(rankdata(image[bright]) for image in grey))[0, 1]:.2f}"
    likeness, pixels = hue_likeness(one, other)
    return f"{said}, hue {likeness:.2f} ({pixels} px)" if pixels else said


def hue_likeness(one: np.ndarray, other: np.ndarray) -> tuple[float, int]:
    """Mean cosine between two pictures' hues where both are bright and coloured, and in how many pixels."""
    grey = other.mean(axis=2)
    strong = (grey > np.percentile(grey, 90)) & (np.ptp(one, axis=2) > 8) & (np.ptp(other, axis=2) > 8)
    if not strong.any():
        return np.nan, 0
    colours = [image[strong] - image[strong].mean(axis=1, keepdims=True) for image in (one, other)]
    lengths = [np.linalg.norm(colour, axis=1) for colour in colours]
    return float(((colours[0] * colours[1]).sum(axis=1) / (lengths[0] * lengths[1])).mean()), int(
        strong.sum()
    )


def framed(image: np.ndarray, words: str) -> np.ndarray:
    """A picture of one size with words below."""
    shown = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    shown = cv2.copyMakeBorder(shown, 2, LABEL, 2, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    for line, text in enumerate((words[:46], words[46:92])):
        at = (4, SIDE + 16 + 16 * line)
        cv2.putText(shown, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
    return shown


def main(folder: Path, out: Path) -> None:
    """Write the pictures."""
    rows = []
    for case in CASES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = ours(folder, case)
            other = theirs(folder, case, image.shape)
        said = agreement(image, cv2.resize(other, image.shape[1::-1]))
        print(f"{case.source}: {said}")
        rows.append(
            np.hstack(
                [framed(image, f"{case.source} {case.bands or ''}"), framed(other, f"{case.words}: {said}")]
            )
        )
    half = -(-len(rows) // 3)
    columns = [
        np.vstack([*rows[at : at + half], *[np.full_like(rows[0], 255)] * (half - len(rows[at : at + half]))])
        for at in range(0, len(rows), half)
    ]
    out.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out / "real_files.png"), np.hstack(columns)[:, :, ::-1])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
