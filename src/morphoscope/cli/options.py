"""Options shared by several commands, and printing of JSON documents."""

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
from morphoscope.progress import CONTROL

RunFolder = Annotated[Path, typer.Argument(help="Folder of a finished run.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Views = Annotated[
    int | None, typer.Option(help="Views averaged: 1, 2, 4, 8, 16, 24 or 48. Default: the recipe's.")
]
NoCalibration = Annotated[
    bool, typer.Option("--no-calibration", help="The network's own probabilities, uncalibrated.")
]
Precision = Annotated[
    str,
    typer.Option(help="auto, fp32, or int8: faster on processors, refused where answers change too much."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")]
RunFolders = Annotated[
    str,
    typer.Argument(
        metavar="RUN[,RUN...]",
        help="A finished run: folder, 'default', hf-hub:owner/name, or an exported .onnx file; several, "
        "separated by commas: the mean prediction.",
        show_default=False,
    ),
]


def several(runs: str) -> list[str]:
    """The runs of a comma-separated list; an existing folder with a comma in its name is one run."""
    if Path(runs).exists():
        return [runs]
    names = [name.strip() for name in runs.split(",") if name.strip()]
    if not names:
        raise UsageError("the folder of a finished run was expected")
    return names


def options_of(request: type[Any], **own: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Turn the fields of a frozen request into options of a command.

    The command's parameter ``request`` is replaced by one option for each field with a help text, with the
    field's name, default and help. A boolean field is a flag without a negative form.

    Args:
        request: a dataclass.
        own: annotations of fields without a help text, by name; with a default, a pair.
    """
    hints = get_type_hints(request)

    def parameters() -> Iterator[Parameter]:
        for each in fields(request):
            default = Parameter.empty if each.default is MISSING else each.default
            if each.name in own:
                annotation = own[each.name]
                if isinstance(annotation, tuple):
                    annotation, default = annotation
                yield Parameter(each.name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            elif "help" in each.metadata:
                metadata = each.metadata
                flag = (f"--{each.name.replace('_', '-')}",) if hints[each.name] is bool else ()
                kind = hints[each.name] if metadata["kind"] is None else metadata["kind"] | None
                option = Annotated[kind, typer.Option(*flag, help=metadata["help"], min=metadata["min"])]
                if metadata["kind"] is not None:
                    default = None
                yield Parameter(each.name, Parameter.KEYWORD_ONLY, default=default, annotation=option)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options = list(parameters())
        names = [each.name for each in options]

        @wraps(command)
        def called(**values: Any) -> None:
            of_request = {name: values.pop(name) for name in names}
            command(request=request(**of_request), **values)

        others = [
            each.replace(kind=Parameter.KEYWORD_ONLY)
            for each in signature(command, eval_str=True).parameters.values()
        ]
        index = [each.name for each in others].index("request")
        full = Signature([*others[:index], *options, *others[index + 1 :]])
        called.__signature__ = full  # type: ignore[attr-defined]
        called.__annotations__ = {each.name: each.annotation for each in full.parameters.values()}
        return called

    return decorate


def document(values: Any) -> str:
    """Format a JSON document for printing; control characters, also those that JSON allows, are escaped."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
