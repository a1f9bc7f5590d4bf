"""Simulated against real galaxies in numbers: ``simulator_statistics.py FOLDER [--page docs/simulator.md]``.

FOLDER holds real images of Galaxy10 DECaLS and a ``labels.csv`` (columns ``file``, ``label``). Both kinds are
measured by the same code: the survey's stretch is undone, the sky and its noise are taken where photutils
finds no source, and the galaxy in the middle is the source there. The table goes to stdout and, with
``--page``, between the page's marks.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from photutils.background import Background2D, MedianBackground
from photutils.segmentation import SourceCatalog, deblend_sources, detect_sources

from contact_sheet import read_real, simulated
from morphoscope.labels.galaxy10 import GALAXY10
from morphoscope.simulation.survey import DECALS, ZERO_POINT, Survey

SKY = ("sky", "noise", "between channels", "1 pixel", "2 pixels", "sources")
GALAXY = ("r", "g−r", "r−z", "r50", "r90", "r90/r50", "b/a", "asymmetry")
DIGITS = {"r": 1, "r50": 1, "r90": 1, "sky": 1, "noise": 1, "sources": 0}


class Measured(NamedTuple):
    """One picture: the numbers of its sky and of its galaxy, as in SKY and GALAXY."""

    sky: np.ndarray
    galaxy: np.ndarray


def fluxes(image_HWC: np.ndarray, survey: Survey = DECALS) -> np.ndarray:
    """The stretch undone: g, r, z in nanomaggies per pixel, (3, H, W); saturated pixels stay too faint."""
    softening = survey.stretch_softening
    values_3HW = np.maximum(image_HWC.transpose(2, 0, 1)[::-1].astype(float) + 0.5, 0.5) / 255
    mean_HW = values_3HW.mean(axis=0)
    plane_3HW = values_3HW * (np.sinh(softening**0.5 * mean_HW) / softening / mean_HW)
    return (plane_3HW - survey.stretch_floor) / np.asarray(survey.stretch_scales)[:, None, None]


def measure(image_HWC: np.ndarray, survey: Survey = DECALS) -> Measured | None:
    """Measure one picture; None where nothing is found in its middle."""
    flux_3HW = fluxes(image_HWC, survey)
    smooth_HW = cv2.GaussianBlur(flux_3HW[1], (0, 0), 1.5)
    sky = Background2D(smooth_HW, 64, bkg_estimator=MedianBackground())
    level = sky.background_median
    found = detect_sources(smooth_HW - level, 2.5 * sky.background_rms_median, n_pixels=8)
    if found is None:
        return None
    found = deblend_sources(smooth_HW - level, found, n_pixels=8, contrast=0.02, progress_bar=False)
    middle = image_HWC.shape[0] // 2
    near = found.data[middle - 4 : middle + 5, middle - 4 : middle + 5]
    labels = near[near > 0]
    if not len(labels):
        return None
    label = int(np.bincount(labels).argmax())
    empty_HW = cv2.dilate((found.data > 0).astype(np.uint8), np.ones((9, 9), np.uint8)) == 0
    light_3HW = flux_3HW - np.array([np.median(band[empty_HW]) for band in flux_3HW])[:, None, None]
    own_HW = (found.data == label) | (found.data == 0)
    shape = SourceCatalog(smooth_HW - level, found)
    place = int(np.flatnonzero(shape.labels == label)[0])
    centre = float(shape.x_centroid[place]), float(shape.y_centroid[place])
    galaxy = _galaxy(light_3HW, own_HW, centre, survey.pixel_scale)
    ratio = float(shape.semiminor_axis[place] / shape.semimajor_axis[place])
    return Measured(_sky(image_HWC, empty_HW, found.n_labels), np.array([*galaxy[:-1], ratio, galaxy[-1]]))


def _galaxy(
    light_3HW: np.ndarray, own_HW: np.ndarray, centre: tuple[float, float], scale: float
) -> list[float]:
    """Magnitude, colours, radii with 50 and 90 % of the light (arcsec), their ratio, asymmetry."""
    rows, columns = np.indices(own_HW.shape)
    radius_HW = np.hypot(columns - centre[0], rows - centre[1])
    ring = radius_HW.astype(int)
    inside = np.bincount(ring[own_HW], minlength=200)[:200]
    light = np.array([np.bincount(ring[own_HW], band[own_HW], minlength=200)[:200] for band in light_3HW])
    area = np.bincount(ring.ravel(), minlength=200)[:200]
    profile = light / np.maximum(inside, 1)  # neighbours are replaced by their ring's mean
    growth = np.cumsum(profile * area, axis=1)
    # Petrosian aperture: twice the radius where the light falls to a fifth of the mean inside it.
    mean = growth[1] / np.maximum(np.cumsum(area), 1)
    low = np.flatnonzero((profile[1] < 0.2 * mean) & (np.arange(200) > 2))
    edge = int(np.clip(2 * (low[0] if len(low) else 50), 8, 127))
    total_3 = np.maximum(growth[:, edge], 1e-3)
    radii = np.arange(edge + 1) + 1
    half, most = (np.interp(share * total_3[1], growth[1, : edge + 1], radii) for share in (0.5, 0.9))
    magnitude = ZERO_POINT - 2.5 * np.log10(total_3)
    return [
        magnitude[1],
        magnitude[0] - magnitude[1],
        magnitude[1] - magnitude[2],
        half * scale,
        most * scale,
        most / half,
        _asymmetry(light_3HW[1], own_HW, centre, edge / 2),
    ]


def _asymmetry(light_HW: np.ndarray, own_HW: np.ndarray, centre: tuple[float, float], radius: float) -> float:
    """Conselice 2003 (ApJS 147, 1), without his search for the centre: Σ|I − I₁₈₀| / Σ|I|, less the sky's."""
    turn = cv2.getRotationMatrix2D(centre, 180, 1.0)
    side = light_HW.shape[0]
    turned_HW = cv2.warpAffine(light_HW, turn, (side, side), borderValue=0)
    both_HW = own_HW & (cv2.warpAffine(own_HW.astype(np.uint8), turn, (side, side)) > 0)
    rows, columns = np.indices(light_HW.shape)
    radius_HW = np.hypot(columns - centre[0], rows - centre[1])
    inside, beyond = both_HW & (radius_HW < radius), both_HW & (radius_HW > 2.2 * radius)
    difference_HW = np.abs(light_HW - turned_HW)
    noise = np.median(difference_HW[beyond]) if beyond.sum() > 100 else 0.0
    return float((difference_HW[inside] - noise).sum() / np.abs(light_HW[inside]).sum())


