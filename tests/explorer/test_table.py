"""The table that is explored: any catalogue, within bounds, without access to files."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.explorer import table as module
from morphoscope.explorer.table import GalaxyTable


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    pieces = [
        pa.table(
            {
                "id": [f"g{start + i}" for i in range(50)],
                "x": rng.normal(size=50).astype(np.float16),
                "kind": pa.array(["a", "b"] * 25).dictionary_encode(),
                "features": pa.array(np.zeros((50, 4)).tolist(), pa.list_(pa.float32(), 4)),
                "row": np.arange(50),
            }
        )
        for start in (0, 50)
    ]
    made = GalaxyTable(pieces, {"x": ("a number", "deg")})
    yield made
    made.close()


def test_columns_are_numbers_texts_and_booleans(table: GalaxyTable):
    assert table.kinds == {
        "row": "number",
        "id": "text",
        "x": "number",
        "kind": "text",
        "store_row": "number",
    }
    described = next(column for column in table.columns if column.name == "x")
    assert (described.description, described.unit) == ("a number", "deg")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/hostname')",
        "COPY galaxies TO '{folder}/stolen.csv'",
        "ATTACH '{folder}/other.duckdb'",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "INSTALL httpfs",
        "SELECT * FROM table",  # no variable of this process
    ],
)
def test_the_database_itself_reads_no_files_and_keeps_its_bounds(
    table: GalaxyTable, sql: str, tmp_path: Path
):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(MorphoscopeError):
        table.query(sql.replace("{folder}", str(tmp_path)))
    assert sorted(tmp_path.iterdir()) == before


def test_pages_of_a_view_are_slices_of_one_order(table: GalaxyTable):
    view = table.view("kind = 'a'", "x", descending=True)
    assert len(view) == 50
    found = [table.rows(view.page(start, 7), ("x",)) for start in range(0, 50, 7)]
    values = [galaxy["x"] for page in found for galaxy in page]
    assert values == sorted(values, reverse=True)
    assert view.page(49, 7) == view.page(0, 50)[49:]
    assert view.page(1000, 7) == []
    assert view.position(view.page(3, 1)[0]) == 3
    assert view.position(1) is None  # of the other kind


def test_rows_come_as_asked_from_memory_and_from_the_file(
    table: GalaxyTable, monkeypatch: pytest.MonkeyPatch
):
    rows = [99, 3, 3, 12345, 0]
    quick = table.rows(rows, ("id", "kind", "x"))
    assert [galaxy["id"] for galaxy in quick] == ["g99", "g3", "g3", "g0"]
    monkeypatch.setattr(module, "LONGEST_KEPT", 0)
    assert table.rows(rows, ("id", "kind", "x")) == quick
    assert table.rows([7])[0] == {**table.rows([7], ("id", "x", "kind"))[0], "store_row": 7}
    assert table.rows([], ("id",)) == []


def test_views_and_columns_in_memory_are_bounded(table: GalaxyTable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(table._orders, "most", 1000)
    monkeypatch.setattr(table._columns_kept, "most", 2000)
    for number in range(20):
        table.view(f"x > {number / 10 - 1}")
    assert 0 < table._orders.taken <= 1000
    for name in ("id", "x", "kind", "store_row"):
        table.rows([0], (name,))
    assert 0 < table._columns_kept.taken <= 2000


def test_what_can_be_told_without_asking_the_database(table: GalaxyTable):
    columns = ("id", "x")
    for asked in (("", ""), ("x > 0.125", "kind")):
        table._columns_kept.clear()
        assert not table.has_at_hand(*asked, columns)
        first = table.rows(table.view(*asked).page(0, 20), columns)
        assert table.has_at_hand(*asked, columns)
        assert table.rows(table.view(*asked).page(0, 20), columns) == first
    assert not table.has_at_hand("x > 0.125", "x", columns)
    assert not table.has_at_hand("x >", "", columns)  # asking says what is wrong with it


def test_many_threads_ask_at_once(table: GalaxyTable):
    found: list[list[int]] = []

    def ask() -> None:
        found.append(table.view("x > 0", "x").page(0, 10))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert all(page == found[0] for page in found)


def test_values_that_json_lacks_and_ids_that_are_numbers():
    made = GalaxyTable([pa.table({"id": [2**60 + 1, 5], "x": [float("inf"), float("nan")]})])
    assert made.rows([0, 1], ("id", "x")) == [
        {"row": 0, "id": str(2**60 + 1), "x": "∞"},
        {"row": 1, "id": "5", "x": None},
    ]
    assert made.find(str(2**60 + 1)) == 0
    assert made.find("6") is None
    made.close()


def test_texts_that_are_all_numbers_become_numbers_but_not_ids():
    made = GalaxyTable([pa.table({"id": ["1", "2"], "mag": ["17.5", ""], "note": ["3", "good"]})])
    assert made.kinds == {"row": "number", "id": "text", "mag": "number", "note": "text"}
    assert made.view("mag > 17").page(0, 5) == [0]
    made.close()


def test_an_unknown_column_to_sort_by(table: GalaxyTable):
    with pytest.raises(UsageError, match="did you mean 'kind'"):
        table.view("", "kinds")


def test_added_columns_are_columns_like_others(table: GalaxyTable):
    before = len(table.view("x > 0"))
    added = pa.table({"row": [3, 0], "seen": [True, False]})
    table.add_columns(added, {"seen": ("whether it was seen", "")})
    assert table.kinds["seen"] == "boolean"
    assert table.view("seen").page(0, 5) == [3]
    assert len(table.view("seen is null")) == 98
    assert len(table.view("x > 0")) == before
    assert [galaxy["id"] for galaxy in table.rows([0, 99], ("id",))] == ["g0", "g99"]


def test_the_temporary_folder_is_removed():
    made = GalaxyTable([pa.table({"id": ["a"]})])
    folder: Path = made.folder
    assert folder.is_dir()
    made.close()
    assert not folder.exists()
