"""What several commands share: options, and how a document is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from morphoscope.errors import UsageError

RunFolder = Annotated[Path, typer.Argument(help="Folder of a finished run.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Views = Annotated[int | None, typer.Option(help="Views averaged: 1, 2, 8 or 16. [default: the recipe's]")]
NoCalibration = Annotated[
    bool, typer.Option("--no-calibration", help="The network's own answers, not corrected.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is already there.")]
RunFolders = Annotated[
    str,
    typer.Argument(
        metavar="RUN[,RUN...]",
        help="A finished run: folder, 'default', hf-hub:owner/name, or an exported .onnx file; of several, "
        "with commas between them, the mean answer.",
        show_default=False,
    ),
]


def several(runs: str) -> list[str]:
    """The runs of a list with commas; a folder that has a comma in its name is itself."""
    if Path(runs).exists():
        return [runs]
    names = [name.strip() for name in runs.split(",") if name.strip()]
    if not names:
        raise UsageError("the folder of a finished run was expected")
    return names


def document(values: Any) -> str:
    """A JSON document as it is printed."""
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
