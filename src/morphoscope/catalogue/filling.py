"""A catalogue that is being made: what is done of it is kept, and put together at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa

from morphoscope.catalogue import pipeline
from morphoscope.catalogue.formats.write import Target, remove, write_unreadable, written
from morphoscope.catalogue.inputs.read import Images
from morphoscope.catalogue.journal import Journal
from morphoscope.catalogue.pipeline import Digest
from morphoscope.data.ingest import Item
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.progress import Bar, note, track


class NotFinite(MorphoscopeError):
    """The network is broken, and no row of it can be trusted."""


class NothingPredicted(MorphoscopeError):
    """There is not one row."""


@contextlib.contextmanager
def kept_if_broken_off(journal: Journal) -> Iterator[None]:
    """Whatever ends the block early, its finished galaxies stay for a continuation."""
    try:
        yield
    except (NotFinite, NothingPredicted):
        journal.discard()
        raise
    except BaseException:
        with contextlib.suppress(OSError, pa.ArrowException):  # a full disk must not hide the first error
            journal.commit()
        remove(journal.result)
        journal.release()
        if journal.kept:
            note(f"{journal.out}: {journal.kept} galaxies are done and kept; go on with --resume")
        raise


def not_yet_done(images: Images, journal: Journal) -> tuple[Iterator[Item], Digest]:
    """The galaxies after those of the journal, whose images are not looked at again.

    Raises:
        UsageError: the input does not begin with the journal's galaxies.
    """
    items, digest = iter(images.items), Digest()
    for item in islice(items, journal.done):
        digest.add(item)
    if journal.done and (digest.count, digest.words) != (journal.done, journal.digest):
        raise UsageError(
            f"{images.name}: has changed since the catalogue was interrupted: its first {journal.done} "
            "galaxies differ in id, source, coordinates or order; bring it back as it was, or begin anew "
            "with --overwrite and without --resume"
        )
    if journal.done:
        note(f"going on after {journal.done} galaxies")
    return items, digest


def fill(
    journal: Journal, answers: Iterable[tuple[pipeline.Batch, pa.Table | None]], count: int | None
) -> None:
    """Keep the answers as they come."""
    from morphoscope.models.memory import Tidying, give_back_freed_memory

    tidying = Tidying()
    with Bar("predicting", count, "galaxies", done=journal.done) as bar:
        for batch, table in answers:
            before = journal.done
            journal.add(table, batch.failures, batch.stop, batch.digest)
            bar.advance(journal.done - before)
            tidying.step()
    give_back_freed_memory()  # the network needs none any more, and writing the catalogue does
    journal.commit()


def put_together(journal: Journal, target: Target, name: str) -> Path | None:
    """Make the catalogue of the parts and put it in place; returns the list of unreadable images.

    The list comes first, so that a catalogue that is there has everything that belongs to it.
    """
    if not journal.extent.rows:
        raise _nothing_predicted(name, journal)
    remove(journal.result)
    provenance, rows = journal.provenance, 0
    with written(target, journal.result, journal.schema, provenance, journal.extent) as writer:
        for table in track(journal.tables(), f"writing {journal.out.name}", unit="blocks"):
            writer.write(table)
            rows += table.num_rows
    if rows != journal.extent.rows:
        raise MorphoscopeError(f"{journal.folder} is damaged: {rows} rows of {journal.extent.rows} are there")
    listed = write_unreadable(target.path, journal.failures())
    journal.announce()
    target.put_in_place(journal.result)
    journal.discard()
    return listed


def _nothing_predicted(name: str, journal: Journal) -> NothingPredicted:
    if journal.first_failure is None:
        return NothingPredicted(f"{name}: holds no images, so no catalogue was written")
    _, source, reason = journal.first_failure
    return NothingPredicted(
        f"{name}: none of {journal.failed} images could be read, so no catalogue was written "
        f"(the first, {source}: {reason})"
    )
