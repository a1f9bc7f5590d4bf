"""From images to the rows of a catalogue, in one process or on each worker of a cluster."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from morphoscope import files
from morphoscope.catalogue import pipeline
from morphoscope.catalogue.columns import (
    FITTED_COLUMNS,
    ColumnProvider,
    catalogue_schema,
    catalogue_table,
    provenance_of,
    sets_of,
)
from morphoscope.catalogue.inputs.open import Images, is_store, open_request
from morphoscope.catalogue.no_image import rows_without_image
from morphoscope.catalogue.pipeline import Batch, Digest, Preprocessed
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.catalogue.shapes import BesideClasses, measuring, shape_provenance, with_fluxes
from morphoscope.errors import MorphoscopeError
from morphoscope.extras import need
from morphoscope.images.file_names import writable
from morphoscope.images.source_quality import DESCRIPTION
from morphoscope.images.stream import Item, in_order
from morphoscope.images.stretch import check_bands
from morphoscope.inference.class_shares import ClassShares, check_classes
from morphoscope.inference.preprocess import (
    bands_asked,
    check_request,
    facts_for_fitting,
    fitting_description,
    frames_by_itself,
    stretch_asked,
)
from morphoscope.labels.scheme import Column
from morphoscope.measurement.shapes import Bands, ShapeSettings
from morphoscope.processes import available_cores

if TYPE_CHECKING:
    from morphoscope.inference.ensemble import Ensemble
    from morphoscope.inference.predictor import Predictor
    from morphoscope.runs.run import Run

Notice = Callable[[Preprocessed], None]
BATCH_BYTES = 40_000_000  # of images; up to three batches are in memory at once
_MEASURED_TOGETHER = 16  # images of a batch whose shapes are measured, so that a kill loses little of them
RUN_FILES = ("recipe.yaml", "calibration.json", "reference.safetensors")


def frames_by_size(request: CatalogueRequest, run: Run) -> bool:
    """Whether images are cropped or padded by the sizes of their galaxies.

    As asked; else, if nothing says how much sky to show: for a survey's images, and where the run's recipe
    says so, except for a store, whose images were framed when it was made.
    """
    if request.scale is not None:
        return request.scale == "auto"
    if any(each is not None for each in (request.crop, request.cutout_arcsec, request.size_column)):
        return False
    facts = run.header.store
    if request.survey is not None:
        return facts.pixel_scale is None
    return request.sources is None and not is_store(request.source) and frames_by_itself(run)


class NotFinite(MorphoscopeError):
    """The network's predictions are not finite, so none of its rows can be trusted."""


