"""The pages on silent errors and on security name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", ["silent-errors.md", "security.md"])
def test_every_hazard_has_a_test_that_exists(name: str):
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    tables = re.findall(r"^\| (?:hazard|what) .*\n\|[-|]+\n((?:\| .*\n?)+)", page, re.MULTILINE)
    rows = [row for table in tables for row in table.splitlines()]
    assert len(rows) > 25
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row.split("|")[-2])
        assert named, f"no test stands beside: {row}"
        for file, test in named:
            assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file} has no {test}"
