"""Pixel frame, surface-brightness profiles and PSF.

Shape letters: P side of the padded frame, 3 the bands g, r, z. Everything is drawn at the survey's own
pixel scale before blurring; the frame has a margin so that light from outside the cutout blurs into it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from morphoscope.simulation.survey import Survey

MARGIN = 16  # pixels around the cutout
CORE = 11  # side, in pixels, of the central patch of a profile that is drawn on subpixels
FINER = 8  # subpixels per pixel and axis there
SEEING_STEP = 0.05  # arcsec between cached PSFs
MOFFAT_BETAS = (2.5, 3.0, 3.5, 4.5)  # smaller values have wider wings


@dataclass(frozen=True, eq=False)
class Frame:
    """Pixel coordinates: arcsec from the centre, x to the right and y upwards as displayed.

    For surveys whose galaxies are farther away than those of DECaLS, arcsec are as seen by DECaLS.
    """

    survey: Survey
    side: int
    scale: float
    x_PP: np.ndarray
    y_PP: np.ndarray

    def cut(self, light_PP: np.ndarray) -> np.ndarray:
        """The cutout without the margin: (..., P, P) → (..., H, W)."""
        return light_PP[..., MARGIN:-MARGIN, MARGIN:-MARGIN]

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Row and column of a position in arcsec."""
        centre = (self.side - 1) / 2
        return centre - y / self.scale, centre + x / self.scale


@lru_cache(maxsize=4)
def frame_of(survey: Survey) -> Frame:
    """The padded frame of a survey's cutout."""
    side = survey.side + 2 * MARGIN
    step = ((np.arange(side) - (side - 1) / 2) * survey.frame_scale).astype(np.float32)
    x_PP = np.ascontiguousarray(np.broadcast_to(step, (side, side)))
    return Frame(survey, side, survey.frame_scale, x_PP, np.ascontiguousarray(-x_PP.T))


def sersic(
    frame: Frame, n: float, radius: float, axis_ratio: float, angle: float, x: float = 0.0, y: float = 0.0
) -> np.ndarray:
    """A Sérsic profile of unit flux drawn by GalSim, (P, P) float32.

    ``radius`` is the half-light radius along the major axis in arcsec, ``angle`` in degrees. The patch
    around the centre, where a steep profile changes within a pixel, is averaged over finer subpixels.
    """
    profile = _sersic_profile(n, radius, axis_ratio, angle)
    image_PP = np.zeros((frame.side, frame.side), np.float32)
    _draw(profile, image_PP, frame.scale, x, y)
    row, column = (round(value) for value in frame.pixel(x, y))
    half = CORE // 2
    if half <= row < frame.side - half and half <= column < frame.side - half:
        centre_y = ((frame.side - 1) / 2 - row) * frame.scale
        centre_x = (column - (frame.side - 1) / 2) * frame.scale
        core = np.zeros((CORE * FINER, CORE * FINER), np.float32)
        _draw(profile, core, frame.scale / FINER, x - centre_x, y - centre_y)
        core = core.reshape(CORE, FINER, CORE, FINER).sum(axis=(1, 3))
        image_PP[row - half : row + half + 1, column - half : column + half + 1] = core
    return image_PP


def add_stamp(
    cube_3PP: np.ndarray,
    frame: Frame,
    flux_3: np.ndarray,
    n: float,
    radius: float,
    axis_ratio: float,
    angle: float,
    x: float,
    y: float,
) -> None:
    """Add a small Sérsic galaxy of the given flux per band, drawn on a stamp around its position.

    Drawn with numpy: for the forty neighbours of a cutout, making GalSim's objects takes six times longer
    than the drawing. The sum over the stamp is the flux, however few pixels the galaxy has.
    """
    half = min(40, int(6 * radius / frame.scale) + 3)
    row, column = (round(value) for value in frame.pixel(x, y))
    if not (-half < row < frame.side + half and -half < column < frame.side + half):
        return
    rows, columns = np.arange(row - half, row + half + 1), np.arange(column - half, column + half + 1)
    middle = (frame.side - 1) / 2
    dx = ((columns - middle) * frame.scale - x)[None, :]
    dy = ((middle - rows) * frame.scale - y)[:, None]
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    square = (dx * cosine + dy * sine) ** 2 + ((dy * cosine - dx * sine) / axis_ratio) ** 2
    # b_n to 1e-4: Ciotti & Bertin 1999 (A&A 352, 447), eq. 18. A tenth of a pixel softens the cusp.
    b = 2 * n - 1 / 3 + 4 / (405 * n)
    softened = (square + (0.1 * frame.scale) ** 2) / radius**2
    stamp = np.exp(-b * softened ** (0.5 / n))
    stamp /= stamp.sum()
    inside = np.ix_((rows >= 0) & (rows < frame.side), (columns >= 0) & (columns < frame.side))
    stamp = stamp[inside].astype(np.float32)
    top, left = max(0, row - half), max(0, column - half)
    target = cube_3PP[:, top : top + stamp.shape[0], left : left + stamp.shape[1]]
    target += flux_3.astype(np.float32)[:, None, None] * stamp


