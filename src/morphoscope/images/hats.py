"""The folders of HATS catalogues, as other programs write them: which files have the rows.

The layout is that of the IVOA Note "HATS" (https://www.ivoa.net/documents/Notes/HATS/).
"""

from __future__ import annotations

import glob
import re
from pathlib import Path

from morphoscope.errors import UsageError

MARK = "hats.properties"
_COLLECTION = "collection.properties"


def primary_table(folder: Path) -> Path:
    """The HATS catalogue of a folder: itself, or what a collection of several names as its primary table.

    Raises:
        UsageError: the primary table lies outside the collection.
    """
    properties = read_properties(folder / _COLLECTION)
    if not properties:
        return folder
    name = properties.get("hats_primary_table_url", "")
    inner = (folder / name).resolve()
    if not name or "://" in name or not inner.is_relative_to(folder.resolve()) or not inner.is_dir():
        raise UsageError(
            f"{folder / _COLLECTION}: hats_primary_table_url is '{name}', which is no folder in the "
            "collection; give the folder of the catalogue itself"
        )
    return folder / name


def is_hats(folder: Path) -> bool:
    """Whether a folder is a HATS catalogue."""
    return any((folder / name).is_file() for name in (MARK, "properties")) and (folder / "dataset").is_dir()


def tile_files(catalogue: Path) -> list[Path]:
    """The Parquet files of a HATS catalogue's tiles, by order and pixel.

    A tile is one file with the suffix that ``hats_npix_suffix`` states, or, where that is a slash, a folder.
    """
    properties = read_properties(catalogue / MARK) or read_properties(catalogue / "properties")
    suffix = properties.get("hats_npix_suffix", ".parquet")
    pattern = "Npix=*/*" if suffix.strip() == "/" else f"Npix=*{glob.escape(suffix)}"
    found = []
    for path in (catalogue / "dataset").glob(f"Norder=*/Dir=*/{pattern}"):
        tile = re.search(r"/Norder=(\d+)/Dir=\d+/Npix=(\d+)", path.as_posix())
        if tile and path.is_file() and not path.name.startswith((".", "_")):
            found.append((int(tile[1]), int(tile[2]), path))
    return [path for _, _, path in sorted(found)]


def read_properties(path: Path) -> dict[str, str]:
    """The entries of a properties file; none where it is missing."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    entries = [line.partition("=") for line in lines if line and not line.lstrip().startswith(("#", "!"))]
    return {name.strip(): value.strip() for name, _, value in entries}
