"""Positions of named objects, from CDS Sesame."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.error import URLError

import numpy as np

from morphoscope.errors import MorphoscopeError, UsageError, reason_of
from morphoscope.images.positions import SourceRows


def resolved(names: Sequence[str], resolver: str, arcsec: float | None) -> SourceRows:
    """The positions of named objects.

    SIMBAD is asked first, then NED, then VizieR (https://cds.unistra.fr/cgi-bin/Sesame).

    Args:
        names: such as "NGC 1300".
        resolver: address of the service; empty: astropy's own.
        arcsec: side of each cutout; None if it has to be measured.

    Raises:
        UsageError: a name is not known.
        MorphoscopeError: the service cannot be reached.
    """
    places = [_position(name, resolver) for name in names]
    sides = np.full(len(names), np.nan if arcsec is None else arcsec)
    return SourceRows(
        list(names), np.array([ra for ra, _ in places]), np.array([dec for _, dec in places]), sides, {}
    )


def _position(name: str, resolver: str) -> tuple[float, float]:
    from astropy.coordinates.name_resolve import (
        NameResolveError,
        get_icrs_coordinates,
        sesame_url,
    )

    addresses = [resolver] if resolver else sesame_url.get()
    try:
        with sesame_url.set(addresses):
            found = get_icrs_coordinates(name)
    except NameResolveError as error:
        if "Unable to find" in str(error):
            raise UsageError(f"--name {name}: no object of this name is known to CDS Sesame") from error
        raise MorphoscopeError(f"--name {name}: CDS Sesame cannot be reached; give ra and dec") from error
    except (OSError, URLError, ValueError) as error:
        raise MorphoscopeError(f"--name {name}: CDS Sesame cannot be asked ({reason_of(error)})") from error
    return float(found.ra.deg), float(found.dec.deg)  # type: ignore[union-attr]
