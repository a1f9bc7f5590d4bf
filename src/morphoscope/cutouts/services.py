"""The table of cutout services, ``services.yaml``, and how one cutout is asked for.

A table of the user's own, of the same layout, adds services or replaces them: ``--service FILE``, or the
environment variable :data:`SETTING`.
"""

from __future__ import annotations

import os
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, Field, model_validator

from morphoscope.errors import UsageError, did_you_mean
from morphoscope.versioned import load_yaml, read_document, understood

TABLE = Path(__file__).parent / "services.yaml"
SETTING = "MORPHOSCOPE_SERVICES"
FORMAT_VERSION = 1
HIPS = "hips"  # the service whose name is followed by the identifier of a HiPS
SIA2 = "sia2"  # the one whose name is followed by the address of an archive's queries
KINDS = ("jpg", "fits")
_FIELDS = {
    *("ra", "dec", "pixels", "arcsec", "half_arcsec", "degrees", "scale", "native_pixels", "bands", "band"),
    *("BAND", "red", "green", "blue", "file", "hips"),
}
_NAMED_FILES = frozenset(("red", "green", "blue", "file"))
_HIPS_NAME = re.compile(r"[A-Za-z0-9+][A-Za-z0-9._+~-]*(/[A-Za-z0-9._+~-]+)+")
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _fields(address: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(address) if name is not None}


class Format(BaseModel, frozen=True, extra="forbid"):
    """How a service is asked for one format of files.

    Attributes:
        address: of one cutout, with names in braces; see ``services.yaml``. Of the queries if it is an
            archive.
        protocol: "address", or "sia2" for an archive of the Virtual Observatory.
        cuts: of an archive: a part of the addresses of images that their server cuts out without SODA, and
            the query that it takes.
        index: of the table of files that ``address`` needs; empty if it needs none.
        pixels: least and most pixels along a side.
        bands: those that are asked for unless the user names some; letters, or one name.
        per_band: each band is a file of its own.
        resampled: the image has as many pixels as asked for; otherwise the survey's own.
        outside: HTTP status of positions without images.
        account: where one registers; empty if no account is needed.
    """

    address: str
    protocol: Literal["address", "sia2"] = "address"
    cuts: dict[str, str] = {}
    index: str = ""
    pixels: tuple[int, int]
    bands: str = ""
    per_band: bool = False
    resampled: bool = True
    outside: tuple[int, ...] = ()
    account: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Format:
        if self.protocol == SIA2 and (self.index or self.resampled or not self.per_band):
            raise ValueError("an archive's images have no index, their own pixels, and a file per band")
        for address in filter(None, (self.address, self.index)):
            parts = urlsplit(address)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"'{address}' is not an address that begins with https:// or http://")
            unknown = set() if self.protocol == SIA2 else _fields(address) - _FIELDS
            unknown = unknown.union(*map(_fields, self.cuts.values())) - _FIELDS
            if unknown:
                raise ValueError(f"'{address}' has an unknown name in braces: {', '.join(sorted(unknown))}")
        if _NAMED_FILES & _fields(self.address) and not self.index:
            raise ValueError(f"'{self.address}' names files, so 'index' is needed")
        if not 1 <= self.pixels[0] <= self.pixels[1]:
            raise ValueError("'pixels' must be the least and the most pixels along a side")
        return self


class Service(BaseModel, frozen=True, extra="forbid"):
    """One cutout service.

    Attributes:
        title: the survey, for people.
        scale: of the survey, arcsec per pixel.
        arcsec: side of a cutout if nothing else is known.
        bands: that the survey has; letters, or one name.
        connections: requests at a time.
        rate: requests a second.
        formats: by ``jpg`` and ``fits``.
        hosts: that may answer, redirections included.
        elsewhere: what the service names may be at any public host.
        documentation: where the service is described.
        limits: what that says of limits.
        licence: of the images.
        credit: line to be shown with them.
        citation: paper to be cited.
        name: as ``--survey`` names it.
        hips: identifier of the HiPS, for that service.
        resolver: address of the service that knows the positions of names.
    """

    title: str
    scale: Positive
    arcsec: Positive
    bands: str = ""
    connections: int = Field(ge=1, le=16)
    rate: Positive
    formats: dict[Literal["jpg", "fits"], Format] = Field(min_length=1)
    hosts: tuple[str, ...]
    elsewhere: bool = False
    documentation: str = ""
    limits: str = ""
    licence: str = ""
    credit: str = ""
    citation: str = ""
    name: str = ""
    hips: str = ""
    resolver: str = ""

    @property
    def band_names(self) -> tuple[str, ...]:
        """The survey's bands."""
        return _split(self.bands)

    def format(self, kind: str) -> Format:
        """How files of a kind are asked for.

        Raises:
            UsageError: the service has none of that kind.
        """
        found = self.formats.get(kind)  # type: ignore[call-overload]
        if found is None:
            has = " and ".join(self.formats)
            raise UsageError(f"--survey {self.name}: has no {kind} files, only {has}; pass --format {has}")
        return found

    def chosen_bands(self, kind: str, asked: Sequence[str]) -> tuple[str, ...]:
        """The bands to ask for: the user's, or the format's own.

        Raises:
            UsageError: the survey lacks one of them, or images of this format have fixed bands.
        """
        form = self.format(kind)
        if not asked:
            return _split(form.bands)
        places = {"band"} if form.protocol == SIA2 else _fields(form.address) | _fields(form.index)
        if not places & {"bands", "band", "BAND"}:
            raise UsageError(
                f"--bands {','.join(asked)}: the {kind} images of {self.name} have fixed bands; leave it out"
            )
        for band in asked:
            if self.band_names and band not in self.band_names:  # which bands an archive has, only it knows
                raise UsageError(
                    f"--bands {','.join(asked)}: {self.name} has no band '{band}' "
                    f"(bands: {', '.join(self.band_names)})"
                )
        if kind == "jpg" and len(asked) != 3:
            raise UsageError(f"--bands {','.join(asked)}: three bands make a colour image")
        return tuple(asked)


