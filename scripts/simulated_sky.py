"""Draw ``docs/images/simulated-sky.jpg``: simulated sky with the packaged network's labels.

Galaxies of all ten classes, stars and faint neighbours as DECaLS would see them, in one image, which then
goes through ``predict --detect`` like any other.

    python scripts/simulated_sky.py [OUT]
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

import morphoscope as ms
from morphoscope.labels.galaxy10 import GALAXY10
from morphoscope.simulation.observation import add_field, observe, serve
from morphoscope.simulation.profiles import MARGIN, frame_of
from morphoscope.simulation.rendering import Light, system_light
from morphoscope.simulation.sampling import draw_galaxy
from morphoscope.simulation.survey import DECALS

SIDE = 680  # pixels
CELLS = 4  # galaxies along a side
SEED = 5
OUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "simulated-sky.jpg"


def simulated_sky() -> np.ndarray:
    """The image, (SIDE, SIDE, 3) uint8."""
    rng = np.random.default_rng(SEED)
    survey, near = replace(DECALS, side=SIDE), frame_of(DECALS)
    frame = frame_of(survey)
    total_3PP = np.zeros((3, frame.side, frame.side), np.float32)
    step = SIDE / CELLS
    for number in range(CELLS**2):
        name = GALAXY10.classes[number * 3 % len(GALAXY10.classes)]
        light_3PP = system_light(near, draw_galaxy(name, rng, seeing=survey.blur)).total_3PP
        row, column = divmod(number, CELLS)
        middle = MARGIN + step * (np.array([row, column]) + 0.5) + rng.uniform(-0.1, 0.1, 2) * step
        _add(total_3PP, light_3PP, np.rint(middle - near.side / 2).astype(int))
    light = Light(total_3PP, {})
    add_field(light, frame, rng)
    return serve(survey, observe(light.total_3PP, frame, rng), SIDE)


def _add(total_3PP: np.ndarray, light_3QQ: np.ndarray, corner: np.ndarray) -> None:
    """Add light with its first row and column at ``corner``, cut off at the edges."""
    side, other = total_3PP.shape[1], light_3QQ.shape[1]
    low, high = np.maximum(corner, 0), np.minimum(corner + other, side)
    (top, left), (bottom, right) = low, high
    first = low - corner
    part = light_3QQ[:, first[0] : first[0] + bottom - top, first[1] : first[1] + right - left]
    total_3PP[:, top:bottom, left:right] += part


def main(out: str = str(OUT)) -> None:
    """Simulate, detect, classify, draw."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "sky.png"
        ms.load("default").sky(simulated_sky(), Path(folder) / "sky.parquet", drawn=drawn)
        picture = Image.open(drawn).convert("RGB")
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    picture.resize((800, round(800 * picture.height / picture.width))).save(out, quality=82)


if __name__ == "__main__":
    main(*sys.argv[1:])
