"""Writing catalogues: the suffix chooses the format, rows are streamed, and the file appears when complete.

A new format is a :class:`~morphoscope.catalogue.formats.parquet_csv.Writer` and one line in :data:`FORMATS`.
"""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from morphoscope import files
from morphoscope.catalogue.formats.fits_table import FitsCatalogue, check_fits, fits_provenance
from morphoscope.catalogue.formats.hats import ENDING as HATS
from morphoscope.catalogue.formats.hats import HatsCatalogue, check_hats, need_hats
from morphoscope.catalogue.formats.parquet_csv import (
    MARK,
    METADATA_PREFIX,
    SHARD_ROWS,
    CsvCatalogue,
    EcsvCatalogue,
    ParquetCatalogue,
    ShardedCatalogue,
    Writer,
    check_ecsv,
    described_by,
    ecsv_provenance,
)
from morphoscope.catalogue.formats.table_schema import Extent
from morphoscope.catalogue.formats.votable import VotableCatalogue, votable_provenance
from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean, reason_of
from morphoscope.images.hats import MARK as HATS_MARK
from morphoscope.images.hats import primary_table
from morphoscope.images.table_csv import guarded

UNREADABLE_COLUMNS = ("id", "source", "reason")

FORMATS: dict[str, Callable[[Path, pa.Schema, Mapping[str, str], Extent], Writer]] = {
    ".parquet": ParquetCatalogue,
    ".csv": CsvCatalogue,
    ".ecsv": EcsvCatalogue,
    ".fits": FitsCatalogue,
    ".vot": VotableCatalogue,
    ".xml": VotableCatalogue,
}
_CHECKS: dict[str, Callable[[pa.Schema, str], None]] = {
    ".fits": check_fits,
    ".ecsv": check_ecsv,
}


@dataclass(frozen=True)
class Target:
    """Path and format of a catalogue.

    Attributes:
        path: a file, or the folder of a sharded or HATS catalogue.
        shard_rows: rows per file of the folder, for HATS the maximum; None: one file in the format of its
            ending, or a HATS catalogue with the default tiles.
    """

    path: Path
    shard_rows: int | None = None

    @property
    def by_place(self) -> bool:
        """Whether it is a HATS catalogue."""
        return self.path.suffix.lower() == HATS

    @property
    def mark(self) -> str | None:
        """The file by which a folder of this format is recognised; None for single files."""
        if self.by_place:
            return HATS_MARK
        return None if self.shard_rows is None else MARK

    def check(self, schema: pa.Schema) -> None:
        """Refuse columns that the format cannot hold: before any image is read.

        Raises:
            UsageError: which column, why, and what to do.
        """
        if self.by_place:
            check_hats(schema, self.path.name)
        elif self.shard_rows is None and (check := _CHECKS.get(self.path.suffix.lower())):
            check(schema, self.path.name)

    def writer(
        self, partial: Path, schema: pa.Schema, provenance: Mapping[str, str], extent: Extent
    ) -> Writer:
        """A writer of the catalogue at ``partial``, which must not exist yet."""
        if self.by_place:
            return HatsCatalogue(
                partial, schema, provenance, extent, rows=self.shard_rows, name=self.path.name
            )
        if self.shard_rows is not None:
            return ShardedCatalogue(partial, schema, provenance, extent, rows=self.shard_rows)
        return FORMATS[self.path.suffix.lower()](partial, schema, provenance, extent)

    def put_in_place(self, partial: Path) -> None:
        """Move the finished catalogue from ``partial`` to its path, replacing an older one."""
        if self.mark is not None:
            files.put_in_place(partial, self.path)
        else:
            os.replace(partial, self.path)


def target_of(out: Path | str, shard_rows: int | None = None) -> Target:
    """The format of a catalogue, by its name.

    Args:
        out: an ending of :data:`FORMATS`: one file. ``.hats``: a HATS folder. No ending, or a slash at the
            end: a folder of Parquet files.
        shard_rows: rows per Parquet file, for ``.hats`` the maximum; also makes a folder of a name that
            ends in .parquet.

    Raises:
        UsageError: the ending is unknown, or the format cannot be sharded.
    """
    path = Path(out)
    if shard_rows is not None and shard_rows < 1:
        raise UsageError(f"--shard-rows {shard_rows}: at least 1 row a file was expected")
    if path.suffix.lower() == HATS:
        return Target(path, shard_rows)
    if not path.suffix or str(out).endswith(("/", os.sep)):
        return Target(path, shard_rows or SHARD_ROWS)
    if path.suffix.lower() not in FORMATS:
        near = did_you_mean(path.suffix, [*FORMATS, HATS], "endings")
        raise UsageError(
            f"{path}: the ending chooses the catalogue's format; '{path.suffix}' is unknown{near}"
        )
    if shard_rows is not None and path.suffix.lower() != ".parquet":
        raise UsageError(f"{path}: --shard-rows makes a folder of Parquet files; leave the ending out")
    return Target(path, shard_rows)


def unreadable_path(out: Path) -> Path:
    """The list of unreadable images: ``catalogue.unreadable.csv`` next to ``catalogue.parquet``."""
    return out.with_suffix(".unreadable.csv")


