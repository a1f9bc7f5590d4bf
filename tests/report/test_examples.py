from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from morphoscope.data.store import Store
from morphoscope.labels.scheme import GALAXY_ZOO_2_VOTES, Classes, VoteFractions
from morphoscope.report import examples
from morphoscope.runs.run import Run

NAMES = ("Round", "Long Spiral")
PREDICTIONS = pa.table(
    {
        "id": list("abcdeu"),
        "row": [10, 11, 12, 13, 14, 15],
        "label": pa.array([0, 1, 0, 1, 1, -1], pa.int16()),
        "predicted": pa.array([1, 1, 1, 0, 0, 0], pa.int16()),
        "probability": [0.7, 0.99, 0.9, 0.6, 0.95, 0.99],
        "p_Round": [0.3, 0.01, 0.1, 0.6, 0.95, 0.99],
        "p_Long_Spiral": [0.7, 0.99, 0.9, 0.4, 0.05, 0.01],
    }
)


def test_mistakes_come_surest_first_and_right_answers_never() -> None:
    mistakes = examples.confident_mistakes(PREDICTIONS, NAMES, 3)
    assert [mistake.id for mistake in mistakes] == ["e", "c", "a"]
    first = mistakes[0]
    assert (first.row, first.truth, first.predicted) == (14, "Long Spiral", "Round")
    assert (first.probability, first.truth_probability) == (0.95, 0.05)


def test_examples_are_of_their_class_and_depend_on_the_seed_alone() -> None:
    labels = np.array([0, 1, 1, 0, 1, 1, 1, 1])
    rows = np.arange(100, 108)
    chosen = examples.examples_per_class(labels, rows, ("A", "B", "nobody"), 3, seed=1)
    assert sorted(chosen["A"]) == [100, 103]
    assert len(set(chosen["B"])) == 3
    assert set(chosen["B"]) <= {101, 102, 104, 105, 106, 107}
    assert "nobody" not in chosen
    assert examples.examples_per_class(labels, rows, ("A", "B", "nobody"), 3, seed=1) == chosen


def test_examples_of_an_answer_have_its_highest_fractions() -> None:
    targets = np.array([[0.1, np.nan], [0.9, np.nan], [np.nan, np.nan], [0.5, np.nan]])
    assert examples.examples_per_answer(targets, np.arange(4), ("bar", "ring"), 2) == {"bar": [1, 3]}


def test_worst_votes() -> None:
    table = pa.table(
        {
            "id": ["a", "b", "c"],
            "row": [5, 6, 7],
            "t_bar": [0.2, 0.2, 0.2],
            "bar": [0.2, 0.3, np.nan],
            "t_ring": [0.5, 0.5, 0.5],
            "ring": [0.5, 0.1, 0.5],
        }
    )
    worst, best = examples.worst_votes(table, ("bar", "ring"), 5)
    assert (worst.id, worst.row, worst.answer) == ("b", 6, "ring")
    assert np.isclose(worst.rmse, np.sqrt((0.1**2 + 0.4**2) / 2))
    assert (worst.truth, worst.predicted) == (0.5, 0.1)
    assert best.rmse == 0


def test_spread_answers_keep_the_order_of_the_columns() -> None:
    targets = np.array([[0.0, 0.5, 0.1, 1.0], [1.0, 0.5, 0.2, 0.5]])
    assert examples.spread_answers(targets, ("a", "b", "c", "d"), 2) == ["a", "d"]


def test_meanings_of_the_galaxy_zoo_answers() -> None:
    texts = examples.answer_texts(GALAXY_ZOO_2_VOTES)
    assert len(texts) == 37
    assert texts["Class4.1"] == "spiral: yes"
    assert examples.titled(["Class4.1", "own"], texts) == ["spiral: yes (Class4.1)", "own"]
    assert examples.answer_texts(VoteFractions(name="own", answers=("bar",))) == {}


def test_another_store_is_recognised(
    classes_run: Run, classes_store: Store, make_store: Callable[..., Store]
) -> None:
    predictions = classes_run.predictions()
    assert examples.same_galaxies(predictions, classes_store)
    shuffled = predictions.set_column(1, "row", pa.array(predictions["row"].to_numpy()[::-1].copy()))
    assert not examples.same_galaxies(shuffled, classes_store)
    assert not examples.same_galaxies(predictions, make_store(Classes(name="two", classes=("a", "b")), 4))
