"""Cutouts from any archive of the Virtual Observatory: Simple Image Access 2.0 finds the images that show a
position, DataLink 1.0 says what belongs to an image, SODA 1.0 cuts it out.

pyvo writes the queries and reads the answers. It makes no request: those are the client's, which keeps limits
for all threads together.

https://www.ivoa.net/documents/SIA/20151223/, https://www.ivoa.net/documents/DataLink/20150617/,
https://www.ivoa.net/documents/SODA/20170517/
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from morphoscope.cutouts.client import Client, Failed, Outside, Unsuitable
from morphoscope.cutouts.recent import Recent
from morphoscope.cutouts.services import Format, Frame, address_of
from morphoscope.cutouts.trim import Square, square_of
from morphoscope.errors import MorphoscopeError, UsageError, listed, reason_of
from morphoscope.extras import need
from morphoscope.images.bands import wavelength
from morphoscope.images.fits_bands import without_warnings
from morphoscope.images.limits import most_bytes
from morphoscope.images.table_votable import votable_of
from morphoscope.progress import note, printable

_NEAR = 1.0  # arcsec round a position that an image must touch
_MOST_IMAGES = 500  # listed for a position
_MOST_TRIED = 3  # images of one band, until one is without gaps
_WIDEST = 0.75  # wavelengths that a filter lets through, in units of their middle; white light has more
_WHOLE = 0.95  # share of pixels from which a cutout is without gaps
_TABLE_BYTES, _CUTOUT_BYTES = 8 << 20, 64 << 20
_REMEMBERED = 2  # whole images
_MARGIN = 1.02  # of a square that is asked for, in units of its side
_NOT_ON_IT = (204, 400)  # a cutout that its image's server does not have
_NO_CONTENT = (204,)  # a cutout without a pixel (SODA 1.0, section 5.1)
_SODA, _DATALINK = "ivo://ivoa.net/std/soda#sync", "ivo://ivoa.net/std/datalink"
_REGIONS = {"POS", "CIRCLE", "POLYGON", "RANGE", "BAND", "TIME", "POL"}  # that SODA cuts out
_FITS = re.compile(r"(image|application)/(x-)?fits(;|$)")


@dataclass(frozen=True)
class _Row:
    """A row of pyvo's results, with nulls told apart from the numbers that stand for them."""

    results: Any
    number: int

    @property
    def record(self) -> Any:
        """The row as pyvo has it, to fill services with."""
        return self.results[self.number]

    def _value(self, name: str) -> Any:
        names, array = self.results.fieldnames, self.results.resultstable.array
        if name not in names:
            return None
        value = array[array.dtype.names[names.index(name)]][self.number]  # by their XML ids
        return None if value is np.ma.masked else value

    def text(self, name: str) -> str:
        """A cell as text; empty if it is null or there is no such column."""
        value = self._value(name)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        return value.strip() if isinstance(value, str) else ""

    def value(self, name: str, missing: float = 0.0) -> float:
        """A cell as a number; ``missing`` if it is null, or there is no such column."""
        value = self._value(name)
        try:
            number = math.nan if value is None else float(value)
        except (TypeError, ValueError):
            return missing
        return number if math.isfinite(number) else missing


@dataclass(frozen=True)
class _Image:
    """An image that an archive lists.

    Attributes:
        identity: the publisher's identifier of it.
        level: of calibration; -1 if unknown.
        exposure: s; 0 if unknown.
        least: wavelength, nm; NaN if unknown.
        largest: wavelength, nm.
        address: of the file or of a DataLink document; empty if there is none.
        format: of what is there, lower case.
        size: bytes of it; 0 if unknown.
        row: of the listing.
    """

    identity: str
    level: int
    exposure: float
    least: float
    largest: float
    address: str
    format: str
    size: float
    row: _Row

    @property
    def middle(self) -> float:
        """Of its wavelengths, nm."""
        return (self.least + self.largest) / 2


@dataclass(frozen=True)
class _Source:
    """Where a part of an image is to be had, or the whole; bytes of the whole, 0 if unknown."""

    address: str
    whole: bool
    size: float = 0.0