class _Table(BaseModel, frozen=True, extra="forbid"):
    format_version: int = FORMAT_VERSION
    resolver: str = ""
    services: dict[str, Service]


def _split(bands: str) -> tuple[str, ...]:
    """Letters are bands, lower case; anything else is the name of one."""
    return tuple(bands) if bands.islower() else tuple(filter(None, (bands,)))


@lru_cache
def _read(path: Path, changed: int) -> _Table:
    return understood(_Table, read_document(path), load_yaml, path, "a table of cutout services")


def _tables(own: Path | str | None) -> list[_Table]:
    """The package's table, and the user's."""
    tables = [_read(TABLE, 0)]
    own = own or os.environ.get(SETTING) or None
    if own is not None:
        path = Path(own)
        if not path.is_file():
            raise UsageError(f"{path}: no such file; a table of cutout services (YAML) was expected")
        tables.append(_read(path, path.stat().st_mtime_ns))
    return tables


def service_names(own: Path | str | None = None) -> list[str]:
    """The services of the package, and those of a table of one's own."""
    return sorted({name for table in _tables(own) for name in table.services})


def find_service(name: str, own: Path | str | None = None) -> Service:
    """A service by its name.

    Args:
        name: as ``--survey`` has it: a name of the table, ``hips:`` and the identifier of a HiPS, or
            ``sia2:`` and the address of an archive's queries (Simple Image Access 2.0).
        own: a table of one's own, which comes first; None: that of the environment, if any.

    Raises:
        UsageError: there is no such service, or the table is not there.
        MorphoscopeError: the table is damaged.
    """
    tables = _tables(own)
    known: dict[str, Service] = {}
    resolver = ""
    for table in tables:
        known |= table.services
        resolver = table.resolver or resolver
    base, _, rest = name.partition(":")
    if base not in known or (rest and base not in (HIPS, SIA2)):
        raise UsageError(f"--survey {name}: no such service{did_you_mean(base, known, 'services')}")
    if base == SIA2:
        return _archive(known[base], name, rest)
    hips = rest
    if base == HIPS and not _HIPS_NAME.fullmatch(hips):
        raise UsageError(
            f"--survey {name}: the identifier of a HiPS was expected, such as hips:CDS/P/DSS2/color "
            "(https://aladin.cds.unistra.fr/hips/list has them)"
        )
    found = known[base]
    title = found.title.replace("{hips}", hips)
    return found.model_copy(update={"name": name, "hips": hips, "title": title, "resolver": resolver})


def _archive(base: Service, name: str, address: str) -> Service:
    """The service of an archive.

    Raises:
        UsageError: that is no address.
    """
    try:
        parts = urlsplit(address)
        host = parts.hostname
        usable = parts.scheme in ("http", "https") and host and not (parts.username or parts.password)
    except ValueError:
        usable, host = False, None
    if not usable or host is None or not address.isascii() or not address.isprintable() or " " in address:
        raise UsageError(
            f"--survey {name}: the address of an archive's queries (Simple Image Access 2.0) was expected, "
            "such as sia2:https://ws.cadc-ccda.hia-iha.nrc-cnrc.gc.ca/sia/v2query"
        )
    formats = {
        kind: form.model_copy(update={"address": address, "protocol": SIA2})
        for kind, form in base.formats.items()
    }
    changed = {
        "name": name,
        "title": base.title.replace("{host}", host),
        "formats": formats,
        "hosts": (host,),
    }
    return base.model_copy(update=changed)


@dataclass(frozen=True)
class Frame:
    """What one cutout shows.

    Attributes:
        ra: of its centre, degrees (ICRS).
        dec: degrees.
        arcsec: its side on the sky.
        pixels: its side.
    """

    ra: float
    dec: float
    arcsec: float
    pixels: int


def pixels_sent(service: Service, form: Format, frame: Frame) -> int:
    """Pixels along a side of the image that a service is expected to send."""
    return frame.pixels if form.resampled else max(1, round(frame.arcsec / service.scale))


def address_of(
    template: str,
    service: Service,
    frame: Frame,
    *,
    bands: Sequence[str] = (),
    band: str = "",
    files: Mapping[str, str] | None = None,
) -> str:
    """An address with everything filled in.

    Args:
        template: of a :class:`Format`.
        service: the service.
        frame: what the cutout shows.
        bands: that are asked for.
        band: the band of this file.
        files: names of files, by ``red``, ``green``, ``blue`` or ``file``.
    """
    values = {
        "ra": f"{frame.ra:.7f}",
        "dec": f"{frame.dec:.7f}",
        "pixels": str(frame.pixels),
        "arcsec": f"{frame.arcsec:.6g}",
        "half_arcsec": f"{frame.arcsec / 2:.6g}",
        "degrees": f"{frame.arcsec / 3600:.9f}",
        "scale": f"{frame.arcsec / frame.pixels:.8g}",
        "native_pixels": str(max(1, round(frame.arcsec / service.scale))),
        "bands": "".join(bands),
        "band": band,
        "BAND": band.upper(),
        "hips": service.hips,
        **(files or {}),
    }
    return template.format_map({name: quote(text, safe="/") for name, text in values.items()})
