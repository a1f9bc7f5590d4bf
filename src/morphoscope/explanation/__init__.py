"""Which parts of an image a prediction rests on, and whether the maps that say so are right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morphoscope.exports import lazy_exports
from morphoscope.extras import need

need(("torch", "captum"), "train", "a map of what a network looks at")

if TYPE_CHECKING:
    from morphoscope.explanation.explain import Explainer, Maps, choose_galaxies
    from morphoscope.explanation.score import sanity, score_maps

__all__ = [
    "Explainer",
    "Maps",
    "choose_galaxies",
    "sanity",
    "score_maps",
]
_PUBLIC = {
    "Explainer": "morphoscope.explanation.explain",
    "Maps": "morphoscope.explanation.explain",
    "choose_galaxies": "morphoscope.explanation.explain",
    "sanity": "morphoscope.explanation.score",
    "score_maps": "morphoscope.explanation.score",
}
__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
