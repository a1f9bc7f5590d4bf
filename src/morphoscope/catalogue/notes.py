"""What is done to images that are not like the training's, said once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morphoscope.catalogue.pipeline import Fitted
from morphoscope.data.images import is_fits_name
from morphoscope.progress import note

if TYPE_CHECKING:
    from morphoscope.training.run import StoreFacts


class Notes:
    """Say once what is done to images that are not like the training's."""

    def __init__(self, facts: StoreFacts, stretch: str) -> None:
        self.facts, self.stretch = facts, stretch
        self._said: set[str] = set()

    def about(self, fitted: Fitted) -> None:
        """Look at an image that could be read."""
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
