"""From images to a catalogue, in constant memory; a kill loses at most half a minute's work.

Rows are stored in parts next to the catalogue (:mod:`morphoscope.catalogue.checkpoint`) as they are made
(:mod:`morphoscope.catalogue.rows`). After the last galaxy the catalogue is assembled from them in the
format of its suffix, and moved to its path by one rename.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from morphoscope import files
from morphoscope.catalogue.checkpoint import Journal, was_placed
from morphoscope.catalogue.columns import ColumnProvider, FullColumns, PlainColumns, note_missing_scores
from morphoscope.catalogue.formats.hats import check_places
from morphoscope.catalogue.formats.write import (
    Target,
    check_output,
    remove,
    target_of,
    write_unreadable,
    written,
)
from morphoscope.catalogue.input_shares import shares_of_input
from morphoscope.catalogue.inputs.open import Images
from morphoscope.catalogue.pipeline import Batch, Digest, PreprocessingNotes, Stamps, stamp_of
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.catalogue.rows import NotFinite, Remaining, RowMaker, RowSource, rows_here
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.decode import read_image
from morphoscope.notebook import notebook_html
from morphoscope.progress import Bar, note, track

if TYPE_CHECKING:
    import numpy as np

    from morphoscope.inference.ensemble import Ensemble
    from morphoscope.inference.predictor import Predictor


@dataclass(frozen=True)
class Summary:
    """The outcome of a prediction.

    Attributes:
        out: the catalogue.
        predicted: galaxies in it with a prediction.
        unreadable: images that could not be read; of positions of a survey, those without an image, which are
            in the catalogue without a prediction.
        unreadable_list: file that lists them with reasons; None if there are none.
        seconds: from the first image to the last row, of this session.
        resumed: galaxies predicted by an earlier, interrupted session.
        source: of the images.
    """

    out: Path
    predicted: int
    unreadable: int
    unreadable_list: Path | None
    seconds: float
    resumed: int = 0
    source: str = ""

    @property
    def rate(self) -> float:
        """Galaxies per second, in this session."""
        return (self.predicted - self.resumed) / max(self.seconds, 1e-9)

    def _repr_html_(self) -> str:
        """HTML for notebooks: counts, and the first galaxies of a Parquet catalogue."""
        facts = [
            ("galaxies", f"{self.predicted:,}"),
            (
                "unreadable",
                f"{self.unreadable:,}, listed in {self.unreadable_list}" if self.unreadable else "",
            ),
            ("speed", f"{self.rate:.0f} galaxies a second"),
        ]
        counts: dict[str, int] = {}
        images: list[tuple[str, np.ndarray]] = []
        if self.out.suffix.lower() == ".parquet" and self.out.is_file():
            counts, images = _first_galaxies(self.out, Path(self.source))
        return notebook_html(f"Catalogue {self.out}", facts, counts=counts, images=images)


class NothingPredicted(MorphoscopeError):
    """No image could be predicted."""


def predict_catalogue(
    predictor: Predictor | Ensemble,
    request: CatalogueRequest,
    *,
    columns: ColumnProvider | None = None,
    rows: RowSource = rows_here,
) -> Summary:
    """Predict every image of an input and write a catalogue.

    Columns: id, source, ra, dec (degrees, empty where unknown), then for classes ``predicted`` (a name),
    ``probability`` (of the predicted class), ``p_<class>`` each (see
    :func:`morphoscope.labels.scheme.probability_column`), ``entropy`` (nats) and, if asked for, ``set``;
    for votes one fraction an answer and, where they follow a decision tree, ``path``. Rows are in the order
    of the input, except in HATS, which is ordered by position on the sky. Images that cannot be read have no
    row, but every position of a survey has one: without an image only ``id``, ``source``, ``ra``, ``dec``
    and ``quality``, which says why.

    Args:
        predictor: a run's network, or several (see :mod:`morphoscope.inference.predictor`).
        request: the images, and the catalogue to be made of them.
        columns: runs the network, and may add columns (see :mod:`morphoscope.catalogue.columns`); None:
            the predictions alone.
        rows: where the rows are made; here, unless told otherwise.

    Raises:
        UsageError: the request is wrong: nothing at its source, an unknown ending, its output exists or
            cannot be written, an interrupted catalogue is there and ``resume`` was not asked for, or it
            was and the request or the input has changed. Raised before any image is read.
        MorphoscopeError: no image could be read, or the network's predictions are not finite: nothing is
            left behind. Or the disk is full: what is done is kept for ``resume``, as after any other end.
    """
    target = target_of(request.out, request.shard_rows)
    out = target.path
    columns = columns or PlainColumns(predictor)
    maker = RowMaker(request, columns)
    check_output(target, overwrite=request.overwrite or (request.resume and was_placed(out)))
    if out.exists() and Path(request.source).exists() and out.samefile(request.source):
        raise UsageError(f"{out} is the input; choose another name for the catalogue")
    images = maker.open()
    if target.by_place:
        images = replace(images, items=check_places(images.items, out.name))
    target.check(maker.schema)
    if request.estimate_shares:
        maker.shares = shares_of_input(maker)
    journal = Journal(out, maker.schema, maker.provenance(images.name), maker.checksums())
    start = time.monotonic()
    with files.explained_os_errors(out, "what was done is kept. Free some room, then continue with --resume"):
        journal.open(resume=request.resume, afresh=request.overwrite)
        with kept_if_interrupted(journal):
            remaining = not_yet_done(images, journal, maker.open)
            resumed = journal.predicted
            if predictor.calibration is None:
                note(f"calibration: {predictor.calibration_description}")
            if isinstance(columns, FullColumns):
                note_missing_scores(predictor)
            with closing(rows(maker, remaining, PreprocessingNotes(maker.facts, maker.stretch))) as made:
                fill(journal, made, images.count)
            predicted = journal.predicted
            listed = assemble(journal, target, images.name)
    return Summary(
        out=out,
        predicted=predicted,
        unreadable=journal.failed,
        unreadable_list=listed,
        seconds=time.monotonic() - start,
        resumed=resumed,
        source=str(request.source),
    )


def _first_galaxies(catalogue: Path, source: Path) -> tuple[dict[str, int], list[tuple[str, np.ndarray]]]:
    """Counts of predicted classes among the first million rows, and images of the first few."""
    images: list[tuple[str, np.ndarray]] = []
    counts: Counter[str] = Counter()
    with pq.ParquetFile(catalogue, pre_buffer=False) as file:
        names = [name for name in ("id", "source", "predicted") if name in file.schema_arrow.names]
        for number, rows in enumerate(file.iter_batches(batch_size=1 << 16, columns=names)):
            if "predicted" in names:
                counts.update(name or "no class" for name in rows.column("predicted").to_pylist())
            for row in rows.slice(0, 6 if number == 0 else 0).to_pylist():
                with contextlib.suppress(MorphoscopeError, OSError, ValueError):  # perhaps it has moved
                    image = read_image(source / row["source"] if source.is_dir() else row["source"])
                    images.append((" ".join(str(row[name]) for name in names if name != "source"), image))
            if number == 15:
                break
    return dict(counts.most_common()), images


@contextlib.contextmanager
def kept_if_interrupted(journal: Journal) -> Iterator[None]:
    """If the block ends early for any reason, finished galaxies are kept for ``--resume``."""
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
            note(f"{journal.out}: {journal.kept} galaxies are done and kept; continue with --resume")
        raise


def not_yet_done(images: Images, journal: Journal, reopen: Callable[[], Images]) -> Remaining:
    """The galaxies after those in the journal, whose images are not read again.

    The journal is discarded from the first part whose image files have changed. A missing file does not
    count as changed: its rows stay.

    Args:
        images: the input, from its beginning.
        journal: the finished galaxies.
        reopen: opens the input again.

    Raises:
        UsageError: the input does not begin with the journal's galaxies.
    """
    items, digest, changed = iter(images.items), Digest(), None
    for part in journal.parts:
        stamps = Stamps()
        for item in islice(items, part.stop - part.start):
            digest.add(item)
            if changed is None and part.stamps is not None:
                stamps += stamp_of(item)
        if changed is None and part.stamps is not None and stamps.missing <= part.stamps.missing:
            changed = part if stamps != part.stamps else None
    if journal.done and (digest.count, digest.hex) != (journal.done, journal.digest):
        raise UsageError(
            f"{images.name}: has changed since the catalogue was interrupted: its first {journal.done} "
            "galaxies differ in id, source, coordinates or order; restore it, or start again with "
            "--overwrite and without --resume"
        )
    if changed is not None:
        note(
            f"{images.name}: image files among galaxies {changed.start + 1} to {changed.stop} have changed "
            f"since they were predicted; galaxies from the {changed.start + 1}th on are predicted again"
        )
        journal.keep_before(changed)
        return not_yet_done(reopen(), journal, reopen)
    if journal.done:
        note(f"continuing after {journal.done} galaxies")
    return Remaining(items, digest, journal.done, images.count)


def fill(journal: Journal, rows: Iterable[tuple[Batch, pa.Table | None]], count: int | None) -> None:
    """Store the rows as they come."""
    from morphoscope.processes import Tidying, give_back_freed_memory

    give_back_freed_memory()  # counting the input has just freed a few dozen bytes for each name
    tidying = Tidying()
    with Bar("predicting", count, "galaxies", done=journal.done) as bar:
        for batch, table in rows:
            before = journal.done
            journal.add(table, batch)
            bar.advance(journal.done - before)
            tidying.step()
    give_back_freed_memory()  # the network no longer needs any, but writing the catalogue does
    journal.commit()


def assemble(journal: Journal, target: Target, name: str) -> Path | None:
    """Assemble the catalogue from the parts and move it to its path; returns the list of unreadable images.

    The list is written first, so that an existing catalogue is complete.
    """
    if not journal.predicted:
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
