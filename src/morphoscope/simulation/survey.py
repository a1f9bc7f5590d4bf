"""Parameters of surveys: sampling, seeing, depth and the stretch of their images.

Galaxies are modelled in g, r, z, in this order; fluxes are in nanomaggies (magnitude 22.5 is flux 1). A
survey observes three bands of its own, from blue to red, each a linear combination of these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from morphoscope.images.stretch import lupton

BANDS = ("g", "r", "z")
ZERO_POINT = 22.5  # magnitude of one nanomaggy


@dataclass(frozen=True)
class Survey:
    """One survey.

    Attributes:
        name: as on the command line.
        side: pixels along the side of a cutout, as observed.
        pixel_scale: arcsec per pixel of the survey's own cutouts.
        seeing: median full width at half maximum of the PSF per band, arcsec.
        seeing_spread: standard deviation of ln(seeing) from cutout to cutout.
        noise: standard deviation per pixel and band, nanomaggies.
        noise_spread: standard deviation of ln(noise) from cutout to cutout.
        noise_correlation: of neighbouring pixels, from coaddition; compression adds to it.
        sky: flux of the night sky per pixel and band, nanomaggies: sets the galaxy's own photon noise.
        stretch_scales: factor per band before the stretch.
        stretch_floor: m of the stretch, the level of empty sky.
        stretch_softening: Q of the stretch.
        jpeg_quality: 0 to 100, quality of the served images.
        bands: names of the observed bands.
        mixture: each observed band as weights of g, r and z; none: observed in g, r, z.
        middle_from_outer: the middle band is not observed, but the mean of the other two.
        view: side of the image in Petrosian 90 % radii of the galaxy; None: the whole cutout.
        picture: side of the served image, pixels; None: as observed.
        distance: of the galaxies, relative to DECaLS.
        dimming: the resulting dimming, magnitudes.
        faintest: r magnitude of the faintest neighbours worth drawing.
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
    bands: tuple[str, str, str] = BANDS
    mixture: tuple[tuple[float, float, float], ...] | None = None
    middle_from_outer: bool = False
    view: float | None = None
    picture: int | None = None
    distance: float = 1.0
    dimming: float = 0.0
    faintest: float = 24.0

    @property
    def field(self) -> float:
        """Side of a cutout in arcsec."""
        return self.side * self.pixel_scale

    @property
    def frame_scale(self) -> float:
        """Pixel scale in arcsec of the galaxies as DECaLS would see them, in which all lengths are drawn."""
        return self.pixel_scale * self.distance

    @property
    def blur(self) -> float:
        """Median seeing in r on the scale of the galaxies, over that of DECaLS."""
        return self.seeing[1] * self.distance / DECALS.seeing[1]

    def observed(self, light_3HW: np.ndarray) -> np.ndarray:
        """Convert surface brightness in g, r, z to the survey's own bands and distance, same shape."""
        if self.mixture is not None:
            light_3HW = np.tensordot(np.asarray(self.mixture, np.float32), light_3HW, axes=1)
        return light_3HW * np.float32(10 ** (-0.4 * self.dimming)) if self.dimming else light_3HW

    def pixels_shown(self, light_radius: float) -> int:
        """Side, in pixels, of the part of the cutout that the image shows.

        Args:
            light_radius: the galaxy's Petrosian 90 % radius, arcsec.
        """
        if self.view is None:
            return self.side
        return int(np.clip(2 * round(self.view * light_radius / self.frame_scale / 2), 48, self.side))

    def stretch(self, bands_3HW: np.ndarray) -> np.ndarray:
        """RGB image from fluxes in the survey's bands.

        The bands are scaled and compressed by :func:`morphoscope.images.stretch.lupton`; the last one is red,
        the first blue.

        Args:
            bands_3HW: nanomaggies per pixel; negative flux is cut at the stretch's floor.

        Returns:
            (H, W, 3) uint8.
        """
        scale = np.asarray(self.stretch_scales, np.float32)[:, None, None]
        plane_3HW = np.maximum(bands_3HW * scale + np.float32(self.stretch_floor), 0)
        rgb_3HW = np.minimum(lupton(plane_3HW, self.stretch_softening)[::-1], 1)
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

# Sampling 0.396″ and seeing (g, r, i): York et al. 2000 (AJ 120, 1579); DR7's medians. i is taken as the mean
# of r and z, between which it lies. Depth: 95 % complete to g, r, i 22.2, 22.2, 21.3. Galaxy Zoo 2 showed
# 424 pixels of 0.02 Petrosian 90 % radii each (Willett et al. 2013, MNRAS 435, 2835, section 2.2); stars in
# the Galaxy Challenge's pictures are about 8 pixels wide, so these radii are about 8″ and the galaxies as
# near as those of DECaLS. Noise and stretch (arcsinh, Lupton et al. 2004) so that sky, noise and mean profile
# are those of the Challenge's pictures.
SDSS = Survey(
    name="sdss",
    side=256,
    pixel_scale=0.396,
    seeing=(1.44, 1.32, 1.26),
    seeing_spread=0.10,
    noise=(0.0095, 0.0170, 0.0190),
    noise_spread=0.30,
    noise_correlation=0.0,
    sky=(0.25, 0.68, 1.30),
    stretch_scales=(0.73, 0.456, 0.407),
    stretch_floor=0.0010,
    stretch_softening=39.0,
    jpeg_quality=92,
    bands=("g", "r", "i"),
    mixture=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.5, 0.5)),
    view=8.48,
    picture=424,
    faintest=22.8,
)

# VIS (0.55 to 0.92 µm, here the mean of r and z) at 0.1″ with a PSF of 0.16″, and NISP's Y at 0.3″ resampled
# to it; 5σ for a point source at VIS 26.2 and Y 24.3 (Euclid Wide: Scaramella et al. 2022, A&A 662, A112).
# Blue is VIS, red Y, green their mean. The galaxies are those of DECaLS twice as far: two magnitudes
# fainter, half a magnitude of it cosmological dimming. A doubt: nothing here was compared with real pictures.
EUCLID = Survey(
    name="euclid",
    side=256,
    pixel_scale=0.1,
    seeing=(0.16, 0.30, 0.48),
    seeing_spread=0.03,
    noise=(0.0011, 0.0011, 0.0013),
    noise_spread=0.1,
    noise_correlation=0.20,
    sky=(0.02, 0.02, 0.03),
    stretch_scales=(20.0, 16.5, 13.0),
    stretch_floor=0.03,
    stretch_softening=20.0,
    jpeg_quality=90,
    bands=("VIS", "VIS+Y", "Y"),
    mixture=((0.0, 0.5, 0.5), (0.0, 0.25, 0.75), (0.0, 0.0, 1.05)),
    middle_from_outer=True,
    distance=2.0,
    dimming=2.0,
)

SURVEYS = {survey.name: survey for survey in (DECALS, SDSS, EUCLID)}
