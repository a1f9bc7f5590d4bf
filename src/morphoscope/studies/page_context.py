"""Context shared by the sections of a study's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from morphoscope.report.formatting import shown
from morphoscope.report.html.document import Page
from morphoscope.studies.claims import Conditions
from morphoscope.studies.registry import meta_network

if TYPE_CHECKING:
    from morphoscope.data.store import Store
    from morphoscope.models.network import Network
    from morphoscope.recipes import Recipe
    from morphoscope.runs.run import Run
    from morphoscope.studies.results import Results, Row
    from morphoscope.studies.study import Options, Study


@dataclass
class StudyPage:
    """Context shared by the sections of a study's page.

    Attributes:
        study: the paper and its recipes.
        results: what was measured.
        store: the galaxies.
        options: how it was run.
        page: the page being written.
        recipes: every row's recipe as it was, or would be, trained here.
    """

    study: Study
    results: Results
    store: Store
    options: Options
    page: Page
    recipes: Mapping[str, Recipe]

    @property
    def metric(self) -> str:
        """The study's main metric: "accuracy" or "rmse"."""
        return self.store.need_scheme().metric

    @property
    def conditions(self) -> Conditions:
        """How the rows were trained, as far as claims depend on it."""
        altered, epochs = {}, {}
        for name, asked in self.study.rows().items():
            here = self.recipes[name]
            if asked.model.uses_pretrained and not here.model.uses_pretrained:
                altered[name] = "started from random weights, but the claim is about pretrained ones"
            if here.training.epochs != asked.training.epochs:
                epochs[name] = f"was trained for {here.training.epochs} epochs, not {asked.training.epochs}"
        reasons = {name: self._why_not(name) for name in self.study.rows()}
        twins = {name: row.trainings[0].same_as for name, row in self.results.rows.items() if row.trainings}
        return Conditions(
            self.options.literal,
            altered,
            {name: why for name, why in reasons.items() if why},
            epochs,
            {name: twin for name, twin in twins.items() if twin},
        )

    @property
    def pretrained_in_the_paper(self) -> bool:
        """Whether any row of the study is meant to start from pretrained weights."""
        return any(recipe.model.uses_pretrained for recipe in self.study.rows().values())

    @property
    def pretrained_here(self) -> bool:
        """Whether any row that was trained here started from pretrained weights."""
        return any(row.recipe.model.uses_pretrained for row in self.results.rows.values() if row.runs())

    def _why_not(self, name: str) -> str:
        row = self.row(name)
        if row is None:
            return "was not requested"
        why = row.why_not().rstrip(".")
        return f"was not run ({why})" if why else ""

    def label(self, name: str) -> str:
        """The paper's name for a row, or its description."""
        row = self.study.published.row(name)
        if row is None:
            return self.short(name)
        others = [each.label for each in self.study.published.rows if each.key != name]
        alone = row.label not in others and not row.label[0].isdigit()
        return row.label if alone else f"{row.label} ({self.short(name)})"

    def short(self, name: str) -> str:
        """A row's name without the study prefix."""
        return name.split("/")[-1]

    def row(self, name: str) -> Row | None:
        """A requested row."""
        return self.results.rows.get(name)

    def published(self, name: str, metric: str) -> float | None:
        """What the paper publishes."""
        row = self.study.published.row(name)
        return None if row is None else row.metrics.get(metric)

    def network(self, name: str) -> Network:
        """A row's network on torch's meta device, at the paper's image size."""
        recipe = self.study.rows()[name]
        return meta_network(recipe, self.store.need_scheme().outputs)

    def best(self, names: Sequence[str] | None = None) -> Row | None:
        """The row with the best measured mean of the study's metric."""
        measured = [row for name, row in self.results.rows.items() if names is None or name in names]
        measured = [row for row in measured if row.mean(self.metric) is not None]
        sign = 1 if self.store.need_scheme().higher_is_better else -1
        return max(measured, key=lambda row: sign * (row.mean(self.metric) or 0), default=None)

    def named_or_best(self, name: str | None) -> Row | None:
        """The row the paper shows, or the best one if that was not run."""
        row = None if name is None else self.row(name)
        return row if row is not None and row.runs() else self.best()

    def first_run(self, name: str | None = None) -> Run | None:
        """The first finished run of one row, or of any."""
        rows = [self.row(name)] if name else list(self.results.rows.values())
        return next((run for row in rows if row for run in row.runs()), None)

    def value(self, row: Row | None, metric: str) -> str:
        """Mean ± standard deviation over seeds, formatted for the page."""
        mean = None if row is None else row.mean(metric)
        spread = None if row is None else row.deviation(metric)
        return shown(mean, metric, spread)
