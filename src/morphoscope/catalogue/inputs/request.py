"""What a person asked to be predicted: an input, and how to read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from morphoscope.catalogue.inputs.mosaic_cutouts import CUTOUT, ON_MOSAIC, Frame, SourceTable, cutout_items
from morphoscope.catalogue.inputs.open import Images, open_input
from morphoscope.errors import UsageError
from morphoscope.images.mosaic import open_mosaics
from morphoscope.progress import note

if TYPE_CHECKING:
    from morphoscope.runs.run import StoreFacts


@dataclass(frozen=True)
class Request:
    """An input with its options; see :func:`morphoscope.catalogue.predict.predict_catalogue`.

    Attributes:
        source: folder, glob, image, pattern, archive, table, store or mosaic.
        image_column: of a table.
        bands: of FITS images.
        sources: a table of places; ``source`` is a mosaic then.
        cutout_arcsec: side of the cutouts around them.
        size_column: column of ``sources`` with each cutout's side, arcsec.
    """

    source: str
    image_column: str | None = None
    bands: tuple[str, ...] = ()
    sources: Path | None = None
    cutout_arcsec: float | None = None
    size_column: str | None = None

    def open(self, facts: StoreFacts, *, stretch: str, crop: int | None = None) -> Images:
        """The galaxies.

        Args:
            facts: of the training's store.
            stretch: for FITS images.
            crop: as asked.

        Raises:
            UsageError: options that do not go together, or there is nothing to predict.
        """
        if self.sources is None:
            for name, value in (
                ("--cutout-arcsec", self.cutout_arcsec),
                ("--size-column", self.size_column),
            ):
                if value is not None:
                    raise UsageError(f"{name} says how to cut sources out of a mosaic; --sources is missing")
            return open_input(self.source, image_column=self.image_column, stretch=stretch, bands=self.bands)
        if crop is not None or self.image_column is not None:
            raise UsageError(
                "--crop and --image-column do not go with --sources; --cutout-arcsec says how much is cut"
            )
        table = SourceTable(self.sources, self._side(facts), self.size_column)
        mosaics = open_mosaics(self.source, self.bands)
        items, count = cutout_items(mosaics, table, Frame(facts.image_shape[0], stretch))
        return Images(f"{self.source} at {self.sources}", items, count, (CUTOUT, ON_MOSAIC))

    @property
    def provenance(self) -> dict[str, str]:
        """What it adds to a catalogue's provenance; a continued one must have it in common."""
        said = {
            "bands": ",".join(self.bands),
            "cutout_arcsec": "" if self.cutout_arcsec is None else f"{self.cutout_arcsec:g}",
            "size_column": self.size_column or "",
        }
        return {name: words for name, words in said.items() if words}

    def _side(self, facts: StoreFacts) -> float | None:
        """Side of the cutouts, arcsec; None where a column has it."""
        if self.size_column is not None:
            if self.cutout_arcsec is not None:
                raise UsageError("--cutout-arcsec and --size-column contradict each other; give one")
            return None
        field = None if facts.pixel_scale is None else facts.pixel_scale * facts.image_shape[0]
        if self.cutout_arcsec is None:
            if field is None:
                raise UsageError(
                    "the run does not know the pixel scale of its training; pass --cutout-arcsec, the side "
                    "of the cutouts in arcsec"
                )
            note(f"cutouts of {field:.4g}″, as the training's images")
            return field
        if not 0 < self.cutout_arcsec < float("inf"):
            raise UsageError(f"--cutout-arcsec {self.cutout_arcsec:g}: arcsec above 0 were expected")
        if field is not None and abs(self.cutout_arcsec / field - 1) > 0.01:
            note(
                f"cutouts of {self.cutout_arcsec:g}″ are shown to the run at "
                f"{self.cutout_arcsec / facts.image_shape[0]:.3g}″ a pixel; its training's images showed "
                f"{field:.4g}″ at {facts.pixel_scale:.3g}″"
            )
        return self.cutout_arcsec
