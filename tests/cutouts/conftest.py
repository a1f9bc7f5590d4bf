from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cutout_server import CutoutServer, Sky, serving

from morphoscope.cutouts import CutoutRequest, fetch_cutouts
from morphoscope.cutouts.client import Patience
from morphoscope.cutouts.download import CutoutSummary

QUICK = Patience(pause=0.02, read=1.0, whole=10.0)


@pytest.fixture
def server() -> Iterator[CutoutServer]:
    """A server without faults; ``server.sky`` may be replaced."""
    with serving(Sky()) as served:
        yield served


@pytest.fixture
def fetch(server: CutoutServer, tmp_path: Path) -> Callable[..., CutoutSummary]:
    """Fetches 64-pixel cutouts of a table from the server."""
    table = server.table(tmp_path / "services.yaml")

    def fetched(positions: Path | str | None, out: str = "out", **options: object) -> CutoutSummary:
        options = {"survey": "legacy-dr10", "pixels": 64, "patience": QUICK, "service": table, **options}
        return fetch_cutouts(CutoutRequest(positions, tmp_path / out, **options))  # type: ignore[arg-type]

    return fetched


@pytest.fixture
def positions(tmp_path: Path) -> Callable[..., Path]:
    """Writes a table of galaxies a hundredth of a degree apart."""

    def written(count: int, name: str = "positions.csv") -> Path:
        rows = [f"g{row},{150 + row / 100:.2f},2.5" for row in range(count)]
        (tmp_path / name).write_text("id,ra,dec\n" + "\n".join(rows) + "\n")
        return tmp_path / name

    return written
