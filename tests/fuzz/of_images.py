"""Readers of images, tables and archives, with a small whole file of each kind."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from entry import Reader, check_sentence
from PIL import Image

from morphoscope.errors import MorphoscopeError

DRAW = np.random.default_rng(3)

# ---------------------------------------------------------------- images

_Y, _X = np.mgrid[:24, :20]
GALAXY = np.clip(
    200 * np.exp(-np.hypot(_Y - 12, _X - 9) / 5)[:, :, None] * np.array([1, 0.8, 0.6])
    + DRAW.normal(20, 3, (24, 20, 3)),
    0,
    255,
).astype(np.uint8)
FLUX = GALAXY.astype(np.float32)[:, :, 0] / 50


def _picture(mode: str, **options: Any) -> Callable[[Path], object]:
    return lambda path: Image.fromarray(GALAXY).convert(mode).save(path, **options)


def _deep_png(path: Path) -> None:
    import cv2

    cv2.imwrite(str(path), GALAXY.astype(np.uint16) * 16)


def _tiff_float(path: Path) -> None:
    Image.fromarray(FLUX).save(path)


def _fits_bytes(kind: str) -> bytes:
    from astropy.io import fits

    header = fits.Header(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 10.0}
    )
    header.update({"CRPIX2": 12.0, "CDELT1": -7e-5, "CDELT2": 7e-5, "FILTER": "r", "PHOTZP": 22.5})
    if kind == "distorted":
        header.update({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2})
        header.update({"A_2_0": 1e-6, "B_1_1": 1e-6, "WCSAXES": 2, "LONPOLE": 180.0, "RADESYS": "ICRS"})
    units: list[Any] = [fits.PrimaryHDU()]
    if kind in ("plane", "distorted"):
        units = [fits.PrimaryHDU(FLUX, header)]
    elif kind == "integers":
        units = [fits.PrimaryHDU((FLUX * 100).astype(np.int16), header)]
        units[0].header.update({"BSCALE": 0.01, "BZERO": 0.0, "BLANK": -32768})
    elif kind == "cube":
        units = [fits.PrimaryHDU(np.moveaxis(GALAXY.astype(np.float32), -1, 0), header)]
        units[0].header["BANDS"] = "zrg"
    elif kind == "tiles":
        units.append(fits.CompImageHDU((FLUX * 100).astype(np.int32), header, compression_type="RICE_1"))
    elif kind == "extensions":
        units += [
            fits.ImageHDU(FLUX * factor, header, name=band)
            for band, factor in zip("grz", (1, 2, 3), strict=True)
        ]
    out = io.BytesIO()
    fits.HDUList(units).writeto(out)
    return out.getvalue()


def _fits(kind: str, pack: Callable[[bytes], bytes] = bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(pack(_fits_bytes(kind)))


def _read_image(path: Path) -> object:
    from morphoscope.images.decode import read_image

    found: dict[str, Any] = {}
    return read_image(path, found=found), found


def _read_bands(path: Path) -> object:
    from morphoscope.images.decode import read_image

    return read_image(path, bands=("g", "r", "z"))


def _read_mosaic(path: Path) -> object:
    from morphoscope.catalogue.inputs.open import open_request
    from morphoscope.catalogue.request import CatalogueRequest
    from morphoscope.runs.run import StoreFacts

    sources = path.parent / "sources.csv"
    sources.write_text("id,ra,dec\n1,150.0,2.0\n2,150.0001,2.0001\n")
    facts = StoreFacts(name="s", path="s", image_shape=(16, 16, 3))
    request = CatalogueRequest(path, path.parent / "c.csv", sources=sources, cutout_arcsec=2.0)
    return _loaded(open_request(request, facts, stretch="asinh").items)


def _loaded(items: Iterable[Any], most: int = 50) -> list[object]:
    """What is in the galaxies of an input; of one that cannot be read, that it cannot."""
    found: list[object] = []
    for item in items:
        if len(found) >= most:
            break
        try:
            found.append((item.source, dict(item.row), item.load()))
        except MorphoscopeError as error:
            check_sentence(str(error))
            found.append((item.source, "unreadable"))
    return found


# ---------------------------------------------------------------- tables

COLUMNS = {
    "id": [f"g{n}" for n in range(12)],
    "image": [f"g{n}.png" for n in range(12)],
    "ra": np.linspace(149, 151, 12).round(4).tolist(),
    "dec": np.linspace(1, 3, 12).round(4).tolist(),
    "label": [n % 3 for n in range(12)],
    "smooth": [n / 12 for n in range(12)],
    "note": ["a, b", "", 'c"d', "e", "NA", "x", "y", "z", "1", "2", "3", "4"],
}


def _csv(path: Path) -> None:
    import csv

    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(zip(*COLUMNS.values(), strict=True))


def _packed_csv(path: Path) -> None:
    _csv(path)
    path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))


def _astropy_table(form: str, **options: Any) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        from astropy.table import Column, Table

        columns = [
            Column(values, name, unit="deg" if name in ("ra", "dec") else None)
            for name, values in COLUMNS.items()
        ]
        Table(columns).write(path, format=form, overwrite=True, **options)

    return make


def _parquet(path: Path) -> None:
    pq.write_table(pa.table(COLUMNS), path, compression="zstd")


def _parquet_with_images(path: Path) -> None:
    content = io.BytesIO()
    Image.fromarray(GALAXY).save(content, "PNG")
    cells = [{"bytes": content.getvalue(), "path": f"{n}.png"} for n in range(4)]
    pq.write_table(pa.table({"id": ["a", "b", "c", "d"], "image": cells, "ra": [1.0, 2.0, 3.0, 4.0]}), path)


def _read_table(path: Path) -> object:
    from morphoscope.images.tables import columns_of, is_table, iterate_table, read_table

    is_table(path)
    found = columns_of(path)
    table = read_table(path)
    pieces = list(iterate_table(path, found.names[:3]))
    return found.names, found.units, table, sum(piece.num_rows for piece in pieces)


def _read_csv_of_images(path: Path) -> object:
    for number in range(3):
        Image.fromarray(GALAXY).save(path.parent / f"g{number}.png")
    return _read_input(path)


def _read_input(path: Path) -> object:
    from morphoscope.catalogue.inputs.open import open_input

    return _loaded(open_input(path).items)


def _read_labels(path: Path) -> object:
    from morphoscope.images.tables import read_table
    from morphoscope.labels.own import scheme_from_columns

    table = read_table(path, names=["id"])
    scheme = scheme_from_columns("own", table, ["label"], classes=None, votes=False)
    return scheme.outputs, scheme.read_columns(
        table, ["label"], [str(n) for n in range(table.num_rows)], str(path)
    )


# ---------------------------------------------------------------- archives


def _members() -> list[tuple[str, bytes]]:
    out = io.BytesIO()
    Image.fromarray(GALAXY).save(out, "JPEG")
    members = []
    for number in range(3):
        members.append((f"{number:03d}.jpg", out.getvalue()))
        members.append(
            (f"{number:03d}.json", json.dumps({"id": f"g{number}", "ra": 10.0 + number, "dec": 1.0}).encode())
        )
    return members


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in _members():
            archive.writestr(name, data)


def _tar(pack: Callable[[bytes], bytes] = bytes) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            for name, data in _members():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        path.write_bytes(pack(out.getvalue()))

    return make


def _galaxy_zoo(path: Path) -> None:
    from morphoscope.labels.scheme import GALAXY_ZOO_2_VOTES

    out, answers = io.BytesIO(), GALAXY_ZOO_2_VOTES.answers
    Image.fromarray(GALAXY).save(out, "JPEG")
    row = np.zeros(len(answers))
    row[[answers.index("Class1.3"), answers.index("Class6.2")]] = 1.0  # a star, and nothing odd
    lines = [",".join(["GalaxyID", *answers])] + [f"{n}," + ",".join(map(str, row)) for n in (100008, 100023)]
    with zipfile.ZipFile(path, "w") as archive:
        for number in (100008, 100023):
            archive.writestr(f"images_training_rev1/{number}.jpg", out.getvalue())
        archive.writestr("training_solutions_rev1.csv", "\n".join(lines))


def _ingested(ingest: Callable[[Path, Path], Any]) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        out = path.parent / "out-store"
        shutil.rmtree(out, ignore_errors=True)
        try:
            store = ingest(path, out)
            return store.table.to_pylist(), np.array(store.images)
        finally:
            left = [each.name for each in path.parent.iterdir() if each.name.startswith(".")]
            if left:
                raise AssertionError(f"left behind: {left}")

    return read


def _ingest_galaxy_zoo(path: Path, out: Path) -> Any:
    from morphoscope.data.sources.galaxy_zoo import ingest_galaxy_zoo

    return ingest_galaxy_zoo(path, out, size=16, workers=1)


def _ingest_galaxy10(path: Path, out: Path) -> Any:
    from morphoscope.data.sources.galaxy10 import ingest_galaxy10

    return ingest_galaxy10(path, out, size=16, workers=1)


def _ingest_table(path: Path, out: Path) -> Any:
    from morphoscope.data.sources.table import ingest_table

    return ingest_table(path, out, label_column="label", size=16, workers=1)


def _labelled_images(path: Path) -> None:
    content = io.BytesIO()
    Image.fromarray(GALAXY).save(content, "PNG")
    cells = [content.getvalue()] * 6
    table = {"id": list("abcdef"), "image": cells, "ra": [1.0 * n for n in range(6)], "dec": [0.0] * 6}
    pq.write_table(pa.table({**table, "label": ["disc", "spiral"] * 3}), path)


def _hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset(
            "images",
            data=np.stack([np.resize(GALAXY, (32, 32, 3))] * 6),
            chunks=(2, 32, 32, 3),
            compression="gzip",
        )
        file["ans"] = np.arange(6, dtype=np.uint8)
        for name in ("ra", "dec", "redshift", "pxscale"):
            file[name] = np.linspace(0.1, 1, 6)


def _hdf5_table(path: Path) -> None:
    """A part of the Multimodal Universe: text of variable length, bands, fluxes, in chunks."""
    import h5py

    draw, count = np.random.default_rng(0), 6
    with h5py.File(path, "w") as file:
        file.create_dataset("object_id", data=[f"galaxy {row}" for row in range(count)], chunks=(2,))
        file["ra"], file["dec"] = np.arange(count) + 1.0, np.arange(count) + 2.0
        file["label"] = np.array([b"disc", b"spiral"] * 3)
        for name, low in (("image_flux", 0.0), ("image_ivar", 1.0)):
            flux = draw.normal(low, 1, (count, 3, 16, 16)).astype(np.float32)
            file.create_dataset(name, data=flux, chunks=(1, 3, 16, 16), compression="gzip", shuffle=True)
        file["image_band"] = np.array([[b"g", b"r", b"z"]] * count)
        file["image_scale"] = np.full((count, 3), 0.262, np.float32)
        file["ra"].attrs["unit"] = "deg"


READERS = (
    Reader("JPEG", "a.jpg", _picture("RGB", quality=90), _read_image),
    Reader("JPEG, progressive grey", "a.jpg", _picture("L", progressive=True), _read_image),
    Reader("PNG", "a.png", _picture("RGB"), _read_image),
    Reader("PNG with palette", "a.png", _picture("P"), _read_image),
    Reader("PNG of 16 bits", "a.png", _deep_png, _read_image),
    Reader("TIFF", "a.tif", _picture("RGB", compression="tiff_lzw"), _read_image),
    Reader("TIFF of floats", "a.tif", _tiff_float, _read_image),
    Reader("WebP", "a.webp", _picture("RGB"), _read_image),
    Reader("AVIF", "a.avif", _picture("RGB"), _read_image),
    Reader("FITS image", "a.fits", _fits("plane"), _read_image),
    Reader("FITS image of integers", "a.fits", _fits("integers"), _read_image),
    Reader("FITS image with SIP", "a.fits", _fits("distorted"), _read_image),
    Reader("FITS cube", "a.fits", _fits("cube"), _read_bands),
    Reader("FITS extensions", "a.fits", _fits("extensions"), _read_bands),
    Reader("FITS image in tiles", "a.fits", _fits("tiles"), _read_image),
    Reader("FITS image, gzip", "a.fits.gz", _fits("plane", lambda c: gzip.compress(c, mtime=0)), _read_image),
    Reader("FITS image, bzip2", "a.fits.bz2", _fits("plane", bz2.compress), _read_image),
    Reader("mosaic", "a.fits", _fits("plane"), _read_mosaic),
    Reader("CSV", "t.csv", _csv, _read_table),
    Reader("CSV, gzip", "t.csv.gz", _packed_csv, _read_table),
    Reader("CSV of labels", "t.csv", _csv, _read_labels),
    Reader("CSV of images", "t.csv", _csv, _read_csv_of_images),
    Reader("ECSV", "t.ecsv", _astropy_table("ascii.ecsv"), _read_table),
    Reader("Parquet", "t.parquet", _parquet, _read_table),
    Reader("Parquet with images", "t.parquet", _parquet_with_images, _read_input),
    Reader("Parquet, ingested", "t.parquet", _labelled_images, _ingested(_ingest_table)),
    Reader("FITS table", "t.fits", _astropy_table("fits"), _read_table),
    Reader("VOTable", "t.vot", _astropy_table("votable"), _read_table),
    Reader("VOTable, binary", "t.vot", _astropy_table("votable", tabledata_format="binary2"), _read_table),
    Reader("zip of images", "a.zip", _zip, _read_input),
    Reader("tar of images", "a.tar", _tar(), _read_input),
    Reader("tar of images, gzip", "a.tar.gz", _tar(lambda c: gzip.compress(c, mtime=0)), _read_input),
    Reader("Galaxy Zoo, zip", "a.zip", _galaxy_zoo, _ingested(_ingest_galaxy_zoo)),
    Reader("Galaxy10, HDF5", "g.h5", _hdf5, _ingested(_ingest_galaxy10), 0.15),
    Reader("HDF5 table", "t.hdf5", _hdf5_table, _read_table, 0.15),  # each is read by another process first
    Reader("HDF5 table with images", "t.hdf5", _hdf5_table, _read_input, 0.1),
    Reader("HDF5 table, ingested", "t.hdf5", _hdf5_table, _ingested(_ingest_table), 0.1),
)