def add_point(image: np.ndarray, row: float, column: float, flux: float | np.ndarray) -> None:
    """Add a point source, distributed bilinearly over four pixels; ``image`` is (..., P, P)."""
    top, left = int(np.floor(row)), int(np.floor(column))
    if not (0 <= top < image.shape[-2] - 1 and 0 <= left < image.shape[-1] - 1):
        return
    down, across = row - top, column - left
    weights = np.outer([1 - down, down], [1 - across, across]).astype(np.float32)
    image[..., top : top + 2, left : left + 2] += np.multiply.outer(np.asarray(flux, np.float32), weights)


def _sersic_profile(n: float, radius: float, axis_ratio: float, angle: float):
    import galsim

    # GalSim's shear keeps the area, so its radius is that of the circle of the same area.
    round_profile = galsim.Sersic(n=n, half_light_radius=radius * axis_ratio**0.5, flux=1.0)
    # Rows run downwards here and upwards in GalSim: the picture is mirrored, so is the angle.
    return round_profile.shear(q=axis_ratio, beta=-angle * galsim.degrees)


def _draw(profile, array: np.ndarray, scale: float, x: float, y: float) -> None:
    import galsim

    image = galsim.Image(array, scale=scale)
    profile.shift(x, -y).drawImage(image, method="no_pixel")


@lru_cache(maxsize=1)
def _edge_on_table() -> np.ndarray:
    from scipy.special import k1

    u = np.linspace(0, 14, 4096)
    u[0] = 1e-9
    return (u * k1(u)).astype(np.float32)


def edge_on(along_PP: np.ndarray, across_PP: np.ndarray, length: float, height: float) -> np.ndarray:
    """An edge-on exponential disc, peak 1: (|x|/h)·K₁(|x|/h)·sech²(z/z₀).

    van der Kruit & Searle 1981 (A&A 95, 105), eq. 5; ``length`` is h, ``height`` z₀.
    """
    table = _edge_on_table()
    index = np.abs(along_PP) * np.float32(len(table) / 14 / length)
    radial = table.take(index.astype(np.int32), mode="clip")
    decay = np.exp(np.abs(across_PP) * np.float32(-2 / height))
    return radial * 4 * decay / (1 + decay) ** 2


@lru_cache(maxsize=96)
def _psf_transform(survey: Survey, steps: int, beta: float) -> np.ndarray:
    import galsim

    frame = frame_of(survey)
    image = galsim.ImageF(frame.side, frame.side, scale=frame.scale)
    # Centred on a pixel, so that the convolution does not shift the image.
    profile = galsim.Moffat(beta=beta, fwhm=steps * SEEING_STEP)
    profile.drawImage(
        image, method="no_pixel", center=galsim.PositionI(frame.side // 2 + 1, frame.side // 2 + 1)
    )
    kernel = np.fft.ifftshift(image.array)
    return np.fft.rfft2(kernel / kernel.sum()).astype(np.complex64)


def blur(cube_3PP: np.ndarray, frame: Frame, seeing_3: np.ndarray, beta: float) -> np.ndarray:
    """Convolve each band with its Moffat PSF (GalSim), (3, P, P) float32.

    ``seeing_3`` is the full width at half maximum in arcsec, rounded to steps of 0.05″ so that the
    kernels can be kept. The delivered PSF contains the pixel, so none is added.
    """
    from scipy import fft

    steps = np.maximum(1, np.round(seeing_3 / SEEING_STEP).astype(int))
    transforms = np.stack([_psf_transform(frame.survey, int(step), beta) for step in steps])
    shape = (frame.side, frame.side)
    blurred_3PP = fft.irfft2(np.asarray(fft.rfft2(cube_3PP)) * transforms, s=shape)
    return np.asarray(blurred_3PP)


def smooth_field(rng: np.random.Generator, side: int, cells: int) -> np.ndarray:
    """A smooth random field of about unit variance with ``cells`` independent values along a side."""
    coarse = rng.standard_normal((cells + 3, cells + 3), dtype=np.float32)
    return 1.3 * cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
