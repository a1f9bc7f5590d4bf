"""Filters: what a person writes becomes one safe condition, or one sentence."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from morphoscope.errors import UsageError
from morphoscope.explorer.filters import LONGEST, parse_filter
from morphoscope.explorer.table import GalaxyTable

KINDS = {"x": "number", "p_Merging": "number", "name": "text", "right": "boolean", "odd-name": "number"}


@pytest.fixture(scope="module")
def table() -> Iterator[GalaxyTable]:
    columns = {
        "x": pa.array([-2.0, 0.0, 3.0, None, float("nan"), 100.0]),
        "p_Merging": [0.9, 0.1, 0.85, 0.5, 0.2, 0.99],
        "name": ["a", "it's", "Edge-on", None, "", "b%"],
        "right": [True, False, None, True, False, True],
        "odd-name": np.arange(6, dtype=np.int16),
    }
    made = GalaxyTable([pa.table(columns)])
    yield made
    made.close()


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("", [0, 1, 2, 3, 4, 5]),
        ("p_Merging > 0.8", [0, 2, 5]),
        ("P_MERGING >= .85 AND x < 1e2", [0, 2]),
        ("x = -2 or x == 3", [0, 2]),
        ("not (x > 0 or x < -1)", [1]),
        ("not not x > 50", [5]),
        ("x between -2 and 0", [0, 1]),
        ("x not between -2 and 3", [5]),
        ("name in ('a', 'it''s')", [0, 1]),
        ("name not in ('a')", [1, 2, 4, 5]),
        ("name like 'Edge%'", [2]),
        ("name is null", [3]),
        ("x is not null", [0, 1, 2, 5]),  # NaN is no value
        ("right", [0, 3, 5]),
        ("not right", [1, 4]),
        ("right = false", [1, 4]),
        ('"odd-name" >= 4', [4, 5]),
        ("x + 1 > 2 * (1 + 1) - 1", [2, 5]),
        ("1 / x > 0", [2, 5]),  # of 0 unknown, not an error
        ("log10(x) > 1", [5]),  # of −2 likewise
        ("sqrt(x) < 2", [1, 2]),
        ("abs(-x) = 2", [0]),
        ("length(name) > 3", [1, 2]),
        ("lower(name) = 'edge-on'", [2]),
        ("row in (1, 2)", [1, 2]),
        ("2 < x and 'a' != name", [2, 5]),
    ],
)
def test_rows_that_pass(table: GalaxyTable, expression: str, rows: list[int]):
    assert table.view(expression).page(0, 10) == rows


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("p_Mergin > 0.8", "no column 'p_Mergin' (did you mean 'p_Merging'?)"),
        ("x >", "ends too early"),
        ("x > and", "at 'and' (character 5)"),
        ("x", "is a number, not a condition"),
        ("name > 3", "compares a text with a number"),
        ("name = Edge", "no column 'Edge'"),
        ("x > 'a'", "single quotes"),
        ("name = 'a", "a text that does not end"),
        ("x > 1; drop table galaxies", "at ';'"),
        ("x > 1) or (true", "at ')'"),
        ("true order by x", "at 'order'"),
        ("x in (select 1)", "no column 'select'"),
        ("exists (select 1)", "no function 'exists'"),
        ("read_csv('/etc/passwd') is null", "no function 'read_csv'"),
        ("getenv('HOME') = 'a'", "no function 'getenv'"),
        ("x::varchar = '1'", "at ':'"),
        ("x = $1", "at '$'"),
        ("x = ?", "at '?'"),
        ("x > 1 -- and so on", "at 'and'"),
        ("/* */ true", "at '/'"),
        ("name between 1 and 2", "compares"),
        ("abs(name) > 1", "takes a number"),
        ("not x", "needs a condition"),
        ("x and right", "joins conditions"),
        ("name + 1 > 2", "needs numbers"),
        ("x like 'a'", "compares texts"),
        ("(" * 60 + "right" + ")" * 60, "nested parentheses"),
        ("-" * 60 + "x > 1", "signs in a row"),
        ("x > " + "1" * LONGEST, "characters"),
    ],
)
def test_what_is_no_expression_is_said_in_words(table: GalaxyTable, expression: str, sentence: str):
    with pytest.raises(UsageError) as said:
        table.view(expression)
    assert sentence in str(said.value)
    assert "\n" not in str(said.value)


def test_no_value_of_a_person_is_part_of_the_sql():
    condition = parse_filter("name = 'x'' or 1=1 --' and x > 0.8 and \"odd-name\" in (1, 2)", KINDS)
    assert condition.sql == '(("name" = ?) and ("x" > ?) and ("odd-name" in (?, ?)))'
    assert condition.values == ("x' or 1=1 --", 0.8, 1.0, 2.0)
    assert condition.columns == ("name", "x", "odd-name")


def test_a_column_with_quotes_in_its_name_stays_a_column():
    condition = parse_filter('"a""; drop table galaxies; --" > 1', {'a"; drop table galaxies; --': "number"})
    assert condition.sql == '("a""; drop table galaxies; --" > ?)'
