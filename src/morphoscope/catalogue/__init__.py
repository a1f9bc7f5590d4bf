"""From images without labels to a catalogue of predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morphoscope.exports import lazy_exports

if TYPE_CHECKING:
    from morphoscope.catalogue.active_learning import Choice, label_next
    from morphoscope.catalogue.columns import ColumnProvider, FullColumns, PlainColumns
    from morphoscope.catalogue.formats.write import read_provenance
    from morphoscope.catalogue.inputs.open import open_input
    from morphoscope.catalogue.predict import Summary, predict_catalogue
    from morphoscope.catalogue.request import CatalogueRequest
    from morphoscope.catalogue.similar import EmbeddedCatalogue, Neighbour

__all__ = [
    "CatalogueRequest",
    "Choice",
    "ColumnProvider",
    "EmbeddedCatalogue",
    "FullColumns",
    "Neighbour",
    "PlainColumns",
    "Summary",
    "label_next",
    "open_input",
    "predict_catalogue",
    "read_provenance",
]
_PUBLIC = {
    "CatalogueRequest": "morphoscope.catalogue.request",
    "Choice": "morphoscope.catalogue.active_learning",
    "ColumnProvider": "morphoscope.catalogue.columns",
    "EmbeddedCatalogue": "morphoscope.catalogue.similar",
    "FullColumns": "morphoscope.catalogue.columns",
    "Neighbour": "morphoscope.catalogue.similar",
    "PlainColumns": "morphoscope.catalogue.columns",
    "Summary": "morphoscope.catalogue.predict",
    "label_next": "morphoscope.catalogue.active_learning",
    "open_input": "morphoscope.catalogue.inputs.open",
    "predict_catalogue": "morphoscope.catalogue.predict",
    "read_provenance": "morphoscope.catalogue.formats.write",
}
__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
