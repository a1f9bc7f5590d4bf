"""Images in, a catalogue out, with flat memory and nothing lost by a kill.

Rows are kept in parts beside the catalogue (:mod:`morphoscope.catalogue.checkpoint`) while the network works
(:mod:`morphoscope.catalogue.pipeline`); when the last galaxy is done the catalogue is put together from them,
in the format of its ending, and put in place by one rename.

A catalogue that is being made: what is done of it is kept, and put together at the end.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from morphoscope import files
from morphoscope.catalogue import pipeline
from morphoscope.catalogue.checkpoint import Journal, was_placed
from morphoscope.catalogue.columns import (
    Extra,
    Sets,
    catalogue_schema,
    catalogue_table,
    provenance_of,
    sets_of,
)
from morphoscope.catalogue.distributed.partition import Ask, Work
from morphoscope.catalogue.distributed.ray import answered_by_cluster
from morphoscope.catalogue.distributed.torchrun import answered_together, help_along
from morphoscope.catalogue.formats.hats import check_places
from morphoscope.catalogue.formats.write import (
    Target,
    check_output,
    remove,
    target_of,
    write_unreadable,
    written,
)
from morphoscope.catalogue.inputs.open import Images, stretch_like
from morphoscope.catalogue.inputs.request import Request
from morphoscope.catalogue.pipeline import Digest, Fitted, Notes
from morphoscope.catalogue.predictions import ColumnProvider, FullColumns, PlainColumns, say_what_lacks
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.bands import parse_bands
from morphoscope.images.stream import Item, in_order
from morphoscope.inference.preprocess import check_request
from morphoscope.processes import Process
from morphoscope.progress import Bar, note, track

if TYPE_CHECKING:
    from morphoscope.inference.ensemble import Ensemble
    from morphoscope.inference.predictor import Predictor
    from morphoscope.labels.scheme import Classes, VoteFractions


@dataclass(frozen=True)
class Summary:
    """What became of the images.

    Attributes:
        out: the catalogue.
        predicted: galaxies in it.
        unreadable: images that could not be read.
        unreadable_list: where they are listed with the reason; None if there are none.
        seconds: from the first image to the last row, of this session.
        resumed: galaxies that an earlier, interrupted session had answered.
    """

    out: Path
    predicted: int
    unreadable: int
    unreadable_list: Path | None
    seconds: float
    resumed: int = 0

    @property
    def rate(self) -> float:
        """Galaxies per second, in this session."""
        return (self.predicted - self.resumed) / max(self.seconds, 1e-9)


def predict_catalogue(
    predictor: Predictor | Ensemble,
    source: Path | str,
    out: Path | str,
    *,
    crop: int | None = None,
    size: int | None = None,
    batch: int = 256,
    overwrite: bool = False,
    image_column: str | None = None,
    bands: str | Sequence[str] | None = None,
    sources: Path | str | None = None,
    cutout_arcsec: float | None = None,
    size_column: str | None = None,
    workers: int | None = None,
    coverage: float | None = None,
    per_class: bool = False,
    answering: ColumnProvider | None = None,
    resume: bool = False,
    shard_rows: int | None = None,
    cluster: Callable[[], ColumnProvider] | None = None,
    process: Process | None = None,
) -> Summary:
    """Predict every image of ``source`` and write a catalogue.

    Columns: id, source, ra, dec (degrees, empty where unknown), then for classes ``predicted`` (a name),
    ``probability`` (of the predicted class), ``p_<class>`` each (see
    :func:`morphoscope.labels.scheme.probability_column`), ``entropy`` (nats) and, if asked for, ``set``;
    for votes one fraction an answer and, where they follow a decision tree, ``path``. Rows are in the order
    of the input, but for HATS by place on the sky.

    Args:
        predictor: a run's network (see :mod:`morphoscope.inference.predictor`).
        source: a folder, a glob, an image, an archive, a table with an image column, or a store
            (see :func:`morphoscope.catalogue.inputs.open.open_input`); with ``sources``, a FITS mosaic.
        out: the catalogue; its ending says the format (see
            :func:`morphoscope.catalogue.formats.write.target_of`).
        crop: side of the centre crop of each image that the network is to see as it saw the training's
            images, pixels; None: as :func:`morphoscope.inference.preprocess.crop_resize_plan` says.
        size: side of the training's images, which is the only one that fits; checked if given.
        batch: images handed to the network at once.
        overwrite: replace a catalogue that is already there.
        image_column: the table's column with the images; None: found by its name.
        bands: names of one to three bands of FITS images, such as ``"g,r,z"``: one file a band, or parts of
            each file.
        sources: a table with ``ra`` and ``dec``: ``source`` is then a mosaic (with ``{band}`` in its name:
            one a band), and cutouts around them are predicted. Two more columns: ``cutout`` (its side,
            arcsec) and ``on_mosaic``.
        cutout_arcsec: side of these cutouts; None: what the training's images show.
        size_column: column of ``sources`` with each cutout's own side, arcsec.
        workers: threads that decode; None: one a core.
        coverage: add the column ``set`` with classes that hold the truth for this share of galaxies like
            the training's (see :mod:`morphoscope.inference.conformal`); None: no such column.
        per_class: the share holds within every class, and not only over all galaxies.
        answering: asks the network, and may add columns (see :mod:`morphoscope.catalogue.predictions`); None:
            the predictor's answers alone.
        resume: go on with an interrupted catalogue of the same name and request, if there is one.
        shard_rows: rows of each file of a catalogue in shards, the most of them for HATS.
        cluster: makes ``answering`` on a worker; the answers then come from a Ray cluster (see
            :mod:`morphoscope.catalogue.distributed.ray`), whose machines must see input and run. None: from
            here.
        process: which one this is of several that make the catalogue together (see
            :mod:`morphoscope.catalogue.distributed.torchrun`); all are called with the same arguments, and
            only the leader writes. None: the only one.

    Raises:
        UsageError: the request is wrong: nothing at ``source``, an unknown ending, ``out`` exists or
            cannot be written, an interrupted catalogue is there and ``resume`` was not asked for, or it
            was and the request or the input is another. Said before any image is read.
        MorphoscopeError: no image could be read, or the network's answers are not finite: nothing is left
            behind. Or the disk is full: what is done is kept for ``resume``, as after any other end.
    """
    if batch < 1:
        raise UsageError(f"--batch {batch}: at least 1 image at a time was expected")
    facts, target = predictor.run.header.store, target_of(out, shard_rows)
    out = target.path
    check_request(facts, crop, size)
    sets = sets_of(predictor, coverage, per_class=per_class)
    helps = process is not None and not process.leads
    if not helps:
        check_output(target, overwrite=overwrite or (resume and was_placed(out)))
    if not helps and out.exists() and Path(source).exists() and out.samefile(source):
        raise UsageError(f"{out} is the input; choose another name for the catalogue")
    stretch = stretch_like(facts.stretch)
    request = Request(
        str(source),
        image_column=image_column,
        bands=parse_bands(bands),
        sources=None if sources is None else Path(sources),
        cutout_arcsec=cutout_arcsec,
        size_column=size_column,
    )
    opened = partial(request.open, facts, stretch=stretch, crop=crop)
    images = opened()
    if target.by_place:
        images = replace(images, items=check_places(images.items, out.name))
    answering = answering or PlainColumns(predictor)
    provenance = provenance_of(predictor, images.name, stretch=stretch, crop=crop, sets=sets)
    extras = (*images.extras, *answering.extras)
    schema = catalogue_schema(predictor.scheme, sets, extras, integer_ids=images.integer_ids)
    fit = partial(pipeline.fit, facts=facts, crop=crop)
    ask = partial(_answers, predictor.scheme, predictor.run.name, sets, extras, images.integer_ids)
    make_ask = partial(_ask_of, ask, answering) if cluster is None else partial(_ask_on_worker, ask, cluster)
    work = Work(partial(_items_of, opened), make_ask, fit, batch)
    if process is not None and not process.leads:
        help_along(process, work)
        return Summary(out, 0, 0, None, 0.0)
    journal = Journal(out, schema, provenance | request.provenance | dict(answering.provenance))
    start = time.monotonic()
    with files.explained_os_errors(out, "what was done is kept. Free some room, then go on with --resume"):
        journal.open(resume=resume, afresh=overwrite)
        with kept_if_broken_off(journal):
            resumed, items = journal.extent.rows, not_yet_done(images, journal)
            if predictor.calibration is None:
                note(f"calibration: {predictor.calibration_words}")
            if isinstance(answering, FullColumns):
                say_what_lacks(predictor)
            look, rest = Notes(facts, stretch).about, {"start": journal.done, "count": images.count}
            if cluster is not None:
                answered = answered_by_cluster(work, *items, look, **rest)
            elif process is not None:
                answered = answered_together(process, work, *items, look, **rest)
            else:
                answered = _answered_here(work, *items, look, workers)
            with closing(answered) as answers:
                fill(journal, answers, images.count)
            listed = put_together(journal, target, images.name)
    return Summary(
        out=out,
        predicted=journal.extent.rows,
        unreadable=journal.failed,
        unreadable_list=listed,
        seconds=time.monotonic() - start,
        resumed=resumed,
    )


def _answered_here(
    work: Work, items: Iterable[Item], digest: Digest, look: Callable[[Fitted], None], workers: int | None
) -> Generator[tuple[pipeline.Batch, pa.Table | None]]:
    with closing(in_order(work.fit, items, workers)) as fitted:
        gathered = pipeline.batches(fitted, work.batch, digest, look)
        with closing(pipeline.answered(work.make_ask(), gathered)) as answers:
            yield from answers


def _items_of(opened: Callable[[], Images]) -> Iterable[Item]:
    return opened().items


def _ask_of(ask: Callable[..., pa.Table], answering: ColumnProvider) -> Ask:
    return partial(ask, answering)


def _ask_on_worker(ask: Callable[..., pa.Table], cluster: Callable[[], ColumnProvider]) -> Ask:
    return partial(ask, cluster())


def _answers(
    scheme: Classes | VoteFractions,
    run: str,
    sets: Sets | None,
    extras: Sequence[Extra],
    integer_ids: bool,
    answering: ColumnProvider,
    batch: list[Fitted],
) -> pa.Table:
    """The catalogue's rows for a batch.

    Raises:
        MorphoscopeError: an answer is not finite.
    """
    predictions_NK, values = answering([fitted.image for fitted in batch if fitted.image is not None])
    wrong = np.flatnonzero(~np.isfinite(predictions_NK).all(axis=1))
    if len(wrong):
        raise NotFinite(
            f"{batch[wrong[0]].item.source}: the network of run '{run}' gives an answer that "
            "is not finite; nothing was kept. Train the run again"
        )
    items = [fitted.item for fitted in batch]
    return catalogue_table(scheme, items, predictions_NK, sets, extras, values, integer_ids=integer_ids)


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
