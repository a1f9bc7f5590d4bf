"""An archive of images as the Virtual Observatory's standards describe one: Simple Image Access 2.0 finds
images, DataLink 1.0 says what belongs to one, SODA 1.0 cuts it out.

:class:`Archive` is the part of ``cutout_server.Sky`` that answers addresses below ``/archive/``.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

VOTABLE = "application/x-votable+xml"
LINKS = f"{VOTABLE};content=datalink"
SODA, DATALINK = "ivo://ivoa.net/std/SODA#sync-1.0", "ivo://ivoa.net/std/DataLink#links-1.0"
OBSCORE = {  # name: (datatype, UCD, utype) of the columns of an answer
    "dataproduct_type": ("char", "meta.id", "obscore:ObsDataset.dataProductType"),
    "calib_level": ("int", "meta.code;obs.calib", "obscore:ObsDataset.calibLevel"),
    "obs_collection": ("char", "meta.id", "obscore:DataID.Collection"),
    "obs_publisher_did": ("char", "meta.ref.ivoid", "obscore:Curation.PublisherDID"),
    "access_url": ("char", "meta.ref.url", "obscore:Access.Reference"),
    "access_format": ("char", "meta.code.mime", "obscore:Access.Format"),
    "access_estsize": ("long", "phys.size;meta.file", "obscore:Access.Size"),
    "t_exptime": ("double", "time.duration;obs.exposure", "obscore:Char.TimeAxis.Coverage.Support.Extent"),
    "em_min": ("double", "em.wl;stat.min", "obscore:Char.SpectralAxis.Coverage.Bounds.Limits.LoLimit"),
    "em_max": ("double", "em.wl;stat.max", "obscore:Char.SpectralAxis.Coverage.Bounds.Limits.HiLimit"),
}


@dataclass(frozen=True)
class Tile:
    """One image of the archive.

    Attributes:
        name: its identifier is made of it.
        ra: of its middle, degrees.
        dec: degrees.
        pixels: along a side.
        scale: arcsec per pixel.
        angle: by which it is rotated, degrees.
        band: least and largest wavelength, m; None: the archive does not say.
        exposure: s; None: the archive does not say.
        calibration: level, 0 (raw) to 3.
        brightness: of its galaxies.
        estimate: of its size, kB; None: as it is.
        blank: columns from this one on have no data.
        extensions: the image is the second of so many extensions; 0: it is the only one.
        packed: it is compressed in tiles.
    """

    name: str
    ra: float = 150.02
    dec: float = 2.5
    pixels: int = 400
    scale: float = 0.5
    angle: float = 0.0
    band: tuple[float, float] | None = (550e-9, 700e-9)
    exposure: float | None = 100.0
    calibration: int = 2
    brightness: float = 100.0
    estimate: int | None = None
    blank: int | None = None
    extensions: int = 0
    packed: bool = False

    @property
    def wcs(self) -> WCS:
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = [self.ra, self.dec]
        wcs.wcs.crpix = [self.pixels / 2 + 0.5] * 2
        turn, step = np.radians(self.angle), self.scale / 3600
        cosine, sine = np.cos(turn), np.sin(turn)
        wcs.wcs.cd = step * np.array([[-cosine, sine], [sine, cosine]])
        return wcs

    def data(self) -> np.ndarray:
        """A galaxy every hundredth of a degree on noise, (H, W) float32."""
        return _drawn(self).copy()

    def _draw(self) -> np.ndarray:
        draw = np.random.default_rng(7)
        y, x = np.mgrid[: self.pixels, : self.pixels]
        image = draw.normal(10, 1, (self.pixels, self.pixels))
        for row in range(-20, 40):
            at = self.wcs.all_world2pix([[150 + row / 100, 2.5]], 0)[0]
            if -20 < at[0] < self.pixels + 20 and -20 < at[1] < self.pixels + 20:
                image += self.brightness * np.exp(-np.hypot(x - at[0], y - at[1]) * self.scale / 2)
        if self.blank is not None:
            image[:, self.blank :] = np.nan
        return image.astype(np.float32)

    def file(self, box: tuple[slice, slice] = (slice(None), slice(None))) -> bytes:
        """The FITS file, or a part of it."""
        header = self.wcs.to_header()
        header["FILTER"], header["MAGZERO"] = self.name.rpartition("-")[2], 25.0
        for axis, part in ((1, box[1]), (2, box[0])):
            header[f"CRPIX{axis}"] -= part.start or 0
        data = self.data()[box]
        kind = fits.CompImageHDU if self.packed else fits.ImageHDU
        units = [fits.PrimaryHDU()] if self.extensions or self.packed else []
        if self.extensions:
            far = header.copy()
            far["CRVAL1"] += 1.0
            units += [fits.ImageHDU(data[:20, :20], far, name="CCD0")] * (self.extensions - 1)
        unit = kind(data, header, name="CCD1") if units else fits.PrimaryHDU(data, header)
        made = io.BytesIO()
        fits.HDUList([*units, unit]).writeto(made)
        return made.getvalue()

    def covers(self, ra: float, dec: float) -> bool:
        x, y = self.wcs.all_world2pix([[ra, dec]], 0)[0]
        return bool(-0.5 < x < self.pixels - 0.5 and -0.5 < y < self.pixels - 0.5)


@lru_cache(maxsize=32)
def _drawn(tile: Tile) -> np.ndarray:
    """The image of a tile, drawn once: answers have to be quick."""
    return tile._draw()


@dataclass
class Archive:
    """What the archive has, and how it says so.

    Attributes:
        tiles: its images.
        links: how an image is reached: "datalink" (its address is a DataLink document with a SODA service),
            "service" (a DataLink service is described in the answer), "soda" (a SODA service is described in
            the answer) or "file" (its address is the file).
        parameters: of the SODA service, as it declares them.
        errors: statuses of DALI: an error of the query, of a link; each "" for none.
        address: of the server, once it runs.
        elsewhere: host that files are said to be at; "" for this one.
        folder: of the files.
        masked: SODA blanks what lies outside the circle.
    """

    tiles: Sequence[Tile] = field(default_factory=lambda: [Tile("one-r")])
    links: str = "datalink"
    parameters: Sequence[str] = ("ID", "POS", "CIRCLE", "POLYGON", "BAND", "TIME")
    query_error: str = ""
    link_error: str = ""
    address: str = ""
    elsewhere: str = ""
    folder: str = "files"
    masked: bool = False

    @property
    def service(self) -> str:
        """How ``--survey`` names it."""
        return f"sia2:{self.address}/archive/sia2/query"

    def near(self, ra: float) -> Sequence[Tile]:
        """The images that may show a position."""
        return self.tiles

    def named(self, identity: str) -> Tile | None:
        """The image of an identifier."""
        return next((tile for tile in self.tiles if identity.endswith(tile.name)), None)

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, bytes, str]:
        """Status, content and its kind."""
        name = path.rpartition("/")[2]
        if path.startswith("/archive/sia2"):
            return 200, self._found(query), VOTABLE
        tile = self.named(query.get("ID", name))
        if tile is None:
            return 404, b"NotFoundError: no such dataset", "text/plain"
        if path.startswith("/archive/links"):
            return 200, self._links(tile), LINKS
        if "/ibe/data/" in path and "center" in query:
            assert query["gzip"] == "false"
            half = float(query["size"]) / 2
            return self._cut(tile, {"CIRCLE": f"{query['center'].replace(',', ' ')} {half}"})
        if path.startswith(f"/archive/{self.folder}/"):
            return 200, tile.file(), "application/fits"
        return self._cut(tile, query)

    def _host(self) -> str:
        return self.elsewhere or self.address

    def _found(self, query: dict[str, str]) -> bytes:
        if self.query_error:
            return _votable(f'<INFO name="QUERY_STATUS" value="ERROR">{escape(self.query_error)}</INFO>')
        shape, ra, dec, _ = query["POS"].split()
        assert (shape, query["DPTYPE"]) == ("CIRCLE", "image")
        found = [tile for tile in self.near(float(ra)) if tile.covers(float(ra), float(dec))]
        if "CALIB" in query:
            found = [tile for tile in found if tile.calibration == int(query["CALIB"])]
        address = {"file": f"{self._host()}/archive/{self.folder}/"}.get(
            self.links, f"{self._host()}/archive/links?ID="
        )
        format_ = LINKS if self.links == "datalink" else "application/fits"
        rows = [
            {
                "dataproduct_type": "image",
                "calib_level": tile.calibration,
                "obs_collection": "TEST",
                "obs_publisher_did": f"ivo://example.org/archive?{tile.name}",
                "access_url": address
                + (tile.name if self.links == "file" else f"ivo://example.org/archive?{tile.name}"),
                "access_format": format_,
                "access_estsize": len(tile.file()) // 1000 if tile.estimate is None else tile.estimate,
                "t_exptime": tile.exposure,
                "em_min": None if tile.band is None else tile.band[0],
                "em_max": None if tile.band is None else tile.band[1],
            }
            for tile in found
        ]
        most = int(query.get("MAXREC", 1000))
        status = "OVERFLOW" if len(rows) > most else "OK"
        fields = [
            f'<FIELD name="{name}" ID="{_identity(name)}" datatype="{kind}" ucd="{ucd}" utype="{utype}"'
            + (' arraysize="*"' if kind == "char" else "")
            + "/>"
            for name, (kind, ucd, utype) in OBSCORE.items()
        ]
        described = {
            "service": _descriptor(
                "dl", DATALINK, f"{self._host()}/archive/links", ["ID"], "obs_publisher_did"
            ),
            "soda": _descriptor(
                "soda", SODA, f"{self._host()}/archive/soda/sync", self.parameters, "obs_publisher_did"
            ),
        }.get(self.links, "")
        info = f'<INFO name="QUERY_STATUS" value="{status}"/>'
        return _votable(info + _table(fields, rows[:most]), described)

    def _links(self, tile: Tile) -> bytes:
        did = f"ivo://example.org/archive?{tile.name}"
        names = ("ID", "access_url", "service_def", "error_message", "semantics", "content_type")
        fields = [f'<FIELD name="{name}" datatype="char" arraysize="*"/>' for name in names]
        fields.append('<FIELD name="content_length" datatype="long" unit="byte"/>')
        size = len(tile.file()) if tile.estimate is None else tile.estimate * 1000
        whole = {
            "ID": did,
            "access_url": f"{self._host()}/archive/{self.folder}/{tile.name}",
            "semantics": "#this",
            "content_type": "application/fits",
            "content_length": size,
        }
        part = {
            "ID": did,
            "service_def": "soda-1",
            "semantics": "#cutout",
            "content_type": "application/fits",
        }
        preview = whole | {
            "semantics": "#preview",
            "content_type": "image/jpeg",
            "access_url": "http://example.org/",
        }
        rows = [preview, whole, part] if self.parameters else [preview, whole]
        if self.link_error:
            rows = [{"ID": did, "error_message": self.link_error, "semantics": "#this"}]
        known = _descriptor("soda-1", SODA, f"{self._host()}/archive/soda/sync", self.parameters, "", did)
        far = _descriptor(
            "soda-2", SODA.replace("#sync", "#async"), f"{self._host()}/archive/soda/async", ["ID"], "", did
        )
        return _votable('<INFO name="QUERY_STATUS" value="OK"/>' + _table(fields, rows), far + known)

    def _cut(self, tile: Tile, query: dict[str, str]) -> tuple[int, bytes, str]:
        assert set(query) <= {"ID", "CIRCLE", "POS"}, query
        ra, dec, radius = map(
            float, query.get("CIRCLE", query.get("POS", "").removeprefix("CIRCLE ")).split()
        )
        x, y = tile.wcs.all_world2pix([[ra, dec]], 0)[0]
        reach = radius * 3600 / tile.scale
        low = [max(0, int(np.floor(at - reach))) for at in (y, x)]
        high = [min(tile.pixels, int(np.ceil(at + reach)) + 1) for at in (y, x)]
        if low[0] >= high[0] or low[1] >= high[1]:
            return 204, b"", "application/fits"
        box = (slice(low[0], high[0]), slice(low[1], high[1]))
        if not self.masked:
            return 200, tile.file(box), "application/fits"
        return 200, _masked(tile, box, (x, y), reach), "application/fits"


def _masked(tile: Tile, box: tuple[slice, slice], at: tuple[float, float], reach: float) -> bytes:
    with fits.open(io.BytesIO(replace(tile, packed=False).file(box))) as units:
        rows, columns = np.mgrid[box]
        units[-1].data[np.hypot(columns - at[0], rows - at[1]) > reach] = np.nan
        made = io.BytesIO()
        units.writeto(made)
        return made.getvalue()


def _identity(name: str) -> str:
    """The XML id of a column, which archives call as they like."""
    return f"col_{name.replace('_', '-')}"


def _votable(results: str, more: str = "") -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.3" version="1.4">'
        f'<RESOURCE type="results">{results}</RESOURCE>{more}</VOTABLE>'
    ).encode()


def _table(fields: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    names = [field.split('"')[1] for field in fields]
    cells = [
        "".join("<TD/>" if row.get(name) is None else f"<TD>{escape(str(row[name]))}</TD>" for name in names)
        for row in rows
    ]
    body = "".join(f"<TR>{row}</TR>" for row in cells)
    return f"<TABLE>{''.join(fields)}<DATA><TABLEDATA>{body}</TABLEDATA></DATA></TABLE>"


def _descriptor(
    identity: str, standard: str, address: str, parameters: Sequence[str], column: str, did: str = ""
) -> str:
    """A service descriptor, whose ID is that of a column or a value."""
    where = f'ref="{_identity(column)}" value=""' if column else f"value={quoteattr(did)}"
    known = {
        "ID": f'<PARAM name="ID" datatype="char" arraysize="*" ucd="meta.id;meta.dataset" {where}/>',
        "POS": '<PARAM name="POS" datatype="char" arraysize="*" ucd="pos.outline;obs" value=""/>',
        "CIRCLE": '<PARAM name="CIRCLE" datatype="double" arraysize="3" ucd="pos.outline;obs" unit="deg" '
        'xtype="circle" value=""><VALUES><MAX value="150.02 2.5 0.04"/></VALUES></PARAM>',
        "POLYGON": '<PARAM name="POLYGON" datatype="double" arraysize="*" ucd="pos.outline;obs" unit="deg" '
        'xtype="polygon" value=""/>',
        "BAND": '<PARAM name="BAND" datatype="double" arraysize="2" ucd="em.wl;stat.interval" '
        'unit="m" xtype="interval" value=""><VALUES><MIN value="5e-7"/><MAX value="7e-7"/></VALUES></PARAM>',
        "TIME": '<PARAM name="TIME" datatype="double" arraysize="2" ucd="time.interval;obs.exposure" '
        'unit="d" xtype="interval" value=""/>',
    }
    inside = "".join(known[name] for name in parameters)
    return (
        f'<RESOURCE type="meta" utype="adhoc:service" ID="{identity}">'
        f'<PARAM name="standardID" datatype="char" arraysize="*" value="{standard}"/>'
        f'<PARAM name="accessURL" datatype="char" arraysize="*" value="{address}"/>'
        f'<GROUP name="inputParams">{inside}</GROUP></RESOURCE>'
    )
