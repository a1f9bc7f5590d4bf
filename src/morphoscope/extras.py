"""Packages that only some people need."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from morphoscope.errors import MorphoscopeError


def need(packages: Iterable[str], extra: str, what: str) -> None:
    """Refuse work that needs packages of an extra which are not installed, before it begins.

    Args:
        packages: names to import.
        extra: the extra of this program that brings them.
        what: the work, for people.

    Raises:
        MorphoscopeError: one of them is missing.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise MorphoscopeError(
            f"{what} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            f"installed; install with: pip install 'morphoscope[{extra}]'"
        )
