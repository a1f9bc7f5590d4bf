"""Images that a table holds as arrays of numbers: the Multimodal Universe's bands, and plain arrays.

====================================  =====================================================================
a struct of lists, a list of structs  Multimodal Universe (https://github.com/MultimodalUniverse): ``band``,
                                      ``flux`` (in older data ``array``) of (B, H, W), and if there ``ivar``
                                      and ``scale``. The first row is the lowest, as in FITS
(H, W), (H, W, 3), (3, H, W)          of integers from 0 to 255: a picture, the first row at the top
(H, W), (B, H, W), (H, W, B)          of other numbers: fluxes, the first row the lowest, as in FITS
====================================  =====================================================================

Shape letters: B bands, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from morphoscope.errors import MorphoscopeError
from morphoscope.images.bands import MOST_BANDS, Part, find_bands, names_of, reddest_first, wavelength
from morphoscope.images.bands import band_label as label_of
from morphoscope.images.coverage import uncovered
from morphoscope.images.limits import check_pixels
from morphoscope.images.stretch import ASSUMED, Flux, rendered

_FLUXES = ("flux", "array")  # the field with the pixels
_MOST_WITHOUT_DATA = 0.5  # as for FITS files
_HSC_ZERO_POINT = 27.0  # AB magnitude of one unit of HSC's co-added images (Aihara et al. 2019, PASJ 71, 114)
# Surveys whose units are known: the start of their band names, and the pixel scale, arcsec.
_KNOWN = {
    ("des-", 0.262): Flux(unit="nanomaggy", nanomaggies=1.0, survey="legacy"),
    ("hsc-", 0.168): Flux(unit="hsc", nanomaggies=10 ** (-0.4 * (_HSC_ZERO_POINT - 22.5))),
}
_MOST_LAST = 16  # fewer values in the last axis are bands
_PREFERRED = (("z", "r", "g"), ("i", "r", "g"))


def holds_arrays(kind: pa.DataType | None) -> bool:
    """Whether the cells of a column of this type are images as arrays."""
    if kind is None:
        return False
    stored = _storage(kind)
    if pa.types.is_struct(stored):
        return _depth(_flux_type(stored)) >= 3
    if _holds_structs(stored):
        return _depth(_flux_type(_storage(stored.value_type))) >= 2
    return _depth(stored) >= 2


@dataclass(frozen=True)
class ArrayCell:
    """The image of one row, still in Arrow's memory.

    Attributes:
        column: of the table's piece.
        row: in it.
    """

    column: pa.Array
    row: int

    @property
    def scale(self) -> float | None:
        """Arcsec a pixel, if the cell says so."""
        scales = self._field("scale")
        return None if scales is None or not len(scales) else float(scales[0])

    @property
    def measured(self) -> bool:
        """Whether the array holds fluxes, and no picture."""
        kind = self.column.type
        while _is_list(_storage(kind)):
            kind = _storage(kind).value_type
        inner = _storage(kind)
        return pa.types.is_struct(inner) or pa.types.is_floating(inner)

    def bands(self) -> tuple[str, ...]:
        """Names of the bands; empty if the cell does not name them."""
        kind = _storage(self.column.type)
        if _holds_structs(kind):
            kind, column = _storage(kind.value_type), _values_of(self.column, self.row)
            names = column.field("band").to_pylist() if kind.get_field_index("band") >= 0 else ()
        elif pa.types.is_struct(kind) and kind.get_field_index("band") >= 0:
            names = self.column.field("band")[self.row].as_py()
        else:
            names = ()
        return tuple(str(name or "") for name in names or ())

    def _field(self, name: str) -> np.ndarray | None:
        """A field of all bands as one array, bands first; None if there is none."""
        kind = _storage(self.column.type)
        if pa.types.is_struct(kind):
            if kind.get_field_index(name) < 0 or not self.column.field(name)[self.row].is_valid:
                return None
            return _as_array(self.column.field(name), self.row)
        if _holds_structs(kind):
            structs = _values_of(self.column, self.row)
            if structs.type.get_field_index(name) < 0:
                return None
            field = structs.field(name)
            if not len(field) or field.null_count:
                return None
            if not _is_list(_storage(field.type)):
                return field.to_numpy(zero_copy_only=False)
            return np.stack([_as_array(field, band) for band in range(len(field))])
        return _as_array(self.column, self.row) if name == _FLUXES[0] else None

    def pixels(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The array as stored, and the inverse variances, (B, H, W), if there are some.

        Raises:
            MorphoscopeError: the cell is no regular array.
        """
        for name in _FLUXES:
            if (found := self._field(name)) is not None:
                return found, self._field("ivar")
        raise MorphoscopeError("the row holds no image")


