"""All kinds of label by name, and how saved schemes and corrections find theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, SerializeAsAny, ValidationError
from pydantic_core import PydanticCustomError

from morphoscope.errors import MorphoscopeError
from morphoscope.labels.calibrators import Correction

if TYPE_CHECKING:
    from morphoscope.labels.kind import Scheme

Document = TypeVar("Document", bound=BaseModel)

KINDS: dict[str, type[Scheme]] = {}
"""All kinds of label by their name in documents; filled by :mod:`morphoscope.labels.scheme`."""


def register(kind: type[Scheme]) -> None:
    """Register a kind for reading saved labels, calibrations and predictions.

    Raises:
        ValueError: the name of one of its correction methods is taken by another kind.
    """
    for method, correction in kind.corrections.items():
        for other in KINDS.values():
            if other.corrections.get(method, correction) is not correction:
                raise ValueError(f"the method '{method}' is a different correction in {other.__name__}")
    KINDS[kind.model_fields["kind"].default] = kind


def correction_from(values: Any) -> Any:
    """Parse a saved correction by its ``method``; non-mappings are left as they are."""
    if not isinstance(values, Mapping):
        return values
    method = str(values.get("method"))
    for kind in KINDS.values():
        if method in kind.corrections:
            return _validated(kind.corrections[method], values)
    raise PydanticCustomError("correction", "unknown method {method}", {"method": repr(method)})


AnyCorrection = Annotated[SerializeAsAny[Correction], BeforeValidator(correction_from)]
"""A correction of any kind, as a field of a saved document."""


def scheme_from(values: Mapping[str, Any], where: str = "scheme") -> Scheme:
    """A scheme from its saved form.

    Raises:
        MorphoscopeError: the kind is unknown (a newer program wrote it) or a field does not fit.
    """
    try:
        return read_scheme(values)
    except PydanticCustomError as error:
        raise MorphoscopeError(f"{where}: label scheme cannot be read: {error.message()}") from error


def read_scheme(values: Any) -> Scheme:
    """A scheme from its saved form, inside another document.

    Raises:
        PydanticCustomError: as :func:`scheme_from`.
    """
    if not isinstance(values, Mapping):
        raise PydanticCustomError("label_scheme", "a mapping was expected")
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        known = ", ".join(KINDS)
        raise PydanticCustomError(
            "label_scheme",
            "unknown kind {kind}; one of {known} was expected",
            {"kind": repr(kind), "known": known},
        )
    return _validated(KINDS[kind], values)


def _validated(model: type[Document], values: Mapping[str, Any]) -> Document:
    """Validate a nested document; its first error becomes the error of the whole."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(step) for step in first["loc"])
        fault = f"{field}: {first['msg']}" if field else first["msg"]
        raise PydanticCustomError("label_kind", "{fault}", {"fault": fault}) from error
