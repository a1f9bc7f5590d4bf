"""Values of fields: of which types one may be, and what a text from the command line means."""

from __future__ import annotations

import contextlib
import types
from typing import Any, Union, get_args, get_origin

import yaml

from morphoscope.errors import UsageError


def kinds_of(annotation: Any) -> set[Any]:
    """The types an annotation is made of: {int, NoneType} for ``int | None``, {tuple} for any tuple."""
    if get_origin(annotation) in (Union, types.UnionType):
        return set().union(*(kinds_of(option) for option in get_args(annotation)))
    return {get_origin(annotation) or annotation}


def parsed(text: str, annotation: Any) -> Any:
    """The value of a text for a field of this type, as ``--set`` gives it.

    Raises:
        UsageError: it is not YAML.
    """
    kinds = kinds_of(annotation)
    if type(None) in kinds and text.lower() in ("", "none", "null", "~"):
        return None
    if kinds <= {int, float, type(None)}:  # not by YAML 1.1, where 1e-3 is text, 010 is 8 and 12:30 is 750
        return _number(text)
    if str in kinds and not text.startswith(("'", '"')):
        return text
    if tuple in kinds and not text.startswith("["):
        text = f"[{text}]"
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"'{text}' cannot be read as a value") from error


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text  # which pydantic refuses with the field's name
