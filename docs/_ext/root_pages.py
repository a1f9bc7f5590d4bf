"""The pages of the repository's root (README.md and others) as pages of the site, links and all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "EXPERIMENTS.md": "experiments.md",
    "LICENSE": "licence.md",
}
"""For each page of the root the page of the site that shows it."""


def on_site(text: str, folder: str) -> str:
    """A page's Markdown with its links as the site has them.

    Args:
        text: Markdown of a page.
        folder: the page's folder, from the root: '' or 'docs'.
    """

    def moved(link: re.Match[str]) -> str:
        path, hash_, anchor = link.group(1).partition("#")
        from_root = path.removeprefix("docs/") if not folder else path.removeprefix("../")
        if folder and from_root == path:  # a neighbour in docs/
            return link.group(0)
        return f"]({PAGES.get(from_root, from_root)}{hash_}{anchor})"

    return re.sub(r"\]\((?!https?:|#)([^)\s]+)\)", moved, text)


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    """A page of the site that shows one of the root gets its text, before its own."""
    text = on_site(source[0], "docs") if "/" not in name else source[0]
    for page, shown_by in PAGES.items():
        if shown_by == f"{name}.md":
            root = (ROOT / page).read_text(encoding="utf-8")
            app.env.note_dependency(str(ROOT / page))
            heading = "" if root.lstrip().startswith("# ") else f"# {name.capitalize()}\n\n"
            text = f"{heading}{on_site(root, '')}\n\n{text}"
    source[0] = text


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
