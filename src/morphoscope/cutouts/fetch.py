"""One cutout: its requests, and how much of the sky it must show.

Shape letters: H × W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from morphoscope.cutouts.check import check_image, most_bytes_of
from morphoscope.cutouts.client import Client, Outside, Unsuitable
from morphoscope.cutouts.services import SIA2, Frame, Service, address_of, pixels_sent
from morphoscope.cutouts.sia2 import Sia2Images
from morphoscope.errors import UsageError
from morphoscope.images.central_source import central_source
from morphoscope.images.decode import read_image

MEASURED = "measured"  # in place of a side: from a first wide cutout
WIDE = 2.0  # side of that cutout, in units of the service's own
FILLED = 0.4  # share of a cutout's side that its galaxy fills, as in Galaxy10 and the training of `default`
_TOO_LARGE = 0.7  # share of a wide cutout from which a wider one is needed
_WIDER, _WIDENINGS = 3.0, 2
_NARROWEST = 0.25  # side of the narrowest measured cutout, in units of the service's own
_INDEX_BYTES = 1 << 20
_COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Cutout:
    """The files of one cutout.

    Attributes:
        files: content by band; by "" where one file has all.
        arcsec: side on the sky.
        diameter: of the galaxy in the middle, arcsec, if it was measured.
    """

    files: Mapping[str, bytes]
    arcsec: float
    diameter: float | None = None


class CutoutSource:
    """Fetches cutouts of one survey, all alike but for place and size.

    Args:
        client: of the survey's service.
        kind: "jpg" or "fits".
        pixels: along a side.
        bands: to ask for; empty: those of the service.

    Raises:
        UsageError: the service has no such images.
    """

    def __init__(self, client: Client, kind: str, pixels: int, bands: Sequence[str] = ()) -> None:
        self.client, self.service, self.kind, self.pixels = client, client.service, kind, pixels
        self.form = self.service.format(kind)
        self.bands = self.service.chosen_bands(kind, bands)
        of_archive = self.form.protocol == SIA2  # whose images have pixels of any size
        self._archive = Sia2Images(client, self.form, self.bands) if of_archive else None
        least, most = self.form.pixels
        if not least <= pixels <= most:
            raise UsageError(
                f"--pixels {pixels}: {self.service.name} serves {kind} images of {least} to {most} pixels"
            )

    @property
    def file_bands(self) -> tuple[str, ...]:
        """The band of each file of a cutout; one without a name where one file has all bands."""
        return self.bands if self.form.per_band and self.bands else ("",)

    def pixels_of(self, arcsec: float | None) -> int | None:
        """Pixels along a side of a cutout of ``arcsec``; None if that is not known before it is there."""
        if self.form.resampled:
            return self.pixels
        if arcsec is None or self._archive is not None:
            return None
        return pixels_sent(self.service, self.form, Frame(0, 0, arcsec, 1))

    def check_side(self, arcsec: float) -> str:
        """Why a cutout of this side cannot be asked for; empty if it can."""
        most = self.form.pixels[1]
        if self._archive is not None:
            return ""
        if not self.form.resampled and arcsec / self.service.scale > most:
            return f"{arcsec:g}″ are more than the {most} pixels that {self.service.name} serves"
        return ""

    def fetch(self, ra: float, dec: float, arcsec: float | None) -> Cutout:
        """Fetch the cutout of a position.

        Args:
            ra: degrees (ICRS).
            dec: degrees.
            arcsec: its side; None: such that the galaxy in the middle fills :data:`FILLED` of it.

        Raises:
            Outside: the survey has no image there.
            Failed: it could not be had.
            Refused: the service wants no further requests.
        """
        if arcsec is not None:
            return Cutout(self._files(Frame(ra, dec, arcsec, self.pixels)), arcsec)
        wide, diameter = self.wide(ra, dec)
        if diameter is None:
            return wide
        side = max(diameter / FILLED, _NARROWEST * self.service.arcsec)
        side = min(side, wide.arcsec)
        if side > 0.95 * wide.arcsec:
            return wide
        found = self.fetch(ra, dec, round(side, 2))
        return replace(found, diameter=diameter)

    def wide(self, ra: float, dec: float) -> tuple[Cutout, float | None]:
        """A cutout with sky round its galaxy, and the galaxy's diameter, arcsec (None: nothing stands out).

        Raises:
            as :meth:`fetch`.
        """
        arcsec, widenings = WIDE * self.service.arcsec, 0
        while True:
            found = self.fetch(ra, dec, arcsec)
            source = central_source(self._picture(found))
            if source is None:
                return found, None
            enough = source.size <= _TOO_LARGE or widenings == _WIDENINGS
            if enough or self.check_side(arcsec * _WIDER):
                diameter = source.size * arcsec
                return replace(found, diameter=diameter), diameter
            arcsec, widenings = arcsec * _WIDER, widenings + 1

    def _picture(self, cutout: Cutout) -> Any:
        bands = self.file_bands
        middle = bands[len(bands) // 2]
        return read_image(cutout.files[middle], name="the cutout")

    def _files(self, frame: Frame) -> Mapping[str, bytes]:
        if self._archive is not None:
            return self._archive.files(frame)
        listed = self._listed(frame) if self.form.index else {}
        return {band: self._file(frame, band, listed) for band in self.file_bands}

    def _file(self, frame: Frame, band: str, listed: Mapping[str, str]) -> bytes:
        names = {"file": listed[band]} if band and listed else self._coloured(listed)
        address = address_of(self.form.address, self.service, frame, bands=self.bands, band=band, files=names)
        pixels = pixels_sent(self.service, self.form, frame)
        return self.client.get(
            address,
            lambda content: check_image(content, self.kind, pixels, exact=self.form.resampled),
            most_bytes=most_bytes_of(pixels),
            outside=self.form.outside,
            account=self.form.account,
        )

    def _coloured(self, listed: Mapping[str, str]) -> dict[str, str]:
        """The files of the three bands of a colour image; bands are listed from blue to red."""
        if not listed:
            return {}
        order = sorted(self.bands, key=self.service.band_names.index, reverse=True)
        return dict(zip(_COLOURS, (listed[band] for band in order), strict=False))

    def _listed(self, frame: Frame) -> Mapping[str, str]:
        """The survey's file of each band at a position.

        Raises:
            Outside: it has none of one of the bands.
        """
        address = address_of(self.form.index, self.service, frame, bands=self.bands)
        listed = self.client.get(
            address, _files_of, most_bytes=_INDEX_BYTES, outside=self.form.outside, account=self.form.account
        )
        missing = [band for band in self.bands if band not in listed]
        if missing:
            what = "no image" if len(missing) == len(self.bands) else f"no image in {', '.join(missing)}"
            raise Outside(f"the survey has {what} here: it lists no file")
        return listed


def _files_of(content: bytes) -> dict[str, str]:
    """The first file of each band of a table with the columns ``filter`` and ``filename``.

    Raises:
        Unsuitable: it is something else.
    """
    lines = [line.split() for line in content.decode("utf-8", "replace").splitlines() if line.strip()]
    if not lines or not {"filter", "filename"} <= set(lines[0]):
        raise Unsuitable("sent something that is no list of files")
    band, name = lines[0].index("filter"), lines[0].index("filename")
    found: dict[str, str] = {}
    for line in lines[1:]:
        if len(line) != len(lines[0]):
            raise Unsuitable("sent half a list of files")
        found.setdefault(line[band], line[name])
    return found


def pixels_by_default(service: Service, kind: str, arcsec: float | None) -> int:
    """Pixels along a side for cutouts of ``arcsec``: the survey's own scale, within what is served."""
    side = (arcsec or service.arcsec) / service.scale
    least, most = service.format(kind).pixels
    return int(min(max(round(side), least), most))
