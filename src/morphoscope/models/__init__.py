"""Networks: backbones by name, heads, freezing, pretrained weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morphoscope.exports import lazy_exports

if TYPE_CHECKING:
    from morphoscope.models.build import trained_network
    from morphoscope.models.network import Network, parameter_count
    from morphoscope.models.precision import best_device

__all__ = [
    "Network",
    "best_device",
    "parameter_count",
    "trained_network",
]
_PUBLIC = {
    "Network": "morphoscope.models.network",
    "best_device": "morphoscope.models.precision",
    "parameter_count": "morphoscope.models.network",
    "trained_network": "morphoscope.models.build",
}
__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