class RowMaker:
    """Turns the images of a request into rows of its catalogue.

    Args:
        request: the catalogue request.
        columns: the network and the columns it fills.

    Raises:
        UsageError: the request does not suit the run.
    """

    def __init__(self, request: CatalogueRequest, columns: ColumnProvider) -> None:
        self.columns = columns
        self.predictor: Predictor | Ensemble = columns.predictor
        run = self.predictor.run
        self.stretch = stretch_asked(request.stretch, run.header.store)
        bands = bands_asked(request.bands, run.header.store)
        check_bands(bands, self.stretch)
        self.fitted = frames_by_size(request, run)
        scale = "auto" if self.fitted else "trained"
        self.request = request = replace(request, bands=bands, scale=scale)
        self.workers = request.workers
        self.facts = facts_for_fitting(run) if self.fitted else run.header.store
        check_request(self.facts, request.crop, request.size)
        few = _MEASURED_TOGETHER if request.measure else 256
        self.batch = request.batch or min(few, batch_of(self.facts.image_shape))
        self.sets = sets_of(self.predictor, request.coverage, per_class=request.per_class)
        # A run that does not know how large its galaxies are may have others than the thresholds are for.
        self.check = request.quality == "auto" and self.facts.galaxy_size is not None
        self.all_rows = request.survey is not None  # a row for every position, with an image or without
        self.extras: Sequence[Column] = ()
        self.integer_ids = False
        self.shapes: BesideClasses | None = None
        self.shares: ClassShares | None = None
        if request.estimate_shares:
            check_classes(self.predictor)
        if request.measure:
            need(("statmorph", "photutils", "skimage"), "measure", "--measure")

    def open(self) -> Images:
        """Open the input from its start; must be called first.

        Raises:
            UsageError: options that do not go together, or there is nothing to predict.
        """
        images = open_request(self.request, self.facts, stretch=self.stretch)
        if self.request.measure and self.shapes is None:
            first = open_request(self.request, self.facts, stretch=self.stretch)
            self.shapes = BesideClasses(first.items, first.name, ShapeSettings())
        self.extras = (
            *images.extras,
            *(FITTED_COLUMNS if self.fitted else ()),
            *(self.shapes.columns if self.shapes else ()),
            *self.columns.extras,
        )
        self.integer_ids = images.integer_ids
        self.workers = self.request.workers or images.workers
        return images

    @property
    def schema(self) -> pa.Schema:
        """The catalogue's columns."""
        return catalogue_schema(self.predictor.scheme, self.sets, self.extras, integer_ids=self.integer_ids)

    def provenance(self, source: str) -> Mapping[str, str]:
        """The catalogue's provenance for the input named ``source``."""
        own = provenance_of(
            self.predictor,
            writable(source),
            stretch=self.stretch,
            crop=self.request.crop,
            sets=self.sets,
        )
        if self.fitted:
            own["scale"] = fitting_description(self.facts)
        if self.shapes is not None:
            own |= shape_provenance(self.shapes.settings)
        if self.shares is not None:
            own["class_shares"] = self.shares.description
        own["quality"] = DESCRIPTION if self.check else "off: every image gets a class"
        return own | self.request.provenance | dict(self.columns.provenance)

    def checksums(self) -> dict[str, str]:
        """SHA-256 of the files of each run that, besides its weights, determine the numbers."""
        found = {}
        for run in getattr(self.predictor.run, "members", ()) or (self.predictor.run,):
            exported = (run.path.with_suffix(".json"),) if run.path.is_file() else ()
            for path in exported or [run.path / name for name in RUN_FILES]:
                if path.is_file():
                    found[f"{path.name} of run '{run.name}'"] = files.sha256_of(path)
        return found

    def preprocess(self, item: Item) -> Preprocessed:
        """Read and preprocess one image; called in a worker thread."""
        return pipeline.preprocess_item(
            item, facts=self.facts, crop=self.request.crop, fitted=self.fitted, check=self.check
        )

    def measured(self, item: Item, measure: Callable[[Bands], dict[str, Any]]) -> Preprocessed:
        """Read, preprocess and measure one image; called in a worker thread."""
        assert self.shapes is not None
        done, bands = with_fluxes(lambda: self.preprocess(item))
        if done.image is not None:
            item.found.update(self.shapes.values(bands, measure))
        return done

    def __call__(self, batch: list[Preprocessed]) -> pa.Table:
        """The rows of a batch; images that could not be read get one without a prediction.

        Raises:
            NotFinite: a prediction is not finite.
        """
        absent = [row for row, each in enumerate(batch) if each.image is None]
        if not absent:
            return self._predicted(batch)
        reasons = [(batch[row].item, batch[row].reason) for row in absent]
        tables = [rows_without_image(self.schema, reasons)]
        present = [row for row, each in enumerate(batch) if each.image is not None]
        if present:
            tables.append(self._predicted([batch[row] for row in present]))
        return pa.concat_tables(tables).take(np.argsort(absent + present))

    def _predicted(self, batch: list[Preprocessed]) -> pa.Table:
        predictions_NK, values = self.columns([each.image for each in batch if each.image is not None])
        wrong = np.flatnonzero(~np.isfinite(predictions_NK).all(axis=1))
        if len(wrong):
            raise NotFinite(
                f"{batch[wrong[0]].item.source}: the network of run '{self.predictor.run.name}' predicts "
                "numbers that are not finite; nothing was kept. Train the run again"
            )
        if self.shares is not None:
            predictions_NK = self.shares(predictions_NK)
        items = [each.item for each in batch]
        return catalogue_table(
            self.predictor.scheme,
            items,
            predictions_NK,
            self.sets,
            self.extras,
            values,
            integer_ids=self.integer_ids,
            check=self.check,
        )


def batch_of(image_shape: tuple[int, ...]) -> int:
    """How many images (H, W, C) to gather at once: a power of two from 16 to 256, within 40 MB."""
    fitting = BATCH_BYTES // max(1, math.prod(image_shape))
    return min(256, max(16, 1 << (fitting.bit_length() - 1))) if fitting else 16


@dataclass(frozen=True)
class Remaining:
    """The part of the input that is not in the catalogue yet.

    Attributes:
        items: its galaxies.
        digest: digest of all galaxies before, to be continued.
        start: number of galaxies before.
        count: number of galaxies of the whole input, if known.
    """

    items: Iterable[Item]
    digest: Digest
    start: int = 0
    count: int | None = None


class RowSource(Protocol):
    """Makes the rows of a catalogue, in this process or elsewhere."""

    def __call__(
        self, maker: RowMaker, remaining: Remaining, notice: Notice
    ) -> Generator[tuple[Batch, pa.Table | None]]:
        """Batches in input order, without their images, with their rows (None if no image could be read).

        Args:
            maker: makes the rows.
            remaining: the galaxies.
            notice: called at least once for every kind of image that was read.
        """
        ...


def rows_here(
    maker: RowMaker, remaining: Remaining, notice: Notice
) -> Generator[tuple[Batch, pa.Table | None]]:
    """Rows made in this process (a :class:`RowSource`)."""
    with ExitStack() as stack:
        preprocess = maker.preprocess
        if maker.shapes is not None:
            cores = maker.workers or available_cores()
            measure = stack.enter_context(measuring(cores, maker.shapes.settings, apart=True))
            preprocess = partial(maker.measured, measure=measure)
        images = stack.enter_context(closing(in_order(preprocess, remaining.items, maker.workers)))
        gathered = pipeline.batches(images, maker.batch, remaining.digest, notice, all_rows=maker.all_rows)
        with closing(pipeline.predicted(maker, gathered)) as rows:
            yield from rows
