"""The network that the program brings along: a run folder in the package, called by its name."""

from __future__ import annotations

from pathlib import Path

NETWORKS = Path(__file__).parent / "networks"
DEFAULT = "default"  # galaxies of Galaxy10's ten classes, learned from simulated ones alone


def run_folder(run: Path | str) -> Path:
    """Where a run lies: the folder of that path, or the packaged network of that name.

    A run in the working directory goes before a packaged one of the same name.
    """
    path = Path(run)
    if path.parent == Path() and not (path / "run.yaml").is_file() and path.name:
        brought = NETWORKS / path.name
        if (brought / "run.yaml").is_file():
            return brought
    return path
