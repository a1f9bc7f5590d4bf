"""Labelling through the page's questions, agreement, and a table that trains."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from explorer_helpers import pixels_of

from morphoscope.data.store import Store
from morphoscope.explorer.agreement import Votes, krippendorff_alpha

CLASSES = ["Round Smooth", "Edge-on", "<b>Spiral</b>"]


@pytest.fixture
def page(client_of: Callable, catalogue: Path, tmp_path: Path):
    return client_of(catalogue, labels=tmp_path / "labels.sqlite")


def answer(page, row: int, answer: str | None, *, person: str = "Ada", kind: str = "answer", token: str = ""):
    body = {"token": token or f"token-{person}-{row}-{kind}", "person": person, "question": "class"}
    body |= {"row": row, "kind": kind, "answer": answer}
    return page.post("/api/labels/click", json=body)


def following(page, person: str = "Ada", **asked) -> dict:
    return page.get("/api/labels/next", params={"person": person, "question": "class", **asked}).json()


def test_what_is_asked(page):
    about = page.get("/api/labels").json()
    assert [question["key"] for question in about["questions"]] == ["class"]
    assert [each["value"] for each in about["questions"][0]["answers"]] == CLASSES
    assert about["queue"] is None


def test_a_person_goes_through_a_view(page):
    view = {"filter": "probability < 0.7", "sort": "probability"}
    first = following(page, count=3, **view)
    rows = [galaxy["row"] for galaxy in first["galaxies"]]
    assert first["done"] == 0
    assert answer(page, rows[0], "Edge-on").json() == {"added": True}
    assert answer(page, rows[0], "Edge-on").json() == {"added": False}  # the same click again
    answer(page, rows[1], None, kind="skip")
    after = following(page, count=3, **view)
    assert after["galaxies"][0]["row"] == rows[2]
    assert (after["done"], after["total"]) == (2, first["total"])
    assert following(page, person="Bo", count=3, **view)["galaxies"][0]["row"] == rows[0]
    undone = page.post(
        "/api/labels/undo", json={"token": "token-undo", "person": "Ada", "question": "class"}
    ).json()
    assert (undone["row"], undone["kind"]) == (rows[1], "skip")
    assert following(page, count=3, **view)["galaxies"][0]["row"] == rows[1]


@pytest.mark.parametrize(
    ("changes", "status", "sentence"),
    [
        ({"answer": "Spirale"}, 400, "no answer here"),
        ({"row": 150}, 404, "no galaxy 150"),
        ({"row": "../1"}, 400, "row: "),
        ({"person": ""}, 400, "who labels?"),
        ({"person": "x" * 300}, 400, "person: "),
        ({"question": "Q1"}, 400, "no question 'Q1'"),
        ({"kind": "undo", "answer": None}, 400, "a click is one of"),
        ({"token": "1"}, 400, "token"),
    ],
)
def test_clicks_that_cannot_be(page, changes: dict, status: int, sentence: str):
    body = {
        "token": "token-12",
        "person": "Ada",
        "question": "class",
        "row": 1,
        "answer": "Edge-on",
        **changes,
    }
    answered = page.post("/api/labels/click", json=body)
    assert answered.status_code == status
    assert sentence in answered.json()["error"]
    assert page.get("/api/labels").json()["people"] == []


def test_agreement_of_several_people(page):
    for row in range(6):
        answer(page, row, CLASSES[row % 3])
        answer(page, row, CLASSES[row % 3] if row < 4 else CLASSES[(row + 1) % 3], person="Bo")
    answer(page, 9, None, kind="unsure")
    answer(page, 10, None, kind="skip")
    found = page.get("/api/labels/summary", params={"question": "class"}).json()
    assert found["galaxies"] == 7  # one is skipped by everybody
    assert [(p["name"], p["answers"], p["unsure"], p["skipped"]) for p in found["people"]] == [
        ("Ada", 6, 1, 1),
        ("Bo", 6, 0, 0),
    ]
    assert (found["together"], found["agreed"], found["differ"]) == (6, 4, [4, 5])
    assert 0 < found["alpha"] < 1
    assert found["command"].startswith("morphoscope train small/own-labels --store labels.parquet")


def test_krippendorffs_alpha_of_a_published_example():
    """Hayes & Krippendorff's worked nominal example (Krippendorff 2011, "Computing Krippendorff's
    Alpha-Reliability", section C: four observers, twelve units, α = 0.743).
    """
    rows = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    votes = [
        Votes("", "", Counter(str(row[unit]) for row in rows if row[unit] is not None)) for unit in range(12)
    ]
    assert krippendorff_alpha(votes) == pytest.approx(0.743, abs=5e-4)


def test_agreement_that_says_nothing():
    assert krippendorff_alpha([]) is None
    assert krippendorff_alpha([Votes("", "", Counter(a=1)), Votes("", "", Counter(b=1))]) is None
    assert krippendorff_alpha([Votes("", "", Counter(a=2))]) is None
    assert krippendorff_alpha([Votes("", "", Counter(a=2)), Votes("", "", Counter(b=2))]) == 1


def test_labels_as_a_table_of_votes(page):
    for row in range(4):
        answer(page, row, CLASSES[0])
        answer(page, row, CLASSES[row % 2], person="Bo")
    exported = page.get("/api/labels/export", params={"question": "class"})
    table = pyarrow.csv.read_csv(io.BytesIO(exported.content))
    assert table["id"].to_pylist() == ["g0", "g1", "g2", "g3"]
    assert table["label"].to_pylist() == [CLASSES[0], "", CLASSES[0], ""]  # level votes are no label
    assert table["Edge-on_count"].to_pylist() == [0, 1, 0, 1]
    assert table["agreement"].to_pylist() == [1, 0.5, 1, 0.5]


def test_labels_become_a_store_that_trains(page, store: Store, tmp_path: Path):
    from morphoscope.data.sources.labelled_table import store_of_table

    for row in range(30):
        answer(page, row, CLASSES[row % 3])
    answer(page, 30, None, kind="unsure")
    answer(page, 1, CLASSES[0], person="Bo")  # level with Ada's
    exported = page.get("/api/labels/export", params={"question": "class", "format": "parquet"})
    (tmp_path / "labels.parquet").write_bytes(exported.content)
    table = pq.read_table(tmp_path / "labels.parquet")
    assert table.num_rows == 29
    np.testing.assert_array_equal(pixels_of(table["image"][0].as_py()), store.images[0])
    made = store_of_table(tmp_path / "labels.parquet", tmp_path / "labelled", size=64)
    assert made.meta.size == store.meta.image_shape[0]  # the table says so
    assert made.meta.pixel_scale == pytest.approx(store.meta.pixel_scale)
    assert made.need_scheme().class_names == tuple(CLASSES)
    rows = [int(identity[1:]) for identity in made.table["id"].to_pylist()]
    assert rows == [0, *range(2, 30)]
    np.testing.assert_array_equal(made.targets(), [row % 3 for row in rows])
    np.testing.assert_array_equal(made.images[5], store.images[rows[5]])
    np.testing.assert_allclose(made.column("ra"), store.column("ra")[rows])


def test_a_table_of_ids_is_labelled_first(client_of: Callable, catalogue: Path, tmp_path: Path):
    queue = tmp_path / "next.csv"
    queue.write_text("id,score\ng17,3\ng3,2\nelsewhere,2\ng17,1\ng99,0\n")
    page = client_of(catalogue, labels=tmp_path / "labels.sqlite", queue=queue)
    assert page.get("/api/labels").json()["queue"] == 3
    found = following(page, queued=True)
    assert [galaxy["id"] for galaxy in found["galaxies"]] == ["g17", "g3", "g99"]
    answer(page, 17, CLASSES[0])
    found = following(page, queued=True)
    assert [galaxy["id"] for galaxy in found["galaxies"]] == ["g3", "g99"]
    assert (found["done"], found["total"]) == (1, 3)


@pytest.mark.parametrize(
    ("content", "sentence"), [("name\na\n", "no column of ids"), ("id\nx\n", "none of its 1 galaxies is in")]
)
def test_a_queue_that_names_nothing_here(
    client_of: Callable, catalogue: Path, tmp_path: Path, content: str, sentence: str
):
    from morphoscope.errors import UsageError

    (tmp_path / "next.csv").write_text(content)
    with pytest.raises(UsageError, match=sentence):
        client_of(catalogue, queue=tmp_path / "next.csv")


def test_own_classes_for_galaxies_without_any(client_of: Callable, tmp_path: Path):
    pq.write_table(pa.table({"id": ["a", "b"], "mag": [1.0, 2.0]}), tmp_path / "plain.parquet")
    nothing = client_of(tmp_path / "plain.parquet")
    assert nothing.get("/api/labels").json()["questions"] == []
    refused = nothing.get("/api/labels/next", params={"person": "Ada", "question": "class"})
    assert "--classes A,B,C" in refused.json()["error"]
    page = client_of(tmp_path / "plain.parquet", classes=("lens", "no lens"))
    assert answer(page, 1, "lens").json() == {"added": True}
    assert (tmp_path / "plain.labels.sqlite").is_file()  # beside the catalogue
    assert (
        page.get("/api/labels/export", params={"question": "class", "format": "parquet"}).status_code == 422
    )


def test_labels_in_a_folder_that_is_not_there(client_of: Callable, catalogue: Path, tmp_path: Path):
    from morphoscope.errors import MorphoscopeError

    with pytest.raises(MorphoscopeError, match="there is no folder"):
        client_of(catalogue, labels=tmp_path / "gone" / "labels.sqlite")
