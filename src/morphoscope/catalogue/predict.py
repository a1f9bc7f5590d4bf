"""Images in, a catalogue out: reading, the network and writing overlap, and memory stays flat.

Shape letters: N galaxies of a batch, K outputs.

Threads decode images and fit them to the training's size, in order and a bounded number ahead. The
caller's thread gathers them into batches and hands each to one thread that asks the network; while that
one works, the next batch is gathered and the last one written. So two batches of images are in memory,
however long the catalogue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from morphoscope.catalogue.answering import Answering, PlainAnswering
from morphoscope.catalogue.columns import Sets, catalogue_schema, catalogue_table
from morphoscope.catalogue.prepare import Way, check_request, follow, way_to_fit
from morphoscope.catalogue.provenance import provenance_of
from morphoscope.catalogue.read import open_input, stretch_like
from morphoscope.catalogue.sets import sets_of
from morphoscope.catalogue.write import UnreadableList, Writer, check_output, open_catalogue
from morphoscope.data.images import is_fits_name
from morphoscope.data.ingest import Item, in_order
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.progress import Bar, note

if TYPE_CHECKING:
    from morphoscope.evaluation.predictor import Predictor
    from morphoscope.training.run import StoreFacts


@dataclass(frozen=True)
class Summary:
    """What became of the images.

    Attributes:
        out: the catalogue.
        predicted: galaxies in it.
        unreadable: images that could not be read.
        unreadable_list: where they are listed with the reason; None if there are none.
        seconds: from the first image to the last row.
    """

    out: Path
    predicted: int
    unreadable: int
    unreadable_list: Path | None
    seconds: float

    @property
    def rate(self) -> float:
        """Galaxies per second."""
        return self.predicted / max(self.seconds, 1e-9)


def predict_catalogue(
    predictor: Predictor,
    source: Path | str,
    out: Path | str,
    *,
    crop: int | None = None,
    size: int | None = None,
    batch: int = 256,
    overwrite: bool = False,
    image_column: str | None = None,
    workers: int | None = None,
    coverage: float | None = None,
    per_class: bool = False,
    answering: Answering | None = None,
) -> Summary:
    """Predict every image of ``source`` and write a catalogue.

    Columns: id, source, ra, dec (degrees, empty where unknown), then for classes ``predicted`` (a name),
    ``probability`` (of the predicted class), ``p_<class>`` each (see
    :func:`morphoscope.labels.scheme.probability_column`), ``entropy`` (nats) and, if asked for, ``set``;
    for votes one fraction an answer. Rows are in the order of the input.

    Args:
        predictor: a run's network (see :mod:`morphoscope.evaluation.predictor`).
        source: a folder, a glob, an image, a table with an image column, or a store
            (see :func:`morphoscope.catalogue.read.open_input`).
        out: the catalogue; its ending says the format (see :mod:`morphoscope.catalogue.write`).
        crop: side of the centre crop of each image that the network is to see as it saw the training's
            images, pixels; None: as :func:`morphoscope.catalogue.prepare.way_to_fit` says.
        size: side of the training's images, which is the only one that fits; checked if given.
        batch: images handed to the network at once.
        overwrite: replace a catalogue that is already there.
        image_column: the table's column with the images; None: found by its name.
        workers: threads that decode; None: one a core.
        coverage: add the column ``set`` with classes that hold the truth for this share of galaxies like
            the training's (see :mod:`morphoscope.evaluation.conformal`); None: no such column.
        per_class: the share holds within every class, and not only over all galaxies.
        answering: asks the network, and may add columns (see :mod:`morphoscope.catalogue.answering`); None:
            the predictor's answers alone.

    Raises:
        UsageError: the request is wrong: nothing at ``source``, an unknown ending, ``out`` exists or
            cannot be written. Said before any image is read.
        MorphoscopeError: no image could be read, or the network's answers are not finite. No catalogue is
            left behind.
    """
    if batch < 1:
        raise UsageError(f"--batch {batch}: at least 1 image at a time was expected")
    out, facts = Path(out), predictor.run.header.store
    check_request(facts, crop, size)
    sets = sets_of(predictor, coverage, per_class=per_class)
    check_output(out, overwrite=overwrite)
    if out.exists() and Path(source).exists() and out.samefile(source):
        raise UsageError(f"{out} is the input; choose another name for the catalogue")
    stretch = stretch_like(facts.stretch)
    images = open_input(source, image_column=image_column, stretch=stretch)
    notes = _Notes(facts, stretch)
    answering = answering or PlainAnswering(predictor)
    provenance = provenance_of(predictor, images.name, stretch=stretch, crop=crop, sets=sets) | dict(
        answering.provenance
    )
    if predictor.calibration is None:
        note(f"calibration: {predictor.calibration_words}")
    fit = partial(_fit, facts=facts, crop=crop)
    start = time.monotonic()
    with (
        open_catalogue(out, catalogue_schema(predictor.scheme, sets, answering.extras), provenance) as writer,
        UnreadableList(out) as unreadable,
        Bar("predicting", images.count, "galaxies") as bar,
        closing(in_order(fit, images.items, workers)) as fitted,
    ):
        ready = _readable(fitted, unreadable, notes, bar)
        answer = partial(_answers, predictor, answering, sets)
        predicted = _write_predictions(answer, _batches(ready, batch), writer, bar)
        if not predicted:
            raise _nothing_predicted(images.name, unreadable)
    return Summary(
        out=out,
        predicted=predicted,
        unreadable=unreadable.count,
        unreadable_list=unreadable.path if unreadable.count else None,
        seconds=time.monotonic() - start,
    )


@dataclass(frozen=True)
class _Fitted:
    """An image as the network takes it, or the reason why there is none."""

    item: Item
    image: np.ndarray | None = None
    way: Way | None = None
    shape: tuple[int, ...] = ()
    reason: str = ""


def _fit(item: Item, *, facts: StoreFacts, crop: int | None) -> _Fitted:
    """Read one image and make it like the training's (in a worker thread)."""
    try:
        image = item.load()
        way = way_to_fit(image, facts, crop=crop)
        return _Fitted(item, follow(way, image), way, image.shape)
    except MorphoscopeError as error:
        return _Fitted(item, reason=str(error).removeprefix(f"{item.source}: "))


