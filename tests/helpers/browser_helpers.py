"""A page in a real Chromium: waiting for it, and what axe-core finds in it."""

from __future__ import annotations

from typing import Any


def until(page: Any, expression: str) -> None:
    """Wait for something of the page; Playwright's own way needs what the page's policy forbids."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{expression} did not come true")


def serious_findings(page: Any, axe: str) -> list[tuple]:
    """What axe-core, whose source is given, finds serious or critical in the page as it is."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        (each["id"], [node["html"][:160] for node in each["nodes"][:4]], each["nodes"][0]["failureSummary"])
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


def too_wide(page: Any) -> int:
    """By how many pixels the page is wider than its window."""
    return page.evaluate("Math.max(0, document.documentElement.scrollWidth - innerWidth)")