class Sia2Images:
    """The images of an archive round positions; safe in any thread.

    Args:
        client: of the archive.
        form: with the address of its queries.
        bands: a file of each; empty: one image, of whatever band.

    Raises:
        UsageError: the wavelength of a band is not known.
        MissingExtra: pyvo is not installed.
    """

    def __init__(self, client: Client, form: Format, bands: Sequence[str]) -> None:
        need(("pyvo",), "cutouts", "a service of the Virtual Observatory")
        self.client, self.form = client, form
        self.wavelengths = {band: _known_wavelength(band, bands) for band in bands}
        self._whole: Recent[bytes] = Recent(_REMEMBERED)
        self._noting, self._noted = threading.Lock(), False

    def files(self, frame: Frame) -> dict[str, bytes]:
        """A FITS file of each band, or one by "".

        Raises:
            Outside: the archive has no image there, or none in one of the bands.
            Failed: it could not be had.
            Refused: the archive wants no further requests.
        """
        images = self._listed(frame)
        if not self.wavelengths:
            return {"": self._best(sorted(images, key=_rank), frame)}
        candidates = {band: _in_band(images, nm) for band, nm in self.wavelengths.items()}
        missing = [band for band, some in candidates.items() if not some]
        if missing:
            raise Outside(f"the survey has no image in {listed(missing)} here: the archive lists none")
        return {band: self._best(some, frame) for band, some in candidates.items()}

    def _listed(self, frame: Frame) -> list[_Image]:
        """The images that show a position.

        Raises:
            Outside: there is none.
        """
        address = query_address(self.form.address, frame)
        listing = self.client.get(address, _listing_of, most_bytes=_TABLE_BYTES, outside=_NO_CONTENT)
        if listing.status[0].lower() == "overflow":
            self._note_overflow()
        images = [_image(_Row(listing, number)) for number in range(len(listing))]
        if not images:
            raise Outside("the survey has no image here: the archive lists none")
        return images

    def _note_overflow(self) -> None:
        with self._noting:
            if self._noted:
                return
            self._noted = True
        note(
            f"{self.client.service.title}: lists more than {_MOST_IMAGES} images of a position; name a "
            "collection in the address (?COLLECTION=…)"
        )

    def _best(self, images: Sequence[_Image], frame: Frame) -> bytes:
        """The first cutout without gaps, else the one with the fewest.

        Raises:
            Outside: none of the first few images has pixels there.
            Failed: and one could not be had.
        """
        found: list[Square] = []
        reasons: list[MorphoscopeError] = []
        for image in images[:_MOST_TRIED]:
            try:
                found.append(self._square(image, frame))
            except (Outside, Failed) as error:
                reasons.append(error)
                continue
            if found[-1].known >= _WHOLE:
                break
        if found:
            return max(found, key=lambda square: square.known).content
        raise next((error for error in reasons if isinstance(error, Failed)), reasons[0])

    def _square(self, image: _Image, frame: Frame) -> Square:
        source = self._source(image, frame)
        cards = {"PUBDID": printable(image.identity)[:60]}
        check = lambda content: square_of(content, frame, self.form.pixels[1], cards)  # noqa: E731
        query = self._own_cut(source, frame)
        if not source.whole or query:
            address, outside = (query, _NOT_ON_IT) if query else (source.address, _NO_CONTENT)
            return self.client.get(address, _seen(check), most_bytes=_CUTOUT_BYTES, outside=outside)
        if source.size > most_bytes():
            raise Failed(
                f"the archive cuts nothing out of its image, and the whole has {source.size / 1e6:,.0f} MB, "
                f"more than the {most_bytes() / 1e6:,.0f} MB that are fetched"
            )
        content = self._whole.get(
            source.address, lambda: self.client.get(source.address, _whole_file, most_bytes=most_bytes())
        )
        try:
            return _seen(check)(content)
        except Unsuitable as error:
            raise Failed(f"the service {error}") from error

    def _own_cut(self, source: _Source, frame: Frame) -> str:
        """The address by which an image's server cuts it out itself; empty if it does not."""
        parts = urlsplit(source.address)
        query = next((query for part, query in self.form.cuts.items() if part in parts.path), "")
        if not source.whole or not query or parts.query:
            return ""
        wider = replace(frame, arcsec=_MARGIN * frame.arcsec + 1)
        return f"{source.address}?{address_of(query, self.client.service, wider)}"

    def _source(self, image: _Image, frame: Frame) -> _Source:
        """Where the cutout of an image is to be had, or else the whole.

        Raises:
            Failed: neither is offered.
        """
        soda = _descriptor(image.row.results, _SODA)
        if soda is not None:
            return self._cutting(image.row.record, soda, frame)
        links = _descriptor(image.row.results, _DATALINK)
        address = image.address if "content=datalink" in image.format else ""
        if links is not None:
            address = _filled(image.row.record, links)
        if not address:
            if image.address and _FITS.match(image.format):
                return _Source(self._named(image.address), True, image.size)
            raise Failed(
                f"the archive has its image as '{printable(image.format)[:60]}'; FITS or DataLink was "
                "expected"
            )
        found = self.client.get(self._named(address), _links_of, most_bytes=_TABLE_BYTES)
        return self._linked(found, image, frame)

    def _linked(self, links: Any, image: _Image, frame: Frame) -> _Source:
        whole, said = None, ""
        for row in (_Row(links, number) for number in range(len(links))):
            said = said or row.text("error_message")
            name = row.text("service_def")
            if name and (soda := _descriptor(links, _SODA, name)) is not None:
                return self._cutting(row.record, soda, frame)
            kind, address = row.text("content_type").lower(), row.text("access_url")
            if row.text("semantics") == "#this" and address and (not kind or _FITS.match(kind)):
                size = row.value("content_length")
                whole = whole or _Source(self._named(address), True, size or image.size)
        if whole is not None:
            return whole
        tail = f": '{printable(said)[:100]}'" if said else ""
        raise Failed(f"the archive links to neither a cutout of its image nor the whole as FITS{tail}")

    def _named(self, address: str) -> str:
        return self.client.named(address, after=self.form.address)

    def _cutting(self, record: Any, soda: Any, frame: Frame) -> _Source:
        """The address of a cutout: of the circle round it, so that it is whole if what is beyond is blank."""
        radius = frame.arcsec / 3600 / math.sqrt(2)
        circle = f"{frame.ra:.7f} {frame.dec:.7f} {radius:.7f}"
        offered = _parameters(soda)
        if "CIRCLE" in offered:
            region = {"CIRCLE": circle}
        elif "POS" in offered:
            region = {"POS": f"CIRCLE {circle}"}
        else:
            raise Failed("the archive cuts its image out, but not round a position (no CIRCLE, no POS)")
        return _Source(self._named(_filled(record, soda, region)), False)


