"""Where a catalogue's numbers come from, as texts that any format can carry."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from morphoscope import __version__, files

if TYPE_CHECKING:
    from morphoscope.catalogue.columns import Sets
    from morphoscope.evaluation.ensemble import Ensemble
    from morphoscope.evaluation.predictor import Predictor


def provenance_of(
    predictor: Predictor | Ensemble, source: str, *, stretch: str, crop: int | None, sets: Sets | None = None
) -> dict[str, str]:
    """What a reader must know to trust a catalogue, or to make it again.

    Args:
        predictor: that answered.
        source: what was predicted.
        stretch: of FITS images.
        crop: as asked; None: as the training's.
        sets: the prediction sets in it.
    """
    run = predictor.run
    facts = run.header.store
    crop = crop or facts.crop
    adapted = getattr(predictor, "adapted_to", 0)
    return {
        "program": "morphoscope",
        "program_version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": source,
        "run": run.name,
        "recipe": run.recipe.name,
        "weights_sha256": run.header.weights_sha256 or files.sha256_of(run.path / "weights.safetensors"),
        "views": str(predictor.views),
        "number_format": predictor.number_format,
        "calibration": predictor.calibration_words,
        "adapted": f"batch normalisation to {adapted} images of the input" if adapted else "no",
        "sets": "none" if sets is None else sets.words,
        "scheme": predictor.scheme.model_dump_json(),
        "stretch": stretch,
        "crop": str(crop) if crop else "",
        "size": str(facts.image_shape[0]),
    }
