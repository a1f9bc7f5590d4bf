"""Scores of a row's attribution maps, for claims about where a network looks.

Shape letters: N galaxies, H × W pixels.
"""

from __future__ import annotations

import numpy as np

from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError
from morphoscope.runs.run import Run
from morphoscope.studies.kept_scores import kept
from morphoscope.studies.study import Study

GALAXIES = 24


def map_scores(study: Study, run: Run, store: Store) -> dict[str, float]:
    """Mean map metrics over held-out galaxies (see :data:`~.published.MAP_METRICS`).

    A map that is zero everywhere is counted as such, and says nothing of where the network looks.
    Empty if the explained class has no held-out galaxies.
    """
    settings = {"method": study.map_method, "target": study.map_target, "dead maps": "counted apart"}
    return kept(run, "map_scores.json", settings, lambda: _measured(study, run, store))


def _measured(study: Study, run: Run, store: Store) -> dict[str, float]:
    from morphoscope.explanation import faithfulness
    from morphoscope.explanation.explain import Explainer
    from morphoscope.explanation.selection import choose_galaxies
    from morphoscope.inference.predictor import Predictor

    try:
        rows, target = choose_galaxies(run, store, study.map_target, GALAXIES)
    except MorphoscopeError:
        return {}
    images = [store.images[row] for row in rows]
    maps = Explainer(Predictor(run, views=1, engine="torch"))(images, method=study.map_method, target=target)
    galaxies_NHW = faithfulness.galaxies(maps.images)
    found = galaxies_NHW.any(axis=(1, 2))
    of_maps = {
        "on_galaxy": faithfulness.energy_inside(maps.values, galaxies_NHW),
        "galaxy_area": np.where(found, galaxies_NHW.mean(axis=(1, 2)), np.nan),
        "alignment": faithfulness.alignment(maps.values, galaxies_NHW),
    }
    scores = {name: np.where(maps.dead, np.nan, values) for name, values in of_maps.items()}
    scores["dead_maps"] = maps.dead.astype(float)
    return {name: float(np.nanmean(values)) for name, values in scores.items() if np.isfinite(values).any()}