def query_address(address: str, frame: Frame) -> str:
    """The query for the images that show a position, with what the address asks for already.

    Args:
        address: of the service's queries.
        frame: its position.
    """
    from pyvo.dal.sia2 import SIA2Query

    asked = {name.upper() for name in parse_qs(urlsplit(address).query, keep_blank_values=True)}
    query = SIA2Query(address, pos=(round(frame.ra, 7), round(frame.dec, 7), round(_NEAR / 3600, 7)))
    if "DPTYPE" not in asked:
        query.data_type.add("image")
    if "MAXREC" not in asked:
        query.maxrec = _MOST_IMAGES
    return _address(query.queryurl, query)


def _address(base: str, parameters: Mapping[str, Any]) -> str:
    import requests

    return str(requests.Request("GET", base, params=dict(parameters)).prepare().url)


def _known_wavelength(band: str, bands: Sequence[str]) -> float:
    nm = wavelength(band)
    if nm is None:
        raise UsageError(
            f"--bands {','.join(bands)}: the wavelength of {band} is not known, by which an archive finds "
            f"its images; give it in nm, as {band}@750"
        )
    return nm


def _rank(image: _Image) -> tuple[Any, ...]:
    """Calibrated before raw, long exposures first; the same every time."""
    return -image.level, -image.exposure, image.identity


