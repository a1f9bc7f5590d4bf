"""Which galaxies a run was measured on, in words: held out for it, or all of them by cross-validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from morphoscope.report import formatting


@dataclass(frozen=True)
class Tested:
    """How galaxies were predicted that the scores are of.

    Attributes:
        folds: of a cross-validation, in which every galaxy was predicted by a network that had not seen it;
            0: there were galaxies for validation and test.
    """

    folds: int = 0

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> Tested:
        """As a run's ``metrics.json`` says."""
        return cls(int((metrics.get("folds") or {}).get("count") or 0))

    @property
    def caption(self) -> str:
        """As a caption begins."""
        return f"Cross-validated with {self.folds} folds" if self.folds else "Test split"

    @property
    def column(self) -> str:
        """As a column of scores is called."""
        return "Cross-validated" if self.folds else "Test"

    def headline(self, count: int) -> str:
        """What a score is of."""
        galaxies = formatting.plural(count, "galaxy", "galaxies")
        if self.folds:
            return f"{galaxies}, cross-validated with {self.folds} folds"
        return f"{galaxies} held out for the test"

    def validation(self, count: int) -> str:
        """What a calibration was chosen on."""
        if self.folds:
            return f"the cross-validated predictions of {formatting.plural(count, 'galaxy', 'galaxies')}"
        return formatting.plural(count, "validation galaxy", "validation galaxies")

    def test(self, count: int) -> str:
        """The galaxies that were measured."""
        if self.folds:
            return formatting.plural(count, "cross-validated galaxy", "cross-validated galaxies")
        return formatting.plural(count, "test galaxy", "test galaxies")

    @property
    def them(self) -> str:
        """The same without a number."""
        return "the cross-validated galaxies" if self.folds else "the test galaxies"
