"""Errors a person can act on: one sentence that names the file, the field and what was expected."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST_REASON = 200  # some say all that they were given
_LONGEST_NAME, _MOST_NAMES = 40, 30  # in a list of names
_MOST_COMPARED = 2000  # names; a table may have a million columns


class MorphoscopeError(Exception):
    """The work failed for a reason the user can understand and mend (exit status 1)."""

    exit_status = 1


class CannotContinue(MorphoscopeError):
    """Not one image is at fault but what they all come from: the work stops, and what is done is kept."""


class UsageError(MorphoscopeError):
    """The request itself is wrong: an unknown name, field or combination (exit status 2)."""

    exit_status = 2


def reason_of(error: Exception) -> str:
    """What another library said, as a part of one sentence: its first line, of which 200 characters are kept.

    >>> reason_of(EOFError())
    'EOFError'
    """
    lines = str(error).strip().splitlines()
    line = lines[0].strip() if lines else type(error).__name__
    return line if len(line) <= _LONGEST_REASON else f"{line[: _LONGEST_REASON - 1]}…"


def listed(names: Iterable[str]) -> str:
    """Names with commas between, shortened where they are long or many: a message is no page.

    >>> listed(["ra", "x" * 1000])[:46]
    'ra, xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…'
    """
    shown = [name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name in names]
    more = f", and {len(shown) - _MOST_NAMES} more" if len(shown) > _MOST_NAMES else ""
    return ", ".join(shown[:_MOST_NAMES]) + more


def did_you_mean(name: str, known: Iterable[str], what: str = "") -> str:
    """A tail for an error message that names the nearest known name, or lists them all when few.

    >>> did_you_mean("optimizer", ["optimiser", "schedule"])
    " (did you mean 'optimiser'?)"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names[:_MOST_COMPARED], n=1, cutoff=0.6)
    if near:
        return f" (did you mean '{near[0]}'?)"
    if names and len(names) <= _MOST_NAMES:
        return f" ({what or 'known'}: {listed(names)})"
    return ""
