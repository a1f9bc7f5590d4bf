from __future__ import annotations

from pathlib import Path

from morphoscope.report.html.document import Page, PageHeader, rendered

HOSTILE = "<script>alert('x')</script>\" onload=\"1"


def test_names_are_shown_and_not_run() -> None:
    page = Page(Path("figures"))
    page.section("results", HOSTILE)
    page.text(HOSTILE)
    page.facts([(HOSTILE, HOSTILE)])
    page.code(HOSTILE)
    text = rendered(page, PageHeader("report", HOSTILE, HOSTILE, HOSTILE, None), notes=[HOSTILE])
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(") >= 8
    assert '" onload=' not in text
