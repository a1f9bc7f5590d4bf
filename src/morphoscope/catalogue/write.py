"""Catalogue files: the format by the ending, written batch by batch, whole or not there.

A new format is one class with ``write`` and ``close`` and one line in :data:`FORMATS`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv as arrow_csv

from morphoscope import files
from morphoscope.errors import UsageError, did_you_mean

METADATA_PREFIX = "morphoscope."
ROW_GROUP = 4096  # rows of a Parquet row group: about a megabyte is held back
UNREADABLE_SCHEMA = pa.schema([("id", pa.string()), ("source", pa.string()), ("reason", pa.string())])


class Writer(Protocol):
    """What a format must do."""

    def write(self, table: pa.Table) -> None:
        """Add some rows."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class ParquetCatalogue:
    """Parquet: provenance in the file's key-value metadata, units and descriptions in the columns'.

    Batches are gathered into larger row groups: each group costs a line in the footer, which stays in
    memory until the end.
    """

    def __init__(self, place: Path, schema: pa.Schema, provenance: dict[str, str]) -> None:
        metadata = {f"{METADATA_PREFIX}{name}": value for name, value in provenance.items()}
        self._schema = schema.with_metadata(metadata)
        self._file = pq.ParquetWriter(place, self._schema, compression="zstd")
        self._waiting: list[pa.Table] = []

    def write(self, table: pa.Table) -> None:
        """Add some rows."""
        self._waiting.append(table)
        if sum(part.num_rows for part in self._waiting) >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            rows = pa.concat_tables(self._waiting).replace_schema_metadata(self._schema.metadata)
            self._waiting.clear()
            self._file.write_table(rows, row_group_size=rows.num_rows)

    def close(self) -> None:
        """Write the last rows and the footer."""
        try:
            self._flush()
        finally:
            self._file.close()


class CsvCatalogue:
    """CSV: UTF-8, a header line, unknown values empty. The format has no place for provenance."""

    def __init__(self, place: Path, schema: pa.Schema, provenance: dict[str, str]) -> None:
        del provenance
        options = arrow_csv.WriteOptions(quoting_style="needed")
        self._file = arrow_csv.CSVWriter(place, schema, write_options=options)

    def write(self, table: pa.Table) -> None:
        """Add some rows."""
        self._file.write_table(table)

    def close(self) -> None:
        """Write what is still held back."""
        self._file.close()


FORMATS: dict[str, Callable[[Path, pa.Schema, dict[str, str]], Writer]] = {
    ".parquet": ParquetCatalogue,
    ".csv": CsvCatalogue,
}


def unreadable_path(out: Path) -> Path:
    """Where unreadable images are listed: ``catalogue.unreadable.csv`` beside ``catalogue.parquet``."""
    return out.with_suffix(".unreadable.csv")


def check_output(out: Path, *, overwrite: bool = False) -> None:
    """Refuse a catalogue that could not be written, before any work.

    Raises:
        UsageError: the ending is unknown, something is there already and may not be replaced, or the
            folder takes no files.
    """
    if out.suffix.lower() not in FORMATS:
        near = did_you_mean(out.suffix, FORMATS, "endings")
        raise UsageError(
            f"{out}: the ending says how the catalogue is written; '{out.suffix}' is unknown{near}"
        )
    if out.is_dir():
        raise UsageError(f"{out} is a folder; a file to write was expected")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists already; choose another name or pass --overwrite")
    _check_folder(out)


def _check_folder(out: Path) -> None:
    """Try it: rights, quotas and read-only disks are known for sure only by writing."""
    trial = files.partial_name(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        trial.touch()
        trial.unlink()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UsageError(f"{out}: nothing can be written here ({reason}); choose another folder") from error


@contextlib.contextmanager
def open_catalogue(out: Path, schema: pa.Schema, provenance: dict[str, str]) -> Iterator[Writer]:
    """A writer for ``out``, in the format of its ending; the file appears when the block ends without error.

    Args:
        out: the catalogue.
        schema: its columns; every table written must have them.
        provenance: where the numbers come from, name → text; kept where the format has a place for it.

    Raises:
        MorphoscopeError: the disk is full, or writing is not permitted.
    """
    with files.atomic_file(out) as place:
        writer = FORMATS[out.suffix.lower()](place, schema, provenance)
        try:
            yield writer
        except BaseException:
            # The file is thrown away; a full disk must not hide the first error by a second.
            with contextlib.suppress(OSError):
                writer.close()
            raise
        writer.close()


class UnreadableList:
    """The images that could not be read, with the reason; a file only if there are any.

    ::

        with UnreadableList(out) as unreadable:
            unreadable.add("17", "folder/17.jpg", "the file is empty")

    An error inside the block leaves no list. A list of an earlier catalogue of the same name goes away.
    """

    def __init__(self, out: Path) -> None:
        self.path = unreadable_path(out)
        self.count = 0
        self.first = ""
        self._stack = contextlib.ExitStack()
        self._writer: Writer | None = None

    def __enter__(self) -> UnreadableList:
        return self

    def add(self, identity: str, source: str, reason: str) -> None:
        """List one image."""
        if self._writer is None:
            self._writer = self._stack.enter_context(open_catalogue(self.path, UNREADABLE_SCHEMA, {}))
            self.first = f"{source}: {reason}"
        row = {"id": [identity], "source": [source], "reason": [reason]}
        self._writer.write(pa.table(row, schema=UNREADABLE_SCHEMA))
        self.count += 1

    def __exit__(self, *exc: object) -> None:
        if not self.count and exc[0] is None:
            self.path.unlink(missing_ok=True)
        self._stack.__exit__(*exc)  # type: ignore[arg-type]


def read_provenance(catalogue: Path) -> dict[str, str]:
    """Where a Parquet catalogue's numbers come from, as :func:`open_catalogue` wrote it."""
    metadata = pq.read_schema(catalogue).metadata or {}
    return {
        name.decode().removeprefix(METADATA_PREFIX): value.decode()
        for name, value in metadata.items()
        if name.startswith(METADATA_PREFIX.encode())
    }
