"""How a store, a run and a catalogue show themselves in a notebook."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import morphoscope as ms
from morphoscope.api import LoadedRun
from morphoscope.catalogue.predict import Summary
from morphoscope.data.store import StoreMeta
from morphoscope.data.store_writer import StoreWriter
from morphoscope.labels.scheme import Classes
from morphoscope.notebook import SIDE, notebook_html, spread
from morphoscope.runs.run import open_run

OLD = Path(__file__).parent / "compatibility" / "v0_1"
HOSTILE = "<script>alert('x')</script>\" onload=\"1"


class _Balanced(HTMLParser):
    """Every element is closed, and none is there that does more than show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in {"div", "strong", "table", "tr", "td", "figure", "img", "figcaption"}
        assert {name for name, _ in attributes} <= {"style", "src", "alt"}
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_names_are_shown_and_not_run():
    image = np.zeros((8, 200, 3), np.uint8)
    shown = _Balanced(
        notebook_html(
            HOSTILE, [(HOSTILE, HOSTILE), ("empty", "")], counts={HOSTILE: 3}, images=[(HOSTILE, image)]
        )
    )
    assert shown.texts.count(HOSTILE) == 5
    assert "empty" not in shown.texts


def test_pictures_are_inline_small_and_in_their_colours():
    image = np.zeros((4, 2 * SIDE, 3), np.uint8)
    image[..., 0] = 250
    (content,) = re.findall(r"base64,([^']*)'", notebook_html("t", [], images=[("a", image)]))
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert shown.shape == (2, SIDE, 3)
    assert shown[0, 0].tolist() == [250, 0, 0]
    assert spread(100) == [0, 16, 33, 50, 66, 83]
    assert (spread(2), spread(0)) == ([0, 1], [])


def test_a_store_shows_its_counts_and_galaxies(tmp_path: Path):
    classes = Classes(name="own", classes=("spiral <b>", "round"))
    with StoreWriter(tmp_path / "s", StoreMeta(scheme=classes), image_shape=(8, 8, 3)) as writer:
        for number in range(3):
            image = np.full((8, 8, 3), number, np.uint8)
            writer.append(image, {"id": f"g{number}", "label": number % 2, "source": f"{number}.png"})
    shown = _Balanced(ms.open_store(tmp_path / "s")._repr_html_())
    texts = shown.texts
    assert texts[texts.index("spiral <b>") + 1] == "2"
    assert texts[texts.index("round") + 1] == "1"
    assert [f"g{number}" in texts for number in range(3)] == [True] * 3


@pytest.mark.parametrize("scheme", ["galaxy10", "votes"])
def test_a_run_shows_what_was_measured(scheme: str):
    run = open_run(OLD / f"run-{scheme}")
    texts = _Balanced(LoadedRun(run)._repr_html_()).texts
    assert texts[0] == f"Run run-{scheme}"
    measured = run.metrics()["test"]
    assert texts[texts.index("test galaxies") + 1] == str(measured["n"])
    name = "accuracy" if scheme == "galaxy10" else "rmse"
    value = measured[name]
    expected = f"{value['value']:.3f} (95 % interval {value['low']:.3f} to {value['high']:.3f})"
    assert texts[texts.index(name) + 1] == expected


class _Store:
    """Stands in for the training's, of which the test fixture has no copy."""

    def __init__(self, galaxies: dict[int, str]) -> None:
        count = max(galaxies) + 1
        self.images = self.pictures = np.zeros((count, 8, 8, 3), np.uint8)
        self.table = pa.table({"id": [galaxies.get(row, "another") for row in range(count)]})

    def __len__(self) -> int:
        return len(self.images)


def test_a_run_shows_its_test_galaxies_where_the_store_is_still_there(monkeypatch: pytest.MonkeyPatch):
    run = open_run(OLD / "run-galaxy10")
    rows = run.predictions().select(["row", "id", "predicted"]).to_pylist()
    store = _Store({each["row"]: each["id"] for each in rows})
    monkeypatch.setattr(type(run), "store", lambda self: store)
    html = LoadedRun(run)._repr_html_()
    assert f"{rows[0]['id']} {run.scheme.output_names[rows[0]['predicted']]}" in _Balanced(html).texts
    assert html.count("<img") == min(6, len(rows))
    other = _Store({each["row"]: "another" for each in rows})
    monkeypatch.setattr(type(run), "store", lambda self: other)
    assert "<img" not in LoadedRun(run)._repr_html_()


def test_a_catalogue_shows_its_counts():
    out = OLD / "galaxy10.parquet"
    shown = _Balanced(Summary(out, 12, 1, Path("u.csv"), 2.0, source=str(OLD / "store"))._repr_html_())
    assert shown.texts[0] == f"Catalogue {out}"
    assert "1, listed in u.csv" in shown.texts
    predicted = pq.read_table(out)["predicted"].to_pylist()
    most = max(set(predicted), key=predicted.count)
    assert shown.texts[shown.texts.index(most) + 1] == str(predicted.count(most))
