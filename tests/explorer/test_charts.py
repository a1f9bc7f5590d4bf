"""Numbers of the charts, against the same numbers counted in numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from morphoscope.explorer.charts import CELLS
from morphoscope.explorer.feature_maps import principal_components
from morphoscope.metrics.bootstrap import wilson_interval


@pytest.fixture(scope="module")
def galaxies(client) -> dict[str, np.ndarray]:
    rows = client.get("/api/page", params={"count": 150, "sort": "row"}).json()["galaxies"]
    more = [client.get(f"/api/galaxy/{galaxy['row']}").json()["values"] for galaxy in rows]
    return {name: np.array([values[name] for values in more]) for name in more[0]}


def test_confusion(client, galaxies: dict[str, np.ndarray]):
    found = client.get("/api/charts/confusion").json()
    assert found["classes"] == ["Round Smooth", "Edge-on", "<b>Spiral</b>"]
    for i, truth in enumerate(found["classes"]):
        for k, predicted in enumerate(found["classes"]):
            expected = ((galaxies["truth"] == truth) & (galaxies["predicted"] == predicted)).sum()
            assert found["counts"][i][k] == expected
    some = client.get("/api/charts/confusion", params={"filter": "not correct"}).json()
    assert [some["counts"][k][k] for k in range(3)] == [0, 0, 0]
    assert some["total"] == (galaxies["correct"] == False).sum()  # noqa: E712, None is neither


def test_reliability(client, galaxies: dict[str, np.ndarray]):
    bins = client.get("/api/charts/reliability", params={"bins": 5}).json()["bins"]
    known = np.array([value is not None for value in galaxies["correct"]])
    assert sum(each["n"] for each in bins) == known.sum()
    for each in bins:
        inside = known & (galaxies["probability"] >= each["from"]) & (galaxies["probability"] < each["to"])
        right = galaxies["correct"][inside].astype(bool)
        assert each["n"] == inside.sum()
        assert each["accuracy"] == pytest.approx(right.mean())
        assert each["confidence"] == pytest.approx(galaxies["probability"][inside].mean())
        assert (each["low"], each["high"]) == wilson_interval(int(right.sum()), int(inside.sum()))


def test_histogram(client, galaxies: dict[str, np.ndarray]):
    found = client.get("/api/charts/histogram", params={"column": "out_of_distribution", "bins": 12}).json()
    values = galaxies["out_of_distribution"].astype(float)
    expected, edges = np.histogram(values, bins=12)
    assert found["counts"] == expected.tolist()
    assert (found["low"], found["high"]) == (pytest.approx(edges[0]), pytest.approx(edges[-1]))
    one = client.get("/api/charts/histogram", params={"column": "row", "filter": "row = 7"}).json()
    assert sum(one["counts"]) == 1


@pytest.mark.parametrize("value", [424.0, -0.02, 0.0, 1e12])
def test_the_histogram_of_equal_values_is_narrow_around_them(
    client_of: Callable, tmp_path: Path, value: float
):
    pq.write_table(pa.table({"id": ["a", "b"], "x": [value, value]}), tmp_path / "equal.parquet")
    client = client_of(tmp_path / "equal.parquet")
    found = client.get("/api/charts/histogram", params={"column": "x", "bins": 40}).json()
    assert sum(found["counts"]) == max(found["counts"]) == 2
    assert found["low"] < value < found["high"]
    assert found["high"] - found["low"] == pytest.approx(abs(value) / 10 or 1)
    width, at = (found["high"] - found["low"]) / 40, found["counts"].index(2)
    assert found["low"] + at * width == pytest.approx(value, abs=1.01 * width)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("histogram?column=predicted", "is a text; a number was expected"),
        ("histogram?column=size", "no column 'size'"),
        ("histogram?column=ra&bins=1000", "1 to 100 were expected"),
        ("sky?filter=ra >", "ends too early"),
        ("reliability?bins=0", "1 to 100"),
    ],
)
def test_charts_that_cannot_be(client, address: str, sentence: str):
    answer = client.get(f"/api/charts/{address}")
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]


def test_the_sky_in_cells(client):
    found = client.get("/api/charts/sky").json()
    assert found["count"] == 150 == sum(found["counts"])
    assert len(found["counts"]) == CELLS[0] * CELLS[1]
    assert 150 <= found["ra"] < found["ra"] + found["width"] <= 151


def test_columns_may_have_any_name(client_of: Callable, tmp_path: Path):
    """Also those that charts count by."""
    table = {"ra": [1.0, 2.0], "dec": [0.0, 1.0], "probability": [0.4, 0.9]}
    named = {name: [7.0, 8.0] for name in ("x", "y", "bin")}
    table = {"id": ["a", "b"], "truth": ["s", "t"], "predicted": ["s", "s"], **table, **named}
    pq.write_table(pa.table(table), tmp_path / "named.parquet")
    client = client_of(tmp_path / "named.parquet")
    assert sum(client.get("/api/charts/sky").json()["counts"]) == 2
    found = client.get("/api/charts/histogram", params={"column": "bin"}).json()
    assert sum(found["counts"]) == 2


def test_a_field_that_runs_over_zero_hours_stays_in_one_piece(client_of: Callable, tmp_path: Path):
    table = pa.table({"id": list("abcd"), "ra": [359.5, 0.5, 1.0, 358.0], "dec": [0.0, 1.0, 2.0, 3.0]})
    pq.write_table(table, tmp_path / "over.parquet")
    found = client_of(tmp_path / "over.parquet").get("/api/charts/sky").json()
    assert (found["ra"], found["width"]) == (pytest.approx(358), pytest.approx(3))
    columns = sorted(at % CELLS[0] for at, count in enumerate(found["counts"]) if count)
    assert columns == [0, CELLS[0] // 2, CELLS[0] * 5 // 6, CELLS[0] - 1]


def test_charts_of_what_has_no_labels_say_so(client_of: Callable, tmp_path: Path):
    pq.write_table(pa.table({"id": ["a"], "x": [1.0]}), tmp_path / "plain.parquet")
    client = client_of(tmp_path / "plain.parquet")
    for chart in ("confusion", "reliability", "sky", "features"):
        answer = client.get(f"/api/charts/{chart}")
        assert answer.status_code in (400, 422)
        assert answer.json()["error"].count("\n") == 0


def test_principal_components_of_known_data():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    scores = rng.normal(size=(500, 6)) * [5, 2, 0.1, 0.1, 0.1, 0.1]
    data = (scores @ axes.T + 7).astype(np.float32)
    places = principal_components(lambda: ((s, data[s : s + 100]) for s in range(0, 500, 100)), 500)
    for k in range(2):
        assert abs(np.corrcoef(places[:, k], scores[:, k])[0, 1]) > 0.99
    assert places.std(axis=0) == pytest.approx(scores[:, :2].std(axis=0), rel=0.02)


def test_the_map_of_features_is_two_columns_more(client_of: Callable, catalogue: Path):
    client = client_of(catalogue)
    found = client.get("/api/charts/features").json()
    assert found["total"] == 150 == len(found["points"])
    names = [column["name"] for column in client.get("/api/subject").json()["columns"]]
    assert names[-2:] == ["feature_x", "feature_y"]
    places = np.array([point[1:3] for point in found["points"]])
    groups = np.array([point[0] for point in found["points"]]) % 3
    centres = np.array([places[groups == k].mean(axis=0) for k in range(3)])
    nearest = np.linalg.norm(places[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == groups).mean() > 0.8  # the features tell the classes apart
    x = float(np.median(places[:, 0]))
    some = client.get("/api/page", params={"filter": f"feature_x > {x}", "count": 1}).json()
    assert some["total"] == pytest.approx(75, abs=3)


def test_of_many_galaxies_a_map_shows_some_of_each_class(
    client_of: Callable, catalogue: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("morphoscope.explorer.charts.MOST_POINTS", 60)  # every third, and classes take turns
    found = client_of(catalogue).get("/api/charts/features").json()
    rows = np.array([point[0] for point in found["points"]])
    assert found["total"] == 150
    assert 30 < len(rows) < 75
    assert np.bincount(rows % 3, minlength=3).min() > 5
