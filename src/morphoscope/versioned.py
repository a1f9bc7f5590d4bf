"""Documents with the version of their format: read as a whole, or refused with the reason.

Every file that a later version of the program may write differently carries ``format_version``. A program
reads its own version and all before it, and refuses newer ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from morphoscope.errors import MorphoscopeError, reason_of

Document = TypeVar("Document", bound=BaseModel)
LARGEST = 32 << 20  # bytes of a document
LARGEST_YAML = 512 << 10  # bytes; of the densest YAML Python reads 70 kB a second
MOST_ALIASES = 20  # in YAML: a few lines of nested ones stand for billions of values


class _Loader(yaml.SafeLoader):
    """Plain YAML with few aliases, none of which stands inside what it stands for."""

    aliases = 0

    def __init__(self, stream: str | bytes) -> None:
        super().__init__(stream)
        self.open: list[str | None] = []  # anchors

    def compose_node(self, parent: Any, index: Any) -> Any:
        anchor = self.peek_event().anchor
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > MOST_ALIASES:
                raise yaml.YAMLError(f"it has more than {MOST_ALIASES} aliases")
            if anchor in self.open:
                raise yaml.YAMLError(f"the alias '{anchor}' stands for what it is a part of")
            return super().compose_node(parent, index)
        self.open.append(anchor)
        node = super().compose_node(parent, index)
        self.open.pop()
        return node


def load_yaml(text: str | bytes) -> Any:
    """The value of a YAML document.

    Raises:
        yaml.YAMLError: it is not YAML, its values cannot be converted (such as the date 2024-13-45), or it is
            nested too deeply or by too many aliases.
    """
    try:
        return yaml.load(text, _Loader)
    except (ValueError, TypeError, OverflowError, AttributeError, KeyError, IndexError) as error:
        raise yaml.YAMLError(f"a value cannot be read ({reason_of(error)})") from error
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error


def excess_of(text: str) -> str:
    """What a YAML text has too much of for another package to read it; empty if nothing."""
    if len(text) > LARGEST_YAML:
        return f"more than {LARGEST_YAML >> 10} KiB"
    if text.count("*") > MOST_ALIASES:
        with contextlib.suppress(yaml.YAMLError):  # its reader will say so
            if sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)) > MOST_ALIASES:
                return f"more than {MOST_ALIASES} aliases"
    return ""


def read_document(path: Path, largest: int = LARGEST) -> bytes:
    """The content of a small file.

    Raises:
        MorphoscopeError: it cannot be read, or is larger than a document can be.
    """
    try:
        if path.is_fifo() or path.is_char_device():  # reading may never end
            raise MorphoscopeError(f"{path} is a pipe or a device; a file was expected")
        with open(path, "rb") as file:
            content = file.read(largest + 1)
    except OSError as error:
        raise MorphoscopeError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > largest:
        most = f"{largest >> 20} MiB" if largest >> 20 else f"{largest >> 10} KiB"
        raise MorphoscopeError(f"{path} is larger than {most}; a small document was expected")
    return content


def understood(
    model: type[Document], text: str | bytes, parse: Callable[[str | bytes], Any], path: Path, what: str
) -> Document:
    """A document as its model has it.

    Args:
        model: has a field ``format_version``, whose default is the newest that is read.
        text: the file's content, UTF-8.
        parse: of YAML (:func:`load_yaml`) or JSON.
        path: the file, for messages.
        what: the document that was expected there, such as ``"the header of a run"``.

    Raises:
        MorphoscopeError: it is damaged, something else, or from a newer program.
    """
    try:
        values = parse(text)
        version = int(values["format_version"])
    except (yaml.YAMLError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise MorphoscopeError(f"{path} is damaged: it is not {what}") from error
    check_version(version, model.model_fields["format_version"].default, path)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise MorphoscopeError(f"{path} is damaged: {first_fault(error)}") from error
    except RecursionError as error:
        raise MorphoscopeError(f"{path} is damaged: it is nested too deeply") from error


def check_version(version: int, newest: int, path: Path) -> None:
    """Refuse what a newer program wrote.

    Raises:
        MorphoscopeError: ``version`` is above ``newest``.
    """
    if version > newest:
        raise MorphoscopeError(
            f"{path} has format {version}, made by a newer morphoscope; this one reads up to {newest}. "
            "Upgrade morphoscope"
        )


_FAULTS = {  # pydantic's own words for these are about its types
    "extra_forbidden": "there is no such field",
    "missing": "the field is missing",
    "too_short": "{actual_length} found, at least {min_length} expected",
    "too_long": "more than {max_length} found, at most so many are allowed",
}


def first_fault(error: ValidationError) -> str:
    """The first of the fields that are wrong, and why."""
    first = error.errors()[0]
    words = _FAULTS.get(first["type"], "").format(**first.get("ctx", {})) or first["msg"]
    return f"{'.'.join(str(step) for step in first['loc'])}: {words}"
