from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from morphoscope.catalogue.columns import catalogue_schema, catalogue_table
from morphoscope.errors import MorphoscopeError
from morphoscope.images.stream import Item
from morphoscope.labels.scheme import GALAXY_ZOO_2_VOTES, Classes, Column, VoteFractions, probability_column
from morphoscope.metrics.conformal import Sets

CLASSES = Classes(name="three", classes=("Round Smooth", "In-between", "Edge-on with Bulge"))


def _items() -> list[Item]:
    def load() -> np.ndarray:
        raise AssertionError

    return [
        Item("a.png", load, {"id": "a", "ra": 10.5, "dec": -3.0}),
        Item("b.png", load, {"id": "b", "ra": float("nan"), "dec": float("nan")}),
        Item("c.png", load, {"id": 17}),
    ]


def test_classes() -> None:
    answers = np.array([[0.2, 0.7, 0.1], [1, 0, 0], [0.25, 0.25, 0.5]], np.float32)
    table = catalogue_table(CLASSES, _items(), answers)
    assert table.column_names == [
        "id",
        "source",
        "ra",
        "dec",
        "predicted",
        "probability",
        "p_Round_Smooth",
        "p_In-between",
        "p_Edge-on_with_Bulge",
        "entropy",
        "quality",
    ]
    assert table["id"].to_pylist() == ["a", "b", "17"]
    assert table["ra"].to_pylist() == [10.5, None, None]
    assert table["predicted"].to_pylist() == ["In-between", "Round Smooth", "Edge-on with Bulge"]
    assert table["probability"].to_pylist() == pytest.approx([0.7, 1.0, 0.5])
    assert table["p_Round_Smooth"].to_pylist() == pytest.approx([0.2, 1.0, 0.25])
    assert table["entropy"][1].as_py() == 0.0


def test_votes_have_one_column_an_answer() -> None:
    scheme = VoteFractions(name="two", answers=("Class1.1", "Class1.2"))
    table = catalogue_table(scheme, _items(), np.array([[0.1, 0.9], [0.5, 0.5], [1, 0]], np.float32))
    assert table.column_names == ["id", "source", "ra", "dec", "Class1.1", "Class1.2", "quality"]
    assert table["Class1.2"].to_pylist() == pytest.approx([0.9, 0.5, 0.0])


def test_units_and_descriptions_are_in_the_schema() -> None:
    schema = catalogue_schema(CLASSES)
    assert schema.field("ra").metadata == {
        b"description": b"right ascension",
        b"unit": b"deg",
        b"ucd": b"pos.eq.ra;meta.main",
    }
    assert schema.field("entropy").metadata == {
        b"description": b"entropy of the class probabilities, in nats"
    }
    assert schema.field("p_In-between").metadata[b"description"] == b"probability of class In-between"
    assert schema.field("p_In-between").type == pa.float32()


def test_content_descriptors_are_words_of_the_virtual_observatory() -> None:
    from astropy.io.votable.ucd import check_ucd

    sets = Sets(0.9, False, np.zeros(3))
    for schema in (catalogue_schema(CLASSES, sets), catalogue_schema(GALAXY_ZOO_2_VOTES)):
        words = {field.name: field.metadata[b"ucd"].decode() for field in schema if b"ucd" in field.metadata}
        assert {"id", "ra", "dec"} < set(words)
        assert [ucd for ucd in words.values() if not check_ucd(ucd, check_controlled_vocabulary=True)] == []


def test_votes_of_a_tree_have_the_way_through_it() -> None:
    answers = np.zeros((3, 37), np.float32)
    columns = list(GALAXY_ZOO_2_VOTES.answers)
    for row, way in enumerate((("Class1.1", "Class7.2", "Class6.2"), ("Class1.3",))):
        answers[row, [columns.index(name) for name in way]] = 0.75
    answers[2, columns.index("Class1.3")] = 0.5
    table = catalogue_table(GALAXY_ZOO_2_VOTES, _items(), answers)
    assert table["path"].to_pylist() == ["Class1.1|Class7.2|Class6.2", "Class1.3", "Class1.3"]
    assert table.column_names[-2:] == ["path", "quality"]


def test_what_is_wrong_with_an_image_is_said_in_words() -> None:
    items = _items()
    items[1].found["quality"] = ("no data 23%", "no data at the centre")
    items[2].row["quality"] = ("off the image 4%",)
    table = catalogue_table(CLASSES, items, np.full((3, 3), 1 / 3, np.float32))
    assert table["quality"].to_pylist() == ["", "no data 23%; no data at the centre", "off the image 4%"]
    assert table.schema.field("quality").metadata[b"description"].startswith(b"what is wrong with the image")


def test_extra_columns_come_with_the_answers_or_with_the_galaxy() -> None:
    extras = (
        Column("ood_score", pa.float32(), "distance from the training", ucd="stat.value"),
        Column("features", pa.list_(pa.float32(), 2), "of the last layer"),
        Column("side", pa.float64(), "of the cutout", "arcsec"),
    )
    items = _items()
    items[1].row["side"] = 12.5
    answers = np.full((3, 3), 1 / 3, np.float32)
    values = {"ood_score": np.array([1, 2, 3.5]), "features": np.arange(6.0).reshape(3, 2)}
    table = catalogue_table(CLASSES, items, answers, None, extras, values)
    assert table.schema == catalogue_schema(CLASSES, None, extras)
    assert table.column_names[-3:] == ["ood_score", "features", "side"]
    assert table["ood_score"].to_pylist() == [1.0, 2.0, 3.5]
    assert table["features"].to_pylist() == [[0, 1], [2, 3], [4, 5]]
    assert table["side"].to_pylist() == [None, 12.5, None]
    assert table.schema.field("side").metadata[b"unit"] == b"arcsec"
    with pytest.raises(MorphoscopeError, match="called entropy"):
        catalogue_schema(CLASSES, None, (Column("entropy", pa.float32(), "another"),))


def test_an_answer_cannot_hide_another_column() -> None:
    with pytest.raises(MorphoscopeError, match="called ra"):
        catalogue_schema(VoteFractions(name="odd", answers=("ra", "x")))


def test_entropy_of_certainty_and_of_no_idea() -> None:
    values = CLASSES.entropy(np.array([[1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0]]))
    assert values == pytest.approx([0, np.log(4), np.log(2)])


def test_probability_columns_have_no_spaces_and_differ() -> None:
    assert probability_column("In-between Round  Smooth") == "p_In-between_Round_Smooth"
    with pytest.raises(ValueError, match="spaces and underscores"):
        Classes(name="same", classes=("a b", "a_b"))


def test_ids_that_came_as_integers_stay_integers() -> None:
    ids = [7, "587722981742215240", -(2**62)]  # the second is no float64
    items = [Item(f"{i}.png", _items()[0].load, {"id": i}) for i in ids]
    table = catalogue_table(CLASSES, items, np.full((3, 3), 1 / 3, np.float32), integer_ids=True)
    assert table.schema.field("id") == catalogue_schema(CLASSES, integer_ids=True).field("id")
    assert table["id"].type == pa.int64()
    assert table["id"].to_pylist() == [7, 587722981742215240, -(2**62)]
    assert table.schema.field("id").metadata == catalogue_schema(CLASSES).field("id").metadata
