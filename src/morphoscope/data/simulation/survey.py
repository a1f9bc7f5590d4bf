"""What a survey makes of the sky: sampling, seeing, depth and the stretch of its pictures.

Bands are g, r, z everywhere, in this order; fluxes are in nanomaggies (magnitude 22.5 is flux 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BANDS = ("g", "r", "z")
ZERO_POINT = 22.5  # magnitude of one nanomaggy


@dataclass(frozen=True)
class Survey:
    """The numbers of one survey.

    Attributes:
        name: as on the command line.
        side: pixels along the side of a cutout.
        pixel_scale: arcsec per pixel of the survey's own cutouts.
        seeing: median full width at half maximum of the PSF per band, arcsec.
        seeing_spread: standard deviation of ln(seeing) from cutout to cutout.
        noise: standard deviation per pixel and band, nanomaggies.
        noise_spread: standard deviation of ln(noise) from cutout to cutout.
        noise_correlation: of neighbouring pixels, from coaddition; compression adds to it.
        sky: flux of the night sky per pixel and band, nanomaggies: sets the galaxy's own photon noise.
        stretch_scales: factor per band before the stretch.
        stretch_floor: m of the stretch, what an empty sky becomes.
        stretch_softening: Q of the stretch.
        jpeg_quality: 0 to 100, quality of the pictures as they are served.
    """

    name: str
    side: int
    pixel_scale: float
    seeing: tuple[float, float, float]
    seeing_spread: float
    noise: tuple[float, float, float]
    noise_spread: float
    noise_correlation: float
    sky: tuple[float, float, float]
    stretch_scales: tuple[float, float, float]
    stretch_floor: float
    stretch_softening: float
    jpeg_quality: int

    @property
    def field(self) -> float:
        """Side of a cutout in arcsec."""
        return self.side * self.pixel_scale

    def stretch(self, bands_3HW: np.ndarray) -> np.ndarray:
        """Fluxes in g, r, z to the survey's RGB picture.

        The mean I of the scaled bands is compressed to arcsinh(Q·I)/√Q and every channel keeps its
        share of it (Lupton et al. 2004, PASP 116, 133, in the form the DESI Legacy Surveys' viewer
        uses: z is red, r green, g blue).

        Args:
            bands_3HW: nanomaggies per pixel; negative flux is cut at the stretch's floor.

        Returns:
            (H, W, 3) uint8.
        """
        scale = np.asarray(self.stretch_scales, np.float32)[:, None, None]
        plane_3HW = np.maximum(bands_3HW * scale + np.float32(self.stretch_floor), 0)
        mean_HW = plane_3HW.mean(axis=0)
        softening = np.float32(self.stretch_softening)
        gain_HW = np.arcsinh(softening * mean_HW) / np.sqrt(softening) / np.maximum(mean_HW, 1e-6)
        rgb_3HW = np.minimum(plane_3HW[::-1] * gain_HW, 1)
        return np.ascontiguousarray((255 * rgb_3HW).astype(np.uint8).transpose(1, 2, 0))


# Seeing: Dey et al. 2019 (AJ 157, 168), table 4 (median delivered image quality of DECaLS).
# Sky brightness: about 22.0, 21.0 and 18.8 mag/arcsec² in g, r, z; it only scales the photon noise.
# Stretch: the scales, m and Q of the survey's published pictures. Noise, its correlation and
# the JPEG quality: so that empty sky has the statistics measured on fifty Galaxy10 DECaLS images, at full
# size and shrunk by two and four.
DECALS = Survey(
    name="decals",
    side=256,
    pixel_scale=0.262,
    seeing=(1.29, 1.18, 1.11),
    seeing_spread=0.10,
    noise=(0.0023, 0.0043, 0.0089),
    noise_spread=0.18,
    noise_correlation=0.20,
    sky=(0.109, 0.273, 2.07),
    stretch_scales=(6.0, 3.4, 2.2),
    stretch_floor=0.03,
    stretch_softening=20.0,
    jpeg_quality=70,
)
