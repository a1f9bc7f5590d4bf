"""Which galaxies to show: of the class the network knows best, or of one that is asked for.

What a map explains: a class, a vote column, or each galaxy's own predicted class.

Shape letters: N galaxies, K outputs.
"""

from __future__ import annotations

import numpy as np
import torch

from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean
from morphoscope.labels.scheme import Scheme
from morphoscope.runs.run import Run

BEST_F1 = "best-f1"


def choose_galaxies(run: Run, store: Store, which: str, count: int, seed: int = 0) -> tuple[np.ndarray, str]:
    """Rows of a store to explain, and the output that is explained.

    Args:
        run: a measured run.
        store: the run's own, of which test galaxies are taken, or another labelled one.
        which: a class or vote column, or "best-f1".
        count: how many; fewer where there are not as many.
        seed: of the draw among the class's galaxies.

    Returns:
        Row numbers, and the name of the output. Of a vote column the galaxies with the highest fraction.

    Raises:
        UsageError: the scheme has no such output.
        MorphoscopeError: the class has no galaxy here.
    """
    scheme = run.scheme
    if which == BEST_F1:
        with run.reading_results():
            which = scheme.output_to_explain(run.metrics().get("test") or {})
    index = target_index(scheme, which)
    name = scheme.output_names[index]
    if store.need_scheme().output_names != scheme.output_names:
        raise UsageError(f"{store.path} holds other labels than the run answers")
    rows = _held_out(run, store)
    targets = store.targets()[rows]
    chosen = scheme.examples_of(targets, index, count, seed)
    if not len(chosen):
        raise MorphoscopeError(f"{store.path}: no galaxy of class '{name}' to explain")
    return rows[chosen], name


def _held_out(run: Run, store: Store) -> np.ndarray:
    """The test galaxies of the run's own store, all labelled galaxies of another."""
    try:
        return run.split(store).test
    except MorphoscopeError:
        return np.flatnonzero(store.labelled())


PREDICTED = "predicted"


def target_indices(scheme: Scheme, target: str | int, outputs_NK: torch.Tensor) -> torch.Tensor:
    """The output that is explained for each galaxy, (N,) int64.

    Args:
        scheme: what the outputs mean.
        target: name of a class or vote column, its number, or "predicted": the largest output.
        outputs_NK: of the network.

    Raises:
        UsageError: the scheme has no such target.
    """
    if target == PREDICTED:
        return outputs_NK.argmax(dim=1)
    index = target_index(scheme, target)
    return torch.full((len(outputs_NK),), index, dtype=torch.int64, device=outputs_NK.device)


def target_index(scheme: Scheme, target: str | int) -> int:
    """The number of an output by its name.

    Raises:
        UsageError: the scheme has none of that name or number.
    """
    names = scheme.output_names
    if isinstance(target, str) and target in names:
        return names.index(target)
    if str(target).isdigit() and int(target) < len(names):
        return int(target)
    raise UsageError(f"scheme '{scheme.name}' has no output '{target}'{did_you_mean(str(target), names)}")
