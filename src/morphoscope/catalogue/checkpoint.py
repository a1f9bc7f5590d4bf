"""What an unfinished catalogue has so far, in a hidden folder that survives any kill.

::

    .catalogue.fits.partial/
      request.json               where the numbers come from; what a continuation must have in common
      000000000-000008192.parquet  rows of the input's galaxies 0 to 8191, in its metadata those of them
      …                            that could not be read, and a digest of all galaxies up to here
      result                     the catalogue while it is put together
      placed.json                shortly before the catalogue is put in place: which file that is

A part is written under another name and renamed, so it is there with all it says or not at all, and the list
of the files is the journal: no second record can contradict it. Parts follow each other without a gap, so no
galaxy is there twice and none is missing. Only a machine that loses its power can leave a damaged part (parts
are not forced to the disk: that takes seconds on a busy one); its galaxies and those after it are done again.
A catalogue in any format is put together from the parts when the last galaxy is done.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from morphoscope import files
from morphoscope.catalogue.formats.table_schema import Extent
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.progress import note

PART_SECONDS = 30.0  # a kill loses no more work than this
PART_BYTES = 32 << 20  # and no more rows than this wait in memory
VOLATILE = ("date",)  # what may differ when a catalogue is continued
_REQUEST, _RESULT, _PLACED, _LOCK = "request.json", "result", "placed.json", "lock"
_SAID = b"morphoscope.part"
Failure = tuple[str, str, str]  # id, source, reason


def partial_folder(out: Path) -> Path:
    """The hidden folder beside a catalogue that holds what is done of it."""
    return out.parent / f".{out.name}.partial"


def was_placed(out: Path) -> bool:
    """Whether the catalogue that is there came from its parts: a kill hit after its last step but one."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads((partial_folder(out) / _PLACED).read_text()) == _marks(out)
    return False


def _marks(place: Path) -> dict[str, int]:
    facts = place.stat()
    return {"inode": facts.st_ino, "device": facts.st_dev, "size": facts.st_size}


