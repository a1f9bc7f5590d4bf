"""The finished part of an interrupted catalogue, in a hidden folder that survives any kill.

::

    .catalogue.fits.partial/
      request.json     provenance of the catalogue, which must be the same when it is resumed, and checksums
      of the run's recipe, calibration and feature distribution 000000000-000008192.1a2b3c4d.parquet
                       rows of the input's galaxies 0 to 8191; in its metadata those of them that could
                       not be read, a digest of all galaxies up to here, and a fingerprint of their files
      result           the catalogue while it is assembled
      placed.json      shortly before the catalogue is put in place: which file that is
      lock             held by the process that writes

A part is written under another name and renamed, so it is there with all it contains or not at all, and the
list of the files is the journal: no second record can contradict it. Parts follow each other without a gap,
so no galaxy is there twice and none is missing. A part's name has its CRC-32. Only a machine that loses its
power, or a bad disk, can damage a part (parts are not forced to the disk: that takes seconds on a busy one);
its galaxies and those after it are then predicted again, and so are those from the first part on whose image
files have another size or time of modification than when they were read.

The folder is deleted when the catalogue is done, so it must be one of ours: a link is refused, and so is a
folder with anything in it that is not named above. Parts of older versions, without checksums, are read.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from morphoscope import files
from morphoscope.catalogue.formats.table_schema import Extent
from morphoscope.catalogue.pipeline import Batch, Failure, Stamps
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.progress import note

PART_SECONDS = 30.0  # a kill loses at most this much work
PART_BYTES = 32 << 20  # and at most so many rows wait in memory
VOLATILE = ("date", "engine")  # what may differ when a catalogue is resumed
_ORDER = ", channels_last"  # of pixels in memory: changes rounding alone
_REQUEST, _RESULT, _PLACED, _LOCK, _WRITING = "request.json", "result", "placed.json", "lock", "part.writing"
_CHECKSUMS = "checksums"  # in request.json; not a part of the provenance
_FACTS = b"morphoscope.part"
_PART = re.compile(r"(\d{9,})-(\d{9,})(?:\.([0-9a-f]{8}))?\.parquet")
_TEMPORARY = re.compile(r"\.(?:request|placed)\.json\.partial-\d+-[0-9a-f]+|\d{9,}-\d{9,}\.writing")


def partial_folder(out: Path) -> Path:
    """The hidden folder next to a catalogue with its finished part."""
    return out.parent / f".{out.name}.partial"


def was_placed(out: Path) -> bool:
    """Whether the existing catalogue was made from the parts: a kill came just before the last step."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        return json.loads((partial_folder(out) / _PLACED).read_text()) == _identity(out)
    return False


def _identity(path: Path) -> dict[str, int]:
    facts = path.stat()
    return {"inode": facts.st_ino, "device": facts.st_dev, "size": facts.st_size}


@dataclass(frozen=True)
class Part:
    """A finished part: galaxies ``start`` to ``stop`` − 1 of the input.

    Attributes:
        start: the first.
        stop: one past the last.
        path: the file.
        checksum: CRC-32 of the file, 8 hex digits; empty for one of an older version.
        rows: galaxies that could be read.
        widths: lengths of their texts.
        failed: number of galaxies that could not be read.
        first_failure: the first of them.
        digest: of all galaxies of the input before ``stop``.
        stamps: fingerprint of the image files of the part; None for one of an older version.
    """

    start: int
    stop: int
    path: Path
    checksum: str = ""
    rows: int = 0
    widths: Mapping[str, int] | None = None
    failed: int = 0
    first_failure: Failure | None = None
    digest: str = ""
    stamps: Stamps | None = None

    def content(self) -> bytes:
        """The file.

        Raises:
            MorphoscopeError: it is damaged.
        """
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise MorphoscopeError(f"{self.path} cannot be read ({error.strerror})") from error
        if self.checksum and f"{zlib.crc32(content):08x}" != self.checksum:
            raise MorphoscopeError(f"{self.path} is damaged: its checksum is not the one in its name")
        return content