def _sky(image_HWC: np.ndarray, empty_HW: np.ndarray, sources: int) -> np.ndarray:
    values = image_HWC.astype(float)
    pixels = values[empty_HW]
    rest = values[..., 1] - np.median(pixels[:, 1])
    variance = (rest[empty_HW] ** 2).mean()
    lags = []
    for lag in (1, 2):
        both = empty_HW[:, lag:] & empty_HW[:, :-lag]
        lags.append((rest[:, lag:] * rest[:, :-lag])[both].mean() / variance)
    between = np.corrcoef(pixels.T)[[0, 0, 1], [1, 2, 2]].mean()
    return np.array([np.median(pixels, axis=0).mean(), pixels.std(axis=0).mean(), between, *lags, sources])


def table(real: dict[int, list[Measured]], made: dict[int, list[Measured]]) -> str:
    """Medians, simulated / real, as Markdown."""
    lines = ["| sky | simulated | real |", "|---|---|---|"]
    skies = [np.median([m.sky for group in side.values() for m in group], axis=0) for side in (made, real)]
    for name, simulated_value, real_value in zip(SKY, *skies, strict=True):
        digits = DIGITS.get(name, 2)
        lines.append(f"| {name} | {simulated_value:.{digits}f} | {real_value:.{digits}f} |")
    lines += ["", f"| class, simulated / real | {' | '.join(GALAXY)} |", "|---" * (len(GALAXY) + 1) + "|"]
    for k, name in enumerate(GALAXY10.classes):
        pair = [np.median([m.galaxy for m in side[k]], axis=0) for side in (made, real)]
        cells = [
            f"{a:.{DIGITS.get(what, 2)}f} / {b:.{DIGITS.get(what, 2)}f}"
            for what, a, b in zip(GALAXY, *pair, strict=True)
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    counts = [sum(map(len, side.values())) for side in (made, real)]
    return "\n".join([*lines, "", f"Medians of {counts[0]} simulated and {counts[1]} real pictures."])


def filled(page: str, content: str) -> str:
    """The page with the table between its marks."""
    marks = r"(<!-- statistics -->\n).*?(<!-- end of statistics -->)"
    return re.sub(marks, lambda m: m[1] + content + "\n" + m[2], page, flags=re.DOTALL)


def main() -> None:
    """Measure both kinds and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", type=int, default=20, help="simulated galaxies of each class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, help="page to write the table into")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    sides = []
    for images in (read_real(given.folder), simulated("decals", given.seed, given.each, DECALS.side)):
        measured = {k: [measure(image) for image in group] for k, group in images.items()}
        sides.append({k: [m for m in group if m is not None] for k, group in measured.items()})
    content = table(*sides)
    print(content)
    if given.page:
        given.page.write_text(filled(given.page.read_text(encoding="utf-8"), content), encoding="utf-8")


if __name__ == "__main__":
    main()
