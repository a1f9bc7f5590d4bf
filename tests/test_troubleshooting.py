"""docs/troubleshooting.md speaks of messages that the program has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def messages() -> list[str]:
    """Every text of the program, with {} where a value is filled in."""
    found = []
    for path in (PROJECT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_every_message_of_the_page_is_one_of_the_program_s():
    page = (PROJECT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    first_cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    quoted = [text for cell in first_cells for text in re.findall(r"`([^`]+)`", cell)]
    assert len(quoted) > 15
    said = messages()
    assert not [text for text in quoted if not any(text in message for message in said)]