def _in_band(images: Sequence[_Image], nm: float) -> list[_Image]:
    """The images through a filter that includes a wavelength, those first in whose middle it lies."""
    inside = [image for image in images if image.least <= nm <= image.largest]
    filtered = [image for image in inside if image.largest - image.least <= _WIDEST * image.middle]
    return sorted(filtered, key=lambda image: (abs(image.middle - nm), *_rank(image)))


def _listing_of(content: bytes) -> Any:
    """The images that an archive lists, as pyvo's results.

    Raises:
        Failed: it says that the query is wrong.
        Unsuitable: it is something else.
    """
    from pyvo.dal.sia2 import SIA2Results

    return _results(SIA2Results, content, "list of images")


def _links_of(content: bytes) -> Any:
    """A DataLink document, as pyvo's results.

    Raises:
        as :func:`_listing_of`.
    """
    from pyvo.dal.adhoc import DatalinkResults

    return _results(DatalinkResults, content, "list of links")


def _results(kind: Callable[..., Any], content: bytes, what: str) -> Any:
    from pyvo.dal.exceptions import DALQueryError

    begins = content[:512].lstrip().lower()
    if begins.startswith((b"<!doctype html", b"<html")):
        raise Unsuitable(f"sent a web page in place of a {what}")
    try:
        table = votable_of(content, "it")
        with without_warnings():
            return kind(table)
    except DALQueryError as error:
        said = printable(" ".join(str(error.reason).split()))[:200]
        raise Failed(f"the service says '{said}'") from error
    except Exception as error:  # pyvo raises whatever unexpected tables do to it
        raise Unsuitable(f"sent something that is no {what} ({reason_of(error)})") from error


def _image(row: _Row) -> _Image:
    return _Image(
        identity=row.text("obs_publisher_did"),
        level=int(row.value("calib_level", -1)),
        exposure=row.value("t_exptime"),
        least=row.value("em_min", math.nan) * 1e9,
        largest=row.value("em_max", math.nan) * 1e9,
        address=row.text("access_url"),
        format=row.text("access_format").lower().replace(" ", ""),
        size=row.value("access_estsize") * 1000,  # kB
        row=row,
    )


def _descriptor(results: Any, standard: str, identity: str = "") -> Any:
    """The description of a service that follows a standard; None if there is none.

    Args:
        results: pyvo's, with descriptions.
        standard: identifier of the standard, lower case.
        identity: of the description; empty: any.
    """
    for service in results.iter_adhocservices():
        values = {each.name: each.value for each in service.params}
        if not str(values.get("standardID", "")).lower().startswith(standard):
            continue
        if identity in ("", service.ID) and values.get("accessURL") and _group(service) is not None:
            return service
    return None


def _group(service: Any) -> Any:
    return next((group for group in service.groups if group.name == "inputParams"), None)


def _parameters(service: Any) -> set[str]:
    """The names of what a service takes."""
    return {each.name for each in _group(service).entries if getattr(each, "name", None)}


def _filled(record: Any, service: Any, more: Mapping[str, str] | None = None) -> str:
    """The address of a service, for a row of a table.

    Args:
        record: the row, pyvo's.
        service: its description, pyvo's.
        more: the region to cut out, in place of any that the description may have.

    Raises:
        Failed: the row lacks what the service needs.
    """
    from pyvo.dal.adhoc import DatalinkQuery

    try:
        query = DatalinkQuery.from_resource(record, service)
    except Exception as error:  # pyvo raises whatever an unexpected description does to it
        raise Failed(f"the archive describes a service that cannot be used ({reason_of(error)})") from error
    kept = {name: value for name, value in query.items() if more is None or name not in _REGIONS}
    return _address(query.queryurl, {**kept, **(more or {})})


def _whole_file(content: bytes) -> bytes:
    begins = content[:512].lstrip()
    if not content or begins.startswith(b"<"):
        raise Unsuitable("sent a web page in place of the image" if content else "sent an empty answer")
    return content


def _seen(check: Callable[[bytes], Square]) -> Callable[[bytes], Square]:
    """The check of a file, which also refuses squares without a measured pixel."""

    def seen(content: bytes) -> Square:
        square = check(_whole_file(content))
        if not square.known:
            raise Outside("the survey has no image here: the FITS file has no measured pixel")
        return square

    return seen