def cells_of(column: pa.ChunkedArray) -> list[ArrayCell | None]:
    """The cells of a column; None for those that are null."""
    cells: list[ArrayCell | None] = []
    for chunk in column.chunks:
        stored: Any = chunk
        while isinstance(stored, pa.ExtensionArray):
            stored = stored.storage
        valid = stored.is_valid().to_numpy(zero_copy_only=False)
        cells += [ArrayCell(stored, row) if there else None for row, there in enumerate(valid)]
    return cells


def read_array(
    cell: ArrayCell,
    *,
    name: str,
    stretch: str = "lupton",
    bands: Sequence[str] = (),
    found: dict[str, Any] | None = None,
) -> np.ndarray:
    """An image held as an array, as RGB.

    Of more than three bands three are taken unless ``bands`` names others: z, r and g, else i, r and g, else
    those of the longest, middle and shortest wavelength. Pixels without exposure (not finite, or with an
    inverse variance of zero) are shown as sky. The field ``mask`` is not read: data sets differ in what true
    means there, and pixels near bright stars hold data.

    Args:
        cell: the array.
        name: name used in messages.
        stretch: of fluxes, one of :data:`morphoscope.images.stretch.STRETCHES`.
        bands: one to three bands, by name or by number from 1, red first.
        found: is told ``bands``, ``scaling``, ``no_data`` and ``quality`` as by
            :func:`morphoscope.images.fits.read_fits`.

    Returns:
        (H, W, 3) uint8.

    Raises:
        MorphoscopeError: the array is no image, a band is missing, or half of the pixels hold no data.
    """
    try:
        stored, ivar_BHW = cell.pixels()
    except MorphoscopeError as error:
        raise MorphoscopeError(f"{name}: {error}") from error
    check_pixels(stored.shape[-2:] if stored.ndim > 2 else stored.shape, name)
    names = cell.bands()
    if not names and stored.dtype.kind in "iub" and (picture := _picture(stored, name)) is not None:
        if bands:
            raise MorphoscopeError(f"{name}: is a picture, and --bands chooses bands of fluxes")
        return picture
    planes_BHW = stored[None] if stored.ndim == 2 else stored
    if planes_BHW.ndim == 3 and not names and planes_BHW.shape[2] < min(_MOST_LAST, planes_BHW.shape[0]):
        planes_BHW = np.moveaxis(planes_BHW, -1, 0)
    if planes_BHW.ndim != 3:
        shape = "×".join(map(str, stored.shape))
        raise MorphoscopeError(f"{name}: the array is {shape}; bands × rows × columns were expected")
    chosen, words = _chosen(planes_BHW, names, bands, name)
    planes = [np.asarray(planes_BHW[band], np.float32)[::-1].copy() for band in chosen]
    for plane_HW, band in zip(planes, chosen, strict=True):
        plane_HW[uncovered(plane_HW)] = np.nan
        if ivar_BHW is not None and ivar_BHW.shape == planes_BHW.shape:
            unexposed_HW = ~(ivar_BHW[band][::-1] > 0)
            if not unexposed_HW.all():  # an array of zeros says nothing
                plane_HW[unexposed_HW] = np.nan
    flux = [_flux(names[band] if names else "", cell.scale) for band in chosen]
    image_HWC, rendering = rendered(planes, stretch, name=name, flux=flux)
    if rendering.no_data > _MOST_WITHOUT_DATA:
        raise MorphoscopeError(
            f"{name}: only {1 - rendering.no_data:.2g} of the pixels hold data; half of them were expected"
        )
    if found is not None:
        found.update(no_data=rendering.no_data, scaling=rendering.scaling, quality=rendering.quality)
        if words:
            found["bands"] = words
    return image_HWC


