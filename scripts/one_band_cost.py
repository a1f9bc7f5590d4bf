"""What colour is worth to a network: ``one_band_cost.py STORE... [--run default] [--views N]``.

Predicts the labelled pictures of stores of classes as they are, with the mean of red, green and blue in all
three channels, and with each of them alone in all three, as a network of pictures sees one band. Accuracies
are those of the same galaxies, compared by McNemar's exact test. Five classes are compared by translation, as
``evaluate`` does. Prints a table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from morphoscope.data.store import Store, open_store
from morphoscope.evaluation.evaluate import predict_rows
from morphoscope.inference.predictor import Predictor
from morphoscope.labels.five_class import translated, translation
from morphoscope.metrics.classification import mcnemar
from morphoscope.runs.run import open_run


class Seen:
    """Pictures with other channels."""

    def __init__(self, images: Any, change: Callable[[np.ndarray], np.ndarray]) -> None:
        self._images, self._change = images, change
        self.shape, self.dtype = images.shape, images.dtype

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: int) -> np.ndarray:
        grey_HW = self._change(np.asarray(self._images[row]).astype(np.float32))
        return np.repeat(np.rint(grey_HW).astype(np.uint8)[:, :, None], 3, axis=2)

    def view(self, *_: object) -> Seen:
        """Itself, as an array's view is."""
        return self


WAYS: dict[str, Callable[[np.ndarray], np.ndarray] | None] = {
    "colour": None,
    "mean of the three": lambda image: image.mean(axis=2),
    "red alone": lambda image: image[:, :, 0],
    "green alone": lambda image: image[:, :, 1],
    "blue alone": lambda image: image[:, :, 2],
}


def answers(predictor: Predictor, store: Store, rows: np.ndarray) -> np.ndarray:
    """The most probable class of each galaxy, in the store's classes, (N,)."""
    own_NK, distances_N = predict_rows(predictor, store, rows, "galaxies")
    predictions_NK = predictor.corrected(own_NK, distances_N)
    matrix_KL = translation(predictor.scheme, store.need_scheme())
    if matrix_KL is not None:
        predictions_NK = translated(predictions_NK, matrix_KL)
    return predictions_NK.argmax(axis=1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--run", default="default")
    parser.add_argument("--views", type=int)
    asked = parser.parse_args()
    predictor = Predictor(open_run(asked.run), views=asked.views)
    print("| galaxies | n | seen | accuracy, % | gained, lost | p |\n|---|---|---|---|---|---|")
    for path in asked.stores:
        store = open_store(path)
        rows = np.flatnonzero(store.labelled())
        truth_N, colour_N = store.targets()[rows], None
        for way, change in WAYS.items():
            seen: Any = store.images if change is None else Seen(store.images, change)
            right_N = answers(predictor, replace(store, images=seen), rows) == truth_N
            colour_N = right_N if colour_N is None else colour_N
            test = mcnemar(colour_N, right_N)
            gained, lost = (right_N & ~colour_N).sum(), (colour_N & ~right_N).sum()
            p = "" if change is None else f"{test['p']:.2g}"
            cells = [path.name, len(rows), way, f"{100 * right_N.mean():.1f}", f"{gained}, {lost}", p]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
