"""Galaxies that are close together on the sky."""

from __future__ import annotations

import numpy as np

FALLBACK_RADIUS = 10.0  # arcsec, when the pixel scale is unknown


def default_group_radius(pixel_scale: float | None, side: int) -> float:
    """Half a cutout in arcsec (each galaxy then lies in the other's image); 10 if unknown."""
    return FALLBACK_RADIUS if pixel_scale is None else 0.5 * pixel_scale * side


def sky_pairs(ra: np.ndarray, dec: np.ndarray, radius: float) -> np.ndarray:
    """All pairs of galaxies closer than ``radius`` arcsec on the sky.

    Args:
        ra: right ascension in degrees, (N,); rows that are not finite are in no pair.
        dec: declination in degrees, (N,).
        radius: arcsec, great-circle distance, inclusive.

    Returns:
        (P, 2) int64 row numbers, first < second, sorted.
    """
    from scipy.spatial import KDTree

    finite = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if len(finite) < 2:
        return np.empty((0, 2), np.int64)
    lon, lat = np.radians(np.asarray(ra, float)[finite]), np.radians(np.asarray(dec, float)[finite])
    unit = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    chord = 2 * np.sin(np.radians(radius / 3600) / 2)
    pairs = finite[KDTree(unit).query_pairs(chord, output_type="ndarray")].reshape(-1, 2)
    pairs.sort(axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].astype(np.int64)


def separations(ra: np.ndarray, dec: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Great-circle distance of each pair in arcsec, (P,) float64; ra and dec in degrees, pairs (P, 2)."""
    lon, lat = np.radians(np.asarray(ra, float)), np.radians(np.asarray(dec, float))
    first, second = pairs[:, 0], pairs[:, 1]
    # The haversine form keeps its precision for the smallest distances.
    half = (
        np.sin((lat[first] - lat[second]) / 2) ** 2
        + np.cos(lat[first]) * np.cos(lat[second]) * np.sin((lon[first] - lon[second]) / 2) ** 2
    )
    return np.degrees(2 * np.arcsin(np.sqrt(np.minimum(half, 1.0)))) * 3600


def groups_from_pairs(pairs: np.ndarray, count: int) -> np.ndarray:
    """Friends of friends: the number of each row's group, (count,) int64, numbered by first appearance."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(links, directed=False)[1].astype(np.int64)


def sky_groups(ra: np.ndarray, dec: np.ndarray, radius: float) -> np.ndarray:
    """Friends-of-friends groups on the sky, (N,) int64; galaxies without coordinates stand alone."""
    return groups_from_pairs(sky_pairs(ra, dec, radius), len(ra))