class Journal:
    """The parts of a catalogue that is being made.

    Attributes:
        done: galaxies of the input that need not be looked at again.
        failed: those of them that could not be read.
        first_failure: the first of these.
        extent: rows so far, and the lengths of their texts.
        digest: of all galaxies so far, as the last :meth:`add` gave it; empty at the start.
        provenance: where the numbers come from, as of the catalogue's beginning.
    """

    def __init__(self, out: Path, schema: pa.Schema, provenance: Mapping[str, str]) -> None:
        self.out, self.folder = out, partial_folder(out)
        self.schema = schema
        self.provenance = dict(provenance)
        self.done = self.failed = 0
        self.first_failure: Failure | None = None
        self.extent = Extent()
        self.digest = ""
        self._kept = 0
        self._rows: list[pa.Table] = []
        self._failures: list[Failure] = []
        self._last = time.monotonic()
        self._lock: IO[str] | None = None

    @property
    def kept(self) -> int:
        """Galaxies of the input that are safe on the disk."""
        return self._kept

    @property
    def result(self) -> Path:
        """Where the whole catalogue is put together."""
        return self.folder / _RESULT

    def open(self, *, resume: bool, afresh: bool) -> None:
        """Begin a catalogue, or go on with one.

        Args:
            resume: go on with what is there.
            afresh: without ``resume``: what is there may be thrown away.

        Raises:
            UsageError: an interrupted catalogue is there and neither was said, it was asked for otherwise,
                or another process is writing it.
            MorphoscopeError: it does not say how it was asked for.
        """
        parts = self._parts()
        if parts and not resume and not afresh:
            raise UsageError(
                f"{self.out}: an earlier run was interrupted after {parts[-1][1]} galaxies; go on with it by "
                "--resume, or begin anew with --overwrite"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            if parts and resume:
                self._go_on(parts)
            else:
                self._clear()
                _write_json(self.folder / _REQUEST, self.provenance)
        except BaseException:
            self.release()
            raise

    def _go_on(self, parts: list[tuple[int, int, Path]]) -> None:
        self._check_request()
        for number, (start, stop, place) in enumerate(parts):
            if not self._take_up(start, stop, place):
                for _, _, later in parts[number:]:
                    later.unlink()
                note(f"{place} is damaged; galaxies from the {start + 1}th on are done again")
                break
        self._kept = self.done

    def add(self, table: pa.Table | None, failures: list[Failure], stop: int, digest: str) -> None:
        """Keep the rows of the input's next galaxies, up to the ``stop``-th; on the disk after a while.

        Args:
            table: those that could be read; None if none could.
            failures: the others.
            stop: galaxies of the input so far.
            digest: of all of them.
        """
        if table is not None:
            self._rows.append(_on_its_own(table))
            self.extent += Extent.of(table)
        self._count(failures)
        self._failures += failures
        self.done, self.digest = stop, digest
        held = sum(rows.nbytes for rows in self._rows)
        if held >= PART_BYTES or time.monotonic() - self._last >= PART_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Put what waits in memory on the disk, as one part."""
        if self.done == self._kept:
            return
        rows = pa.concat_tables(self._rows) if self._rows else self.schema.empty_table()
        said = {
            "failures": self._failures,
            "rows": rows.num_rows,
            "widths": Extent.of(rows).widths,
            "digest": self.digest,
        }
        place = self.folder / f"{self._kept:09d}-{self.done:09d}.parquet"
        with self._whole(place) as partial:
            pq.write_table(
                rows.replace_schema_metadata({_SAID: json.dumps(said)}), partial, compression="zstd"
            )
        self._kept = self.done
        self._rows.clear()
        self._failures.clear()
        self._last = time.monotonic()

    def tables(self) -> Iterator[pa.Table]:
        """All rows in the order of the input, a few thousand at a time."""
        for _, _, place in self._parts():
            with pq.ParquetFile(place) as file:
                for batch in file.iter_batches(batch_size=8192):
                    yield pa.Table.from_batches([batch]).cast(self.schema)

    def failures(self) -> Iterator[Failure]:
        """All images that could not be read, in the order of the input."""
        for _, _, place in self._parts():
            yield from map(tuple, (_said_by(place) or {})["failures"])

    def announce(self) -> None:
        """Note which file is about to become the catalogue."""
        _write_json(self.folder / _PLACED, _marks(self.result))

    def discard(self) -> None:
        """Throw all parts away."""
        self.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def release(self) -> None:
        """Let other processes at the parts; a folder without any goes."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if not self._parts():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _parts(self) -> list[tuple[int, int, Path]]:
        """First galaxy, one past the last, and file of each part, in order."""
        found = []
        for place in sorted(self.folder.glob("*-*.parquet")):
            start, stop = place.stem.split("-")
            found.append((int(start), int(stop), place))
        return sorted(found)

    def _take_up(self, start: int, stop: int, place: Path) -> bool:
        """Count a part in; whether it is whole and follows the last."""
        said = _said_by(place) if start == self.done else None
        if said is None:
            return False
        self._count([tuple(failure) for failure in said["failures"]])
        self.extent += Extent(said["rows"], said["widths"])
        self.done, self.digest = stop, said["digest"]
        return True

    def _count(self, failures: list) -> None:
        self.failed += len(failures)
        if failures and self.first_failure is None:
            self.first_failure = failures[0]

    def _check_request(self) -> None:
        try:
            before = json.loads((self.folder / _REQUEST).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise MorphoscopeError(
                f"{self.folder / _REQUEST} cannot be read; begin the catalogue anew with --overwrite and "
                "without --resume"
            ) from error
        changed = [
            f"{name} was '{before.get(name, '')}' and is '{self.provenance.get(name, '')}' now"
            for name in sorted(before.keys() | self.provenance.keys())
            if name not in VOLATILE and before.get(name) != self.provenance.get(name)
        ]
        if changed:
            raise UsageError(
                f"{self.out}: the interrupted catalogue was asked for otherwise ({'; '.join(changed)}); "
                "repeat its options with --resume, or begin anew with --overwrite and without --resume"
            )
        self.provenance = before

    def _clear(self) -> None:
        for place in self.folder.iterdir():
            if place.name != _LOCK:
                shutil.rmtree(place) if place.is_dir() else place.unlink()

    def _take_lock(self) -> None:
        """Held until the process ends in whatever way; where the system has no such locks, there is none."""
        try:
            import fcntl
        except ImportError:
            return
        lock = open(self.folder / _LOCK, "w")  # noqa: SIM115 - held open on purpose
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise UsageError(f"{self.out}: another process is writing this catalogue; wait for it") from error
        except OSError:  # a file system without locks
            lock.close()
            return
        self._lock = lock

    @contextlib.contextmanager
    def _whole(self, place: Path) -> Iterator[Path]:
        partial = place.with_suffix(".writing")
        try:
            yield partial
            os.replace(partial, place)
        finally:
            partial.unlink(missing_ok=True)


def _on_its_own(table: pa.Table) -> pa.Table:
    """A copy in Arrow's own memory.

    A table made of numpy's arrays holds on to them. Hundreds of small ones that wait for their part would lie
    all over the memory that the network frees and takes again, which would then find no room between them.
    """
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def _said_by(part: Path) -> dict | None:
    """What a part says of itself; None if it is damaged."""
    try:
        return json.loads(pq.read_schema(part).metadata[_SAID])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def _write_json(place: Path, values: Mapping[str, object]) -> None:
    with files.atomic_file(place) as partial:
        partial.write_text(json.dumps(values, indent=1, ensure_ascii=False), encoding="utf-8")
