"""The packaged network: a run folder inside the package, found by its name."""

from __future__ import annotations

from pathlib import Path

NETWORKS = Path(__file__).parent / "networks"
DEFAULT = "default"  # Galaxy10's ten classes, trained on simulated galaxies only


def run_folder(run: Path | str) -> Path:
    """The folder of a run: the given path, or the packaged network of that name.

    A run in the working directory takes precedence over a packaged one of the same name.
    """
    path = Path(run)
    if path.parent == Path() and not (path / "run.yaml").is_file() and path.name:
        packaged = NETWORKS / path.name
        if (packaged / "run.yaml").is_file():
            return packaged
    return path
