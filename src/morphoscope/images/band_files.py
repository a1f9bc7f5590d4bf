"""Galaxies with one FITS file per band: ``cutouts/{id}_{band}.fits``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.bands import band_name, file_of_band, ids_of_pattern, reddest_first
from morphoscope.images.decode import FITS_SUFFIXES, is_image_name
from morphoscope.images.fits import read_bands
from morphoscope.images.stream import Item

_JOINTS = ("_", "-", ".")  # between a galaxy's name and the band


def from_pattern(pattern: str, bands: Sequence[str], stretch: str) -> tuple[Iterator[Item], int]:
    """The galaxies of a pattern, ordered by id, and their number.

    Args:
        pattern: a path with ``{id}`` and ``{band}``.
        bands: what ``{band}`` stands for.
        stretch: see :mod:`morphoscope.images.stretch`.

    Raises:
        UsageError: no bands, no ``{id}``, or no file matches.
    """
    if not bands:
        raise UsageError(f"{pattern}: --bands is needed with a pattern, such as --bands g,r,z")
    ids = ids_of_pattern(pattern, bands)
    reddest = [bands[band] for band in reddest_first(bands)]

    def items() -> Iterator[Item]:
        for identity in ids:
            paths = {band: Path(file_of_band(pattern, band, identity)) for band in reddest}
            source, found = paths[reddest[0]].name, {}
            files = tuple(str(path) for path in paths.values())
            load = partial(_load, paths, source, stretch, found)
            yield Item(source, load, {"id": identity}, found, files)

    return items(), len(ids)


def band_pattern_of(folder: Path, bands: Sequence[str]) -> str | None:
    """The pattern of a folder whose files are named ``NAME_BAND.fits``; None for any other folder."""
    if len(bands) < 2:
        return None
    for entry in sorted(entry.name for entry in os.scandir(folder) if is_image_name(entry.name)):
        for band in map(band_name, bands):
            for suffix in FITS_SUFFIXES:
                joint = entry[: -len(band + suffix)][-1:]
                if entry.endswith(band + suffix) and joint in _JOINTS and joint:
                    return str(folder / f"{{id}}{joint}{{band}}{suffix}")
    return None


def _load(paths: dict[str, Path], source: str, stretch: str, found: dict[str, Any]) -> np.ndarray:
    for band, path in paths.items():
        if not path.is_file():
            raise MorphoscopeError(f"{source}: the file of band {band} is missing ({path.name})")
    return read_bands(list(paths.values()), name=source, stretch=stretch, bands=list(paths), found=found)