def check_output(target: Target, *, overwrite: bool = False) -> None:
    """Check beforehand that a catalogue can be written.

    Raises:
        UsageError: something exists there and may not be replaced, or the folder is not writable.
        MorphoscopeError: the format needs an extra that is not installed.
    """
    out = target.path
    if target.by_place:
        need_hats()
    if target.mark is not None:
        files.refuse_existing(out, overwrite=overwrite, mark=target.mark)
    elif out.is_dir():
        raise UsageError(f"{out} is a folder; a file to write was expected")
    elif out.exists() and not overwrite:
        raise UsageError(f"{out} exists already; choose another name or pass --overwrite")
    _check_folder(out)


def _check_folder(out: Path) -> None:
    """Only an attempt to write reveals permissions, quotas and read-only disks for certain."""
    trial = files.partial_name(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        files.remove_stale_partials(out)
        trial.touch()
        trial.unlink()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UsageError(f"{out}: nothing can be written here ({reason}); choose another folder") from error


@contextlib.contextmanager
def written(
    target: Target, partial: Path, schema: pa.Schema, provenance: Mapping[str, str], extent: Extent
) -> Iterator[Writer]:
    """A writer whose file at ``partial`` is finished at the end of the block, and deleted after an error."""
    try:
        writer = target.writer(partial, schema, provenance, extent)
        try:
            yield writer
            writer.close()
        except BaseException:
            # Errors from closing a broken file must not hide the first error.
            with contextlib.suppress(Exception):
                writer.abandon()
            raise
    except BaseException:
        remove(partial)
        raise


def remove(partial: Path) -> None:
    """Delete a file or a folder, if it exists."""
    if partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        partial.unlink(missing_ok=True)


def write_catalogue(target: Target, table: pa.Table, provenance: Mapping[str, str]) -> None:
    """Write a table in memory; the file appears when complete.

    Args:
        target: path and format.
        table: the rows.
        provenance: name → text; kept if the format can hold it.

    Raises:
        MorphoscopeError: the disk is full, or writing is not permitted.
    """
    write_tables(target, [table], table.schema, provenance, Extent.of(table))


def write_tables(
    target: Target,
    tables: Iterable[pa.Table],
    schema: pa.Schema,
    provenance: Mapping[str, str],
    extent: Extent,
) -> None:
    """Write a table given in blocks; see :func:`write_catalogue`.

    Args:
        target: path and format.
        tables: the blocks, in order.
        schema: of all blocks.
        provenance: as there.
        extent: of the whole table.
    """
    target.check(schema)
    with files.explained_os_errors(target.path):
        target.path.parent.mkdir(parents=True, exist_ok=True)
        files.remove_stale_partials(target.path)
        partial = files.partial_name(target.path)
        with written(target, partial, schema, provenance, extent) as writer:
            for table in tables:
                writer.write(table)
        target.put_in_place(partial)


def write_unreadable(out: Path, rows: Iterable[tuple[str, str, str]]) -> Path | None:
    """Write a list of unreadable images, with reasons, next to the catalogue.

    The list of an earlier catalogue of the same name is deleted.

    Args:
        out: the catalogue.
        rows: id, source and reason of each.

    Returns:
        Path of the list; None, and no file, if there are no rows.
    """
    path = unreadable_path(out)
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        path.unlink(missing_ok=True)
        return None
    with files.atomic_file(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(UNREADABLE_COLUMNS)
        writer.writerows(map(guarded, row) for row in chain([first], rows))
    return path


def read_provenance(catalogue: Path | str) -> dict[str, str]:
    """The provenance recorded in a catalogue; empty for a table of another program.

    Args:
        catalogue: Parquet, a folder of Parquet files, HATS, ECSV, FITS or VOTable.

    Raises:
        UsageError: the file does not exist.
        MorphoscopeError: the format cannot hold it (CSV), or the file is damaged.
    """
    catalogue = Path(catalogue)
    if not catalogue.exists():
        raise UsageError(f"{catalogue} does not exist; a catalogue was expected")
    if catalogue.is_dir():
        path, ending = described_by(primary_table(catalogue)), ".parquet"
    else:
        path, ending = catalogue, catalogue.suffix.lower()
    read = _PROVENANCE.get(ending)
    if read is None:
        raise MorphoscopeError(f"{catalogue}: a '{ending}' file cannot hold provenance")
    try:
        return read(path)
    except Exception as error:  # pyarrow's and astropy's readers raise whatever their parsers do
        reason = reason_of(error)
        raise MorphoscopeError(f"{catalogue} is damaged or no catalogue: {reason}") from error


def parquet_provenance(catalogue: Path) -> dict[str, str]:
    """The provenance in a Parquet file, whatever its ending; empty for one of another program."""
    metadata = pq.read_schema(catalogue).metadata or {}
    return {
        name.decode().removeprefix(METADATA_PREFIX): value.decode()
        for name, value in metadata.items()
        if name.startswith(METADATA_PREFIX.encode())
    }


_PROVENANCE = {
    ".parquet": parquet_provenance,
    ".fits": fits_provenance,
    ".vot": votable_provenance,
    ".xml": votable_provenance,
    ".ecsv": ecsv_provenance,
}