def _readable(
    fitted: Iterable[_Fitted], unreadable: UnreadableList, notes: _Notes, bar: Bar
) -> Iterator[_Fitted]:
    """Pass on what can be predicted; list the rest."""
    for image in fitted:
        if image.image is None:
            unreadable.add(str(image.item.row["id"]), image.item.source, image.reason)
            bar.advance()
        else:
            notes.about(image)
            yield image


def _batches(images: Iterable[_Fitted], size: int) -> Iterator[list[_Fitted]]:
    gathered: list[_Fitted] = []
    for image in images:
        gathered.append(image)
        if len(gathered) == size:
            yield gathered
            gathered = []
    if gathered:
        yield gathered


def _write_predictions(
    answer: Callable[[list[_Fitted]], pa.Table], batches: Iterable[list[_Fitted]], writer: Writer, bar: Bar
) -> int:
    """Ask the network in a thread of its own, and write its answers in order; returns how many galaxies."""
    predicted = 0
    asked: Future[pa.Table] | None = None

    def write(answers: Future[pa.Table]) -> int:
        table = answers.result()
        writer.write(table)
        bar.advance(table.num_rows)
        return table.num_rows

    with ThreadPoolExecutor(1, thread_name_prefix="network") as network:
        for gathered in batches:
            next_asked = network.submit(answer, gathered)
            del gathered  # the images belong to the network's thread, which lets go of them when it is done
            if asked is not None:
                predicted += write(asked)
            asked = next_asked
        if asked is not None:
            predicted += write(asked)
    return predicted


def _answers(predictor: Predictor, answering: Answering, sets: Sets | None, batch: list[_Fitted]) -> pa.Table:
    """The catalogue's rows for a batch.

    Raises:
        MorphoscopeError: an answer is not finite: the network is broken, and no row of it can be trusted.
    """
    answers_NK, values = answering([fitted.image for fitted in batch if fitted.image is not None])
    wrong = np.flatnonzero(~np.isfinite(answers_NK).all(axis=1))
    if len(wrong):
        raise MorphoscopeError(
            f"{batch[wrong[0]].item.source}: the network of run '{predictor.run.name}' gives an answer that "
            "is not finite; nothing was kept. Train the run again"
        )
    items = [fitted.item for fitted in batch]
    return catalogue_table(predictor.scheme, items, answers_NK, sets, answering.extras, values)


class _Notes:
    """Say once what is done to images that are not like the training's."""

    def __init__(self, facts: StoreFacts, stretch: str) -> None:
        self.facts, self.stretch = facts, stretch
        self._said: set[str] = set()

    def about(self, fitted: _Fitted) -> None:
        assert fitted.way is not None
        self._once(fitted.way.kind, fitted.way.words(*fitted.shape[:2]))
        if is_fits_name(fitted.item.source) and self.stretch != self.facts.stretch:
            self._once(
                "stretch",
                f"the run was trained on images '{self.facts.stretch}'; FITS images are shown to it with the "
                f"'{self.stretch}' stretch",
            )

    def _once(self, kind: str, words: str) -> None:
        if words and kind not in self._said:
            self._said.add(kind)
            note(words)


def _nothing_predicted(name: str, unreadable: UnreadableList) -> MorphoscopeError:
    if not unreadable.count:
        return MorphoscopeError(f"{name}: holds no images, so no catalogue was written")
    return MorphoscopeError(
        f"{name}: none of {unreadable.count} images could be read, so no catalogue was written "
        f"(the first, {unreadable.first})"
    )
