"""An entry of the list of readers, and how their answers are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Reader:
    """One kind of file and who reads it."""

    name: str
    file: str  # what it is called; the ending says how it is damaged
    make: Callable[[Path], object]
    read: Callable[[Path], object]
    share: float = 1.0


def digest(value: object) -> str:
    """The same for equal values: numbers with 6 digits, arrays by shape, type and content."""
    return hashlib.sha256(_plain(value).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _plain(value: object) -> str:
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f":
            value = np.round(value.astype(float), 5) + 0.0
        content = str(value.tolist()) if value.dtype.kind == "O" else np.ascontiguousarray(value).tobytes()
        return f"{value.shape}{value.dtype}{hash_of(content)}"
    if isinstance(value, pa.Table):
        return _plain({name: value[name].to_pylist() for name in value.column_names})
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_plain(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_plain, value)) + "]"
    if isinstance(value, float):
        return f"{value:.6g}"
    return repr(value)


def hash_of(content: str | bytes) -> str:
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return hashlib.sha256(raw).hexdigest()


def check_sentence(text: str) -> None:
    """A message is one line, and not a page long."""
    if "\n" in text or "\r" in text or len(text) > 2000:
        raise AssertionError(
            f"a message of {len(text)} characters and {text.count(chr(10)) + 1} lines: {text[:80]!r}"
        )
