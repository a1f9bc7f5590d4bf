"""A page to look at galaxies, ask a catalogue, and label: ``morphoscope serve`` and ``ms.explore``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morphoscope.exports import lazy_exports

if TYPE_CHECKING:
    from morphoscope.explorer.server import Exploration, Request, explore, serve

__all__ = ["Exploration", "Request", "explore", "serve"]
_PUBLIC = {
    "Exploration": "morphoscope.explorer.server",
    "Request": "morphoscope.explorer.server",
    "explore": "morphoscope.explorer.server",
    "serve": "morphoscope.explorer.server",
}
__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
