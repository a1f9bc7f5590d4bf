"""What several commands share: options, and how a document is printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from morphoscope.errors import UsageError

RunFolder = Annotated[Path, typer.Argument(help="Folder of a finished run.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Views = Annotated[
    int | None, typer.Option(help="Views averaged: 1, 2, 8, 16, 24 or 48. [default: the recipe's]")
]
NoCalibration = Annotated[
    bool, typer.Option("--no-calibration", help="The network's own probabilities, uncalibrated.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is already there.")]
RunFolders = Annotated[
    str,
    typer.Argument(
        metavar="RUN[,RUN...]",
        help="A finished run: folder, 'default', hf-hub:owner/name, or an exported .onnx file; of several, "
        "with commas between them, the mean prediction.",
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


def options_of(request: type[Any], **own: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command take a frozen request: each of its fields with a help text becomes an option.

    The command's parameter ``request`` is replaced by these options, whose names, defaults and help are the
    fields'. A field of a yes or no is a flag without its opposite.

    Args:
        request: a dataclass.
        own: parameters of fields without a help text, by their names.
    """
    hints = get_type_hints(request)

    def parameters() -> Iterator[Parameter]:
        for each in fields(request):
            default = Parameter.empty if each.default is MISSING else each.default
            if each.name in own:
                yield Parameter(each.name, Parameter.KEYWORD_ONLY, default=default, annotation=own[each.name])
            elif "help" in each.metadata:
                said = each.metadata
                flag = (f"--{each.name.replace('_', '-')}",) if hints[each.name] is bool else ()
                kind = hints[each.name] if said["kind"] is None else said["kind"] | None
                option = Annotated[kind, typer.Option(*flag, help=said["help"], min=said["min"])]
                given = default if said["kind"] is None else None
                yield Parameter(each.name, Parameter.KEYWORD_ONLY, default=given, annotation=option)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        given = list(parameters())
        names = [each.name for each in given]

        @wraps(command)
        def called(**values: Any) -> None:
            asked = {name: values.pop(name) for name in names}
            command(request=request(**asked), **values)

        others = [
            each.replace(kind=Parameter.KEYWORD_ONLY)
            for each in signature(command, eval_str=True).parameters.values()
        ]
        place = [each.name for each in others].index("request")
        found = Signature([*others[:place], *given, *others[place + 1 :]])
        called.__signature__ = found  # type: ignore[attr-defined]
        called.__annotations__ = {each.name: each.annotation for each in found.parameters.values()}
        return called

    return decorate


def document(values: Any) -> str:
    """A JSON document as it is printed."""
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
