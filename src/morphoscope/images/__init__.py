"""Reading images: files, archives, tables, FITS, mosaics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morphoscope.exports import lazy_exports

if TYPE_CHECKING:
    from morphoscope.images.decode import crop_and_resize, read_image
    from morphoscope.images.fits import read_bands, read_fits
    from morphoscope.images.image_table import open_table
    from morphoscope.images.mosaic import Mosaic, open_mosaics
    from morphoscope.images.tables import read_table

__all__ = [
    "Mosaic",
    "crop_and_resize",
    "open_mosaics",
    "open_table",
    "read_bands",
    "read_fits",
    "read_image",
    "read_table",
]
_PUBLIC = {
    "Mosaic": "morphoscope.images.mosaic",
    "crop_and_resize": "morphoscope.images.decode",
    "open_mosaics": "morphoscope.images.mosaic",
    "open_table": "morphoscope.images.image_table",
    "read_bands": "morphoscope.images.fits",
    "read_fits": "morphoscope.images.fits",
    "read_image": "morphoscope.images.decode",
    "read_table": "morphoscope.images.tables",
}
__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