def usual_bands(names: Sequence[str]) -> tuple[int, ...]:
    """Which of many bands make a picture, red first: see :func:`read_array`.

    Raises:
        MorphoscopeError: their wavelengths are not known.
    """
    labels = [label_of(name) for name in names]
    if len(names) <= MOST_BANDS:
        return tuple(reddest_first(names))
    for wanted in _PREFERRED:
        if all(label in labels for label in wanted):
            return tuple(labels.index(label) for label in wanted)
    known = {band: nm for band, name in enumerate(names) if (nm := wavelength(name)) is not None}
    if len(known) < MOST_BANDS:
        raise MorphoscopeError(
            f"has the bands {', '.join(names)}; choose up to three of them with --bands, by name or by number"
        )
    rising = sorted(known, key=lambda band: known[band])
    return rising[-1], rising[len(rising) // 2], rising[0]


def _chosen(
    planes_BHW: np.ndarray, names: Sequence[str], bands: Sequence[str], name: str
) -> tuple[list[int], str]:
    """The planes of a picture, red first, and their names."""
    depth = len(planes_BHW)
    if bands:
        if names:
            parts = [Part(frozenset(names_of(label_of(each)))) for each in names]
            chosen = [part for part, _ in find_bands(parts, bands, name)]
        else:
            chosen = [plane for _, plane in find_bands([Part(depth=depth)], bands, name)]
    elif names:
        try:
            chosen = list(usual_bands(names))
        except MorphoscopeError as error:
            raise MorphoscopeError(f"{name}: {error}") from error
    elif depth <= MOST_BANDS:
        chosen = list(range(depth))
    else:
        shape = "×".join(map(str, planes_BHW.shape))
        raise MorphoscopeError(
            f"{name}: the array is {shape}; one to three bands were expected, or --bands to choose some of "
            "them by number, as --bands 3,2,1"
        )
    if max(chosen, default=0) >= depth:
        raise MorphoscopeError(f"{name}: names {len(names)} bands and holds {depth}")
    words = ", ".join(names[band] for band in chosen) if names else ", ".join(bands)
    return chosen, f"{words} (of {depth} bands)" if not bands and depth > len(chosen) else words


def _picture(stored: np.ndarray, name: str) -> np.ndarray | None:
    """Grey levels as RGB; None if the array is of another form."""
    if stored.ndim == 3 and stored.shape[0] in (1, 3) and stored.shape[2] not in (1, 3):
        stored = np.moveaxis(stored, 0, -1)
    if stored.ndim == 2:
        stored = stored[:, :, None]
    if stored.ndim != 3 or stored.shape[2] not in (1, 3):
        return None
    low, high = int(stored.min(initial=0)), int(stored.max(initial=0))
    if low < 0 or high > 255:
        return None if stored.shape[2] == 1 else _beyond(name, low, high)
    return np.ascontiguousarray(np.repeat(stored, 3, 2) if stored.shape[2] == 1 else stored, np.uint8)


def _beyond(name: str, low: int, high: int) -> None:
    raise MorphoscopeError(
        f"{name}: is an array of whole numbers from {low} to {high}; a picture has them from 0 to 255"
    )


def _flux(band: str, scale: float | None) -> Flux:
    label = label_of(band) if wavelength(band) is not None else ""
    for (start, arcsec), known in _KNOWN.items():
        if band.lower().startswith(start) and scale is not None and abs(scale / arcsec - 1) < 0.01:
            return Flux(label, known.unit, known.nanomaggies, known.survey)
    return Flux(label, ASSUMED)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _holds_structs(kind: Any) -> bool:
    return _is_list(kind) and pa.types.is_struct(_storage(kind.value_type))


def _storage(kind: Any) -> Any:
    """The type beneath extension types, such as those of Hugging Face's arrays."""
    while isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind


def _flux_type(kind: Any) -> pa.DataType | None:
    at = max(kind.get_field_index(name) for name in _FLUXES)
    return None if at < 0 else kind.field(at).type


def _depth(kind: pa.DataType | None) -> int:
    """How many lists lie in each other around numbers; 0 for anything else."""
    if kind is None:
        return 0
    depth, inner = 0, _storage(kind)
    while _is_list(inner):
        depth, inner = depth + 1, _storage(inner.value_type)
    number = pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner)
    return depth if number else 0


def _values_of(array: Any, row: int) -> Any:
    """What the list of a row contains."""
    values = array[row].values
    while isinstance(values, pa.ExtensionArray):
        values = values.storage
    return values


def _as_array(array: Any, row: int) -> np.ndarray:
    """Nested lists as an array of as many axes.

    Raises:
        MorphoscopeError: their lengths differ.
    """
    while isinstance(array, pa.ExtensionArray):
        array = array.storage
    values, counts = _values_of(array, row), []
    while _is_list(values.type):
        lengths = np.unique(values.value_lengths().to_numpy(zero_copy_only=False))
        if len(lengths) != 1 or values.null_count or not lengths[0]:
            raise MorphoscopeError("the rows of the array differ in length, or are empty")
        counts.append(len(values))
        values = values.flatten()
        while isinstance(values, pa.ExtensionArray):
            values = values.storage
    counts.append(len(values))
    axes = [counts[0], *(inner // outer for outer, inner in pairwise(counts))]
    return values.to_numpy(zero_copy_only=False).reshape(axes)
