"""Definition of a study: its rows, the paper's protocol, what --quick changes, and literal readings."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from morphoscope.data.store import Store
from morphoscope.errors import UsageError, did_you_mean
from morphoscope.recipes import Recipe
from morphoscope.studies.claims import MAP_METRICS, VIEW_METRICS
from morphoscope.studies.published import Published
from morphoscope.studies.registry import PAPERS

NAMES = PAPERS
NOT_IN_QUICK = {"augment.train_size": (), "training.initial_epoch": 0}
"""Settings of literal readings that --quick overrides."""


@dataclass(frozen=True)
class Study:
    """One paper as a program: what is trained, on which labels, and what the page shows.

    Attributes:
        published: the paper's numbers, claims and contradictions.
        recipes: one function per row, in the order of the tables.
        scheme: name of the label scheme of its data.
        how_to_get_data: the command that makes such a store.
        quick: settings for every row with ``--quick``.
        quick_rows: row → further settings, such as an image size the network accepts.
        literal: name → (description, settings) of literal readings of the paper, which are off by default.
        sections: adds this study's own sections to a :class:`~morphoscope.studies.page_context.StudyPage`.
        served_side: side of the paper's images as served, pixels.
        map_method: attribution method used to check claims.
        map_target: the output that is explained: a class, a vote column or "best-f1".
        map_series: rows whose maps are compared, and so made of the same class; others stand alone.
    """

    published: Published
    recipes: tuple[Callable[[], Recipe], ...]
    scheme: str
    how_to_get_data: str
    quick: Mapping[str, Any]
    sections: Callable[..., None]
    quick_rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    literal: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    served_side: int = 256
    map_method: str = "gradcam"
    map_target: str = "best-f1"
    map_series: tuple[tuple[str, ...], ...] = ()

    def mapped_rows(self) -> tuple[str, ...]:
        """Rows whose maps a claim depends on."""
        return self._rows_asked_for(MAP_METRICS)

    def viewed_rows(self) -> tuple[str, ...]:
        """Rows for which a claim compares numbers of views at test time."""
        return self._rows_asked_for(VIEW_METRICS)

    def _rows_asked_for(self, metrics: Sequence[str]) -> tuple[str, ...]:
        checks = (claim.check for claim in self.published.claims if claim.check is not None)
        numbers = (number for check in checks for number in check.needs)
        return tuple(dict.fromkeys(number.row for number in numbers if number.metric in metrics))

    @property
    def key(self) -> str:
        """The short name: cheng, tong, yan, ng or fu."""
        return self.published.paper.key

    def rows(self) -> dict[str, Recipe]:
        """Recipes by name, in the order of the tables."""
        return dict(self._rows)

    @cached_property
    def _rows(self) -> dict[str, Recipe]:  # a page asks for them a hundred times
        return {recipe.name: recipe for recipe in (make() for make in self.recipes)}


def few_galaxies(training: int, held_out: int) -> dict[str, int]:
    """Settings of ``--quick`` that bound what a row costs, however large the store is.

    Batches must be small with them: after a dozen steps the running means of batch normalisation are still
    those of the first networks, and every galaxy gets the same answer.

    Args:
        training: galaxies to train on.
        held_out: for validation, and for the test.
    """
    return {"data.limit": training, "data.held_out_limit": held_out}


def find_study(name: str) -> Study:
    """A study by short name.

    Raises:
        UsageError: there is no study of that name.
    """
    if name not in NAMES:
        raise UsageError(f"no study '{name}'{did_you_mean(name, NAMES, 'studies')}")
    study: Study = importlib.import_module(f"morphoscope.studies.{name}.study").STUDY
    return study


@dataclass(frozen=True)
class Options:
    """Options for running a study.

    Attributes:
        quick: reduce image size, epochs and number of galaxies.
        seeds: runs of each row, numbered from 0, each with its own split.
        rows: names of the rows to run; all if empty.
        weights: folder of pretrained weights, named as in timm.
        from_scratch: use no pretrained weights other than packaged ones; the page says so.
        literal: names of the literal readings to use.
        settings: ``field=value`` strings, applied to every row last.
    """

    quick: bool = False
    seeds: int = 1
    rows: tuple[str, ...] = ()
    weights: str | None = None
    from_scratch: bool = False
    literal: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


def resolved_rows(study: Study, options: Options) -> dict[str, Recipe]:
    """The recipes that a study trains with these options, by row, seeds not yet set.

    Raises:
        UsageError: a row or literal reading is unknown, or options contradict each other.
    """
    if options.weights and options.from_scratch:
        raise UsageError("--weights and --from-scratch contradict each other; give one")
    if options.seeds < 1:
        raise UsageError(f"--seeds {options.seeds}: give at least 1")
    known = study.rows()
    for name in options.rows:
        if name not in known:
            raise UsageError(f"study {study.key} has no row '{name}'{did_you_mean(name, known, 'rows')}")
    for name in options.literal:
        if name not in study.literal:
            near = did_you_mean(name, study.literal, "readings") if study.literal else "; it has none"
            raise UsageError(f"study {study.key} has no literal reading '{name}'{near}")
    wanted = options.rows or tuple(known)
    return {name: _resolved(study, options, recipe) for name, recipe in known.items() if name in wanted}


def _resolved(study: Study, options: Options, recipe: Recipe) -> Recipe:
    from morphoscope.models.pretrained import start_of

    changes: dict[str, Any] = {"evaluation.calibrate": False}  # the papers report plain network outputs
    for name in options.literal:
        changes |= study.literal[name][1]
    if options.quick:
        changes |= {**study.quick, **study.quick_rows.get(recipe.name, {}), **NOT_IN_QUICK}
    if options.from_scratch and start_of(recipe.model) != "package":
        changes |= {"model.pretrained": False, "model.weights": None}
    elif options.weights and recipe.model.pretrained:
        changes["model.weights"] = options.weights
    return recipe.changed(changes).with_settings(list(options.settings))


def for_store(recipe: Recipe, store: Store, served_side: int) -> Recipe:
    """A recipe fitted to a store: its crop in pixels of a store that was cropped or scaled when made, and
    trained even if some class has no galaxy, since only the claims about that class need one.

    The papers count pixels of the images as served; in a store made with ``--crop 300 --size 200`` each
    pixel is 1.5 of those. A store that was scaled but not cropped holds whole images, so the crop keeps its
    ratio to the side of the paper's images.

    Args:
        recipe: of the study.
        store: the store it is trained on.
        served_side: side of the paper's images as served, pixels.
    """
    if classes_without_galaxies(store):
        recipe = recipe.changed({"data.empty_classes": True})
    side = min(store.meta.image_shape[:2])
    crop = recipe.augment.crop
    if crop is None:
        return recipe
    served = store.meta.crop or (served_side if store.meta.size else side)
    scaled = round(crop * side / served)
    if scaled == crop:
        return recipe
    return recipe.changed({"augment.crop": min(scaled, side)})


def classes_without_galaxies(store: Store) -> list[str]:
    """The classes of a store's labels that none of its galaxies has; none for labels without classes."""
    classes = (store.scheme.class_names if store.scheme else None) or ()
    found = set(store.targets().tolist()) if classes else set()
    return [name for number, name in enumerate(classes) if number not in found]
