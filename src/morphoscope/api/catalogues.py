"""Catalogues that a run makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.api.opened import Opened, answering_of
from morphoscope.evaluation.predictor import Predictor
from morphoscope.processes import fall_silent, of_one_machine

if TYPE_CHECKING:
    import pyarrow as pa

    from morphoscope.catalogue.answering import Answering
    from morphoscope.catalogue.predict import Summary
    from morphoscope.evaluation.ensemble import Ensemble


class MakesCatalogues(Opened):
    """Of many images, and of the sources on one picture of the sky."""

    def catalogue(
        self, source: Path | str, out: Path | str, *, embeddings: bool = False, **options: Any
    ) -> Summary:
        """Answers for a folder, glob, table or store, streamed into a file.

        Args:
            source: of the images.
            out: Parquet, FITS, VOTable, ECSV or CSV by its ending; a folder of Parquet files without one.
            embeddings: with the features before the head, for :meth:`similar`.
            options: of :func:`morphoscope.catalogue.predict.predict_catalogue`, such as ``resume=True``.
        """
        from morphoscope.catalogue.predict import predict_catalogue
        from morphoscope.catalogue.unknown import FullAnswering

        asked = partial(FullAnswering, embeddings=embeddings, out=Path(out))
        if self.engine == "ray":
            from morphoscope.extras import need

            need(("ray",), "ray", "the engine ray")
            runs = [replace(run, path=run.path.resolve()) for run in self.runs]
            load = partial(answering_of, runs, self.views, self.calibrated, self.dropout_samples)
            options["cluster"] = partial(_asked, asked, load)
        if self.engine == "torchrun":
            options["process"] = of_one_machine()
            fall_silent()
        full = asked(self.answering)
        return predict_catalogue(self.answering, source, out, answering=full, **options)

    def sky(
        self,
        picture: Path | str | np.ndarray,
        out: Path | str,
        *,
        bands: str | Sequence[str] | None = None,
        drawn: Path | str | None = None,
        overwrite: bool = False,
        coverage: float | None = None,
        per_class: bool = False,
    ) -> pa.Table:
        """Find the sources of one picture of the sky, or of a FITS mosaic, and classify each.

        Args:
            picture: an image file, (H, W, 3) uint8, or a FITS mosaic, with ``{band}`` in its name one a band.
            bands: of a FITS mosaic, such as ``"g,r,z"``.
            out: the catalogue to write; its format as in :meth:`catalogue`.
            drawn: also draw the picture with its labels, PNG.
            overwrite: replace a catalogue that is there.
            coverage: add the column ``set`` (see :meth:`predict_sets`).
            per_class: as there.

        Returns:
            The catalogue's table, brightest source first.
        """
        from morphoscope.catalogue.sources.sky import classify_sky

        seen = classify_sky(
            self.answering,
            picture,
            out,
            bands=bands,
            overwrite=overwrite,
            coverage=coverage,
            per_class=per_class,
            drawn=drawn is not None,
        )
        if drawn is not None:
            from morphoscope.report.sky_picture import labelled_picture

            labelled_picture(
                seen.image(),
                seen.boxes(),
                seen.table["predicted"].to_pylist(),
                np.asarray(seen.table["probability"]),
                Path(drawn),
                classes=self.classes,
            )
        return seen.table


def _asked(
    asked: Callable[[Predictor | Ensemble], Answering], load: Callable[[], Predictor | Ensemble]
) -> Answering:
    """What a worker of a cluster asks."""
    return asked(load())