class Journal:
    """The parts of a catalogue in progress.

    Args:
        out: the catalogue.
        schema: its columns.
        provenance: where the numbers come from.
        checksums: of the files that, besides the weights, determine the numbers, by name; they too must be
            the same when the catalogue is resumed.

    Attributes:
        done: number of galaxies of the input that need not be predicted again.
        failed: number of those that could not be read.
        first_failure: the first of these.
        extent: rows so far, and the lengths of their texts.
        digest: of all galaxies so far; empty at the start.
        provenance: where the numbers come from, as of the catalogue's beginning.
    """

    def __init__(
        self,
        out: Path,
        schema: pa.Schema,
        provenance: Mapping[str, str],
        checksums: Mapping[str, str] | None = None,
    ) -> None:
        self.out, self.folder = out, partial_folder(out)
        self.schema = schema
        self.provenance = dict(provenance)
        self.checksums = dict(checksums or {})
        self.parts: list[Part] = []
        self._continue_after([])
        self._rows: list[pa.Table] = []
        self._failures: list[Failure] = []
        self._stamps = Stamps()
        self._last = time.monotonic()
        self._lock: IO[str] | None = None

    @property
    def kept(self) -> int:
        """Number of galaxies of the input that are on the disk."""
        return self.parts[-1].stop if self.parts else 0

    @property
    def predicted(self) -> int:
        """Number of galaxies with a prediction so far."""
        return self.done - self.failed

    @property
    def result(self) -> Path:
        """Where the whole catalogue is assembled."""
        return self.folder / _RESULT

    def open(self, *, resume: bool, afresh: bool) -> None:
        """Start a catalogue, or continue one.

        Args:
            resume: continue an interrupted catalogue.
            afresh: without ``resume``, an interrupted catalogue may be discarded.

        Raises:
            UsageError: an interrupted catalogue is there and neither was asked for, its options differ, the
                folder is not one of ours, or another process is writing it.
            MorphoscopeError: its options cannot be read.
        """
        self._make_folder()
        self._take_lock()
        try:
            self.parts = found = self._found()
            if found and not resume and not afresh:
                raise UsageError(
                    f"{self.out}: an earlier run was interrupted after {found[-1].stop} galaxies; continue "
                    "it with --resume, or start again with --overwrite"
                )
            if found and resume:
                self._check_request()
                self._continue_after(self._whole(found))
            else:
                self._clear()
                self._continue_after([])
                _write_json(self.folder / _REQUEST, {**self.provenance, _CHECKSUMS: self.checksums})
        except BaseException:
            self.release()
            raise

    def add(self, table: pa.Table | None, batch: Batch) -> None:
        """Add the rows of the next galaxies; they are written to disk after a while.

        Args:
            table: those that could be read; None if none could.
            batch: everything else about them.
        """
        if table is not None:
            self._rows.append(_copied(table))
            self.extent += Extent.of(table)
        self._failures += batch.failures
        self._count(len(batch.failures), next(iter(batch.failures), None))
        self._stamps += batch.stamps
        self.done, self.digest = batch.stop, batch.digest
        held = sum(rows.nbytes for rows in self._rows)
        if held >= PART_BYTES or time.monotonic() - self._last >= PART_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Write the rows in memory to disk, as one part."""
        if self.done == self.kept:
            return
        rows = pa.concat_tables(self._rows) if self._rows else self.schema.empty_table()
        facts = {
            "failures": self._failures,
            "failures_have_rows": rows.num_rows == self.done - self.kept,
            "rows": rows.num_rows,
            "widths": Extent.of(rows).widths,
            "digest": self.digest,
            "stamps": [self._stamps.total, self._stamps.missing],
        }
        sink = pa.BufferOutputStream()
        pq.write_table(rows.replace_schema_metadata({_FACTS: json.dumps(facts)}), sink, compression="zstd")
        content = sink.getvalue()
        checksum = f"{zlib.crc32(content):08x}"
        path = self.folder / f"{self.kept:09d}-{self.done:09d}.{checksum}.parquet"
        writing = self.folder / _WRITING
        try:
            writing.write_bytes(content)
            os.replace(writing, path)
        finally:
            writing.unlink(missing_ok=True)
        self.parts.append(Part(self.kept, self.done, path, checksum))
        self._rows.clear()
        self._failures.clear()
        self._stamps = Stamps()
        self._last = time.monotonic()

    def keep_before(self, part: Part) -> None:
        """Discard a part and all after it; their galaxies are predicted again."""
        self._continue_after(self.parts[: self.parts.index(part)])

    def tables(self) -> Iterator[pa.Table]:
        """All rows in input order, a few thousand at a time.

        Raises:
            MorphoscopeError: a part has been damaged since.
        """
        for part in self.parts:
            with pq.ParquetFile(pa.BufferReader(part.content())) as file:
                for batch in file.iter_batches(batch_size=8192):
                    yield pa.Table.from_batches([batch]).cast(self.schema)

    def failures(self) -> Iterator[Failure]:
        """All images that could not be read, in input order.

        Raises:
            MorphoscopeError: a part has been damaged since.
        """
        for part in self.parts:
            metadata = pq.read_schema(pa.BufferReader(part.content())).metadata
            yield from map(tuple, json.loads(metadata[_FACTS])["failures"])

    def announce(self) -> None:
        """Record which file is about to become the catalogue."""
        _write_json(self.folder / _PLACED, _identity(self.result))

    def discard(self) -> None:
        """Discard all parts."""
        with contextlib.suppress(OSError, UsageError):  # something else has come into the folder
            self._clear()
        self.parts = []
        self.release()

    def release(self) -> None:
        """Release the lock; a folder without parts is deleted."""
        with contextlib.suppress(OSError, UsageError):  # something else has come into the folder
            if not self._found():
                self._clear()
                (self.folder / _LOCK).unlink(missing_ok=True)
                self.folder.rmdir()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _continue_after(self, parts: list[Part]) -> None:
        """Continue after these parts, and delete all others."""
        for part in self.parts:
            if all(part.path != kept.path for kept in parts):
                part.path.unlink(missing_ok=True)
        self.parts = parts
        self.done = parts[-1].stop if parts else 0
        self.digest = parts[-1].digest if parts else ""
        self.failed, self.first_failure, self.extent = 0, None, Extent()
        for part in parts:
            self._count(part.failed, part.first_failure)
            self.extent += Extent(part.rows, dict(part.widths or {}))

    def _found(self) -> list[Part]:
        """The parts found, in order; their content has not been read yet."""
        matches = [(_PART.fullmatch(path.name), path) for path in self._entries()]
        found = [Part(int(m[1]), int(m[2]), path, m[3] or "") for m, path in matches if m is not None]
        return sorted(found, key=lambda part: (part.start, part.stop))

    def _whole(self, found: list[Part]) -> list[Part]:
        """The parts up to the first that is damaged or does not follow the one before."""
        whole: list[Part] = []
        for part in found:
            follows = part.start == (whole[-1].stop if whole else 0)
            read = _read_part(part, self.schema) if follows else None
            if read is None:
                note(f"{part.path} is damaged; galaxies from the {part.start + 1}th on are predicted again")
                break
            whole.append(read)
        return whole

    def _count(self, failed: int, first: Failure | None) -> None:
        self.failed += failed
        self.first_failure = self.first_failure or first

    def _check_request(self) -> None:
        """Refuse to continue a catalogue with other options or another run."""
        path = self.folder / _REQUEST
        anew = "start again with --overwrite and without --resume"
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            checksums = before.pop(_CHECKSUMS, {})
            if not all(isinstance(each, dict) for each in (before, checksums)):
                raise ValueError("not an object")
        except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
            raise MorphoscopeError(f"{path} cannot be read; {anew}") from error
        changed = [
            f"{name} was '{before.get(name, '')}' and is '{self.provenance.get(name, '')}' now"
            for name in sorted(before.keys() | self.provenance.keys())
            if name not in VOLATILE and _same(name, before) != _same(name, self.provenance)
        ]
        if changed:
            raise UsageError(
                f"{self.out}: options differ from those of the interrupted run ({'; '.join(changed)}); "
                f"repeat its options with --resume, or {anew}"
            )
        for name, checksum in checksums.items():
            if self.checksums.get(name, checksum) != checksum:
                raise UsageError(
                    f"{self.out}: {name} has changed since the catalogue was interrupted; restore it, or "
                    f"{anew}"
                )
        engines = [each["engine"] for each in (before, self.provenance) if "engine" in each]
        self.provenance = before
        if engines and engines[-1] not in engines[0].split(", then "):
            self.provenance["engine"] = ", then ".join(engines)

    def _make_folder(self) -> None:
        """Make the folder, or check that an existing one is ours.

        Raises:
            UsageError: it is a link or a file, or contains something else.
        """
        if self.folder.is_symlink():
            raise UsageError(
                f"{self.folder} is a link, and what it points to would be deleted; remove the link, or "
                "choose another name for the catalogue"
            )
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"{self.folder} is a file; remove it, or choose another name for the catalogue")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._entries()

    def _entries(self) -> list[Path]:
        """The entries of the folder.

        Raises:
            UsageError: it contains something else.
        """
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                name = entry.name
                ours = entry.is_file(follow_symlinks=False) and (
                    name in (_REQUEST, _RESULT, _PLACED, _LOCK, _WRITING)
                    or _PART.fullmatch(name) is not None
                    or _TEMPORARY.fullmatch(name) is not None
                )
                if not ours and not (name == _RESULT and entry.is_dir(follow_symlinks=False)):
                    raise UsageError(
                        f"{self.folder} holds '{name}', which is not part of an interrupted catalogue, and "
                        "would be deleted; move it away, or choose another name for the catalogue"
                    )
                found.append(Path(entry.path))
        return found

    def _clear(self) -> None:
        for path in self._entries():
            if path.name != _LOCK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _take_lock(self) -> None:
        """Take a lock that is held until the process ends in any way; without one if the system has no such
        locks.
        """
        try:
            import fcntl
        except ImportError:
            return
        path = self.folder / _LOCK
        lock = open(path, "a")  # noqa: SIM115 - held open on purpose
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process may have finished and deleted the file between the two lines above.
            ours = path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat())
        except BlockingIOError as error:
            lock.close()
            raise UsageError(f"{self.out}: another process is writing this catalogue; wait for it") from error
        except OSError:  # a file system without locks
            lock.close()
            return
        if not ours:
            lock.close()
            raise UsageError(f"{self.out}: another process has just written this catalogue; try again")
        self._lock = lock


def _copied(table: pa.Table) -> pa.Table:
    """A copy in Arrow's own memory.

    A table made from numpy arrays keeps them alive. Hundreds of small ones waiting for their part would
    fragment the memory that the network frees and allocates again.
    """
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    grown = sink.getvalue()  # up to twice as large as it need be
    content = pa.allocate_buffer(grown.size)
    pa.FixedSizeBufferWriter(content).write(grown)
    return pa.ipc.open_stream(content).read_all()


def _read_part(part: Part, schema: pa.Schema) -> Part | None:
    """Read a part; None if it is damaged or has other columns."""
    try:
        table = pq.read_table(pa.BufferReader(part.content()))
        facts = json.loads(table.schema.metadata[_FACTS])
        failures = [
            (str(identity), str(source), str(reason)) for identity, source, reason in facts["failures"]
        ]
        widths = {str(name): int(width) for name, width in facts["widths"].items()}
        stamps = None if facts.get("stamps") is None else Stamps(*map(int, facts["stamps"]))
        rows, digest = int(facts["rows"]), str(facts["digest"])
    except (MorphoscopeError, OSError, pa.ArrowException, AttributeError, LookupError, TypeError, ValueError):
        return None
    columns = [(each.name, each.type) for each in table.schema]
    count = part.stop - part.start
    with_rows = facts.get("failures_have_rows") is True
    whole = table.num_rows == rows and count > 0 and rows + (0 if with_rows else len(failures)) == count
    if not whole or columns != [(each.name, each.type) for each in schema]:
        return None
    first = failures[0] if failures else None
    return replace(
        part,
        rows=rows,
        widths=widths,
        failed=len(failures),
        first_failure=first,
        digest=digest,
        stamps=stamps,
    )


def _write_json(path: Path, values: Mapping[str, object]) -> None:
    with files.atomic_file(path) as partial:
        partial.write_text(json.dumps(values, indent=1, ensure_ascii=False), encoding="utf-8")


def _same(name: str, provenance: Mapping[str, str]) -> str | None:
    """The settings that must not change when a catalogue is resumed.

    Engines that compute in fp32 on the same kind of device agree to rounding, which is checked when a graph
    is made; bf16 and int8 differ in the third digit, and int8 of one engine from that of another.
    """
    value = provenance.get(name)
    if name != "number_format" or value is None:
        return value
    return "; ".join(sorted({each.replace(_ORDER, "") for each in value.split("; ")}))
