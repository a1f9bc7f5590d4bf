from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

from morphoscope.report.figures import style

# On a busy machine an example takes its time; and the checkout may be one that cannot be written.
settings.register_profile("any machine", deadline=None, database=None)
settings.load_profile("any machine")

# A graph takes seconds to make, for networks that live for one test: tests of engines ask for theirs.
os.environ["MORPHOSCOPE_ENGINE"] = "torch"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images beside the checkout; they belong to their surveys and are no part of the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real images (../shared/data) are not here")
    return folder


@contextmanager
def _without_rendering() -> Iterator[None]:

    def save(figure: object, path: Path | str, **_: object) -> Path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(b"not rendered")
        return Path(path)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(style, "save", save)
        patched.setattr(style, "inline_svg", lambda figure, name, description: f"<svg><!--{name}--></svg>")
        yield


@pytest.fixture(scope="module")
def undrawn() -> Iterator[None]:
    """Figures are composed but not rendered: pages keep their numbers, words and files, without pictures."""
    with _without_rendering():
        yield


@pytest.fixture
def undrawn_here() -> Iterator[None]:
    """Not rendered in one test of a module whose other tests need pictures."""
    with _without_rendering():
        yield
