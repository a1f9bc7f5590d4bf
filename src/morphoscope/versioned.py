"""Documents that say which format they have: understood as a whole, or refused with the reason.

Every file that a later version of the program may write otherwise carries ``format_version``. A program reads
its own version and all before it; a newer one is not guessed at.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from morphoscope.errors import MorphoscopeError

Document = TypeVar("Document", bound=BaseModel)


def understood(
    model: type[Document], text: str | bytes, parse: Callable[[str | bytes], Any], place: Path, what: str
) -> Document:
    """A document as its model has it.

    Args:
        model: has a field ``format_version``, whose default is the newest that is read.
        text: the file's content, UTF-8.
        parse: of YAML or JSON.
        place: the file, for messages.
        what: the document that was expected there, such as ``"the header of a run"``.

    Raises:
        MorphoscopeError: it is damaged, something else, or from a newer program.
    """
    try:
        values = parse(text)
        version = int(values["format_version"])
    except (yaml.YAMLError, ValueError, TypeError, KeyError) as error:  # ValueError: not UTF-8, or not JSON
        raise MorphoscopeError(f"{place} is damaged: it is not {what}") from error
    check_version(version, model.model_fields["format_version"].default, place)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise MorphoscopeError(f"{place} is damaged: {first_fault(error)}") from error


def check_version(version: int, newest: int, place: Path) -> None:
    """Refuse what a newer program wrote.

    Raises:
        MorphoscopeError: ``version`` is above ``newest``.
    """
    if version > newest:
        raise MorphoscopeError(
            f"{place} has format {version}, made by a newer morphoscope; this one reads up to {newest}. "
            "Upgrade morphoscope"
        )


def first_fault(error: ValidationError) -> str:
    """The first of the fields that are wrong, and why."""
    first = error.errors()[0]
    return f"{'.'.join(str(step) for step in first['loc'])}: {first['msg']}"
