"""Stores: memory-mapped images, a table, and metadata.

A store is a folder::

    images.npy      (N, H, W, C) uint8 or float32, memory-mapped; C from 1 to 8
    masks.npy       (N, H, W) uint8, memory-mapped; only if there are masks
    table.parquet   id, ra, dec in degrees, label columns, truth columns, source, pixel_hash, sky_group
    store.yaml      label scheme, pixel scale in arcsec, intensity stretch, checksum of the source, ...

The channels of most stores are red, green and blue. With ``bands`` in ``store.yaml`` they are planes of
these bands, from the longest wavelength to the shortest: grey levels (uint8), or values as measured
(float32).

It is written in constant memory to a hidden folder next to it, which is renamed at the end, so a store that
can be opened is complete.

Masks show which components of a galaxy contribute light to which pixels: bit k of a pixel is set where the
k-th component of ``mask_components`` in ``store.yaml`` contributes. A pixel may have several components, or
none. The table's column ``mask_hash`` has the hash of each mask.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean, reason_of
from morphoscope.images.bands import band_name
from morphoscope.images.parquet_size import read_whole
from morphoscope.images.planes import Pictures, chosen_planes
from morphoscope.images.stretch import MOST_PLANES
from morphoscope.labels.scheme import Scheme
from morphoscope.notebook import notebook_html, spread
from morphoscope.progress import track
from morphoscope.versioned import LARGEST_YAML, load_yaml, read_document, understood

NAME = "masks.npy"
MASK_HASH = "mask_hash"  # table column


def open_masks(folder: Path, components: Sequence[str], shape: tuple[int, ...]) -> np.ndarray | None:
    """The masks of a store as a read-only memory map, (N, H, W) uint8; None if it has none.

    Raises:
        ValueError: the shape or type is wrong.
        OSError: the file is missing.
    """
    if not components:
        return None
    masks_NHW = np.lib.format.open_memmap(folder / NAME, mode="r")
    if masks_NHW.shape != shape or masks_NHW.dtype != np.uint8:
        raise ValueError(
            f"store.yaml says masks {shape} uint8, {NAME} has {masks_NHW.shape} {masks_NHW.dtype}"
        )
    return masks_NHW


def component_plane(mask_HW: np.ndarray, component: str, components: Sequence[str]) -> np.ndarray:
    """One component of bit masks, same shape, bool.

    Raises:
        UsageError: ``component`` is not among ``components``.
    """
    if component not in components:
        raise UsageError(f"no mask of '{component}'{did_you_mean(component, components, 'components')}")
    return (mask_HW >> np.uint8(components.index(component))) & np.uint8(1) > 0


def write_npy_header(file: IO[bytes], shape: tuple[int, ...], dtype: str = "uint8") -> None:
    """Write the header of an array at the start of a file.

    numpy leaves room for the first axis to grow, so the final header can overwrite the first one.
    """
    file.seek(0)
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype).newbyteorder("<"))
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})


class MaskWriter:
    """Write ``masks.npy`` mask by mask, in the folder of a store that is being written."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.count = 0
        self._file: IO[bytes] | None = None

    def open(self, folder: Path) -> None:
        """Start writing in ``folder``."""
        self._file = (folder / NAME).open("wb")
        write_npy_header(self._file, (0, *self.shape))

    def append(self, mask_HW: np.ndarray) -> None:
        """Add one mask.

        Raises:
            MorphoscopeError: its shape is not the store's, or it is not uint8.
        """
        if mask_HW.shape != self.shape or mask_HW.dtype != np.uint8:
            raise MorphoscopeError(
                f"mask {self.count} is {mask_HW.shape} {mask_HW.dtype}, the store's are {self.shape} uint8"
            )
        self._open_file.write(np.ascontiguousarray(mask_HW).data)
        self.count += 1

    def finish(self) -> None:
        """Write the final header and flush everything to disk."""
        write_npy_header(self._open_file, (self.count, *self.shape))
        self._open_file.flush()
        os.fsync(self._open_file.fileno())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk once more, while the last bytes are written out
                self._file.close()

    @property
    def _open_file(self) -> IO[bytes]:
        assert self._file is not None, "open() comes first"
        return self._file


FORMAT_VERSION = 2  # 2: bands, and values in single precision


class StoreMeta(BaseModel):
    """The content of ``store.yaml``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: int = FORMAT_VERSION
    kind: Literal["morphoscope-store"] = "morphoscope-store"
    scheme: Scheme | None = Field(default=None, description="none: images without labels")
    count: int = 0
    image_shape: tuple[int, int, int] = Field(default=(0, 0, 0), description="H, W, C")
    dtype: Literal["uint8", "float32"] = Field(
        default="uint8", description="grey levels, or values as measured"
    )
    bands: tuple[str, ...] = Field(
        default=(), max_length=MOST_PLANES, description="of the channels; empty: red, green, blue"
    )
    bands_given: tuple[str, ...] = Field(
        default=(), description="the same in the order of --bands, that of planes without names"
    )
    shown: tuple[str, ...] = Field(
        default=(), max_length=3, description="bands that pictures for people show, red first; empty: any"
    )
    crop: int | None = Field(
        default=None, description="side of the centre crop taken at ingest, source pixels"
    )
    size: int | None = Field(
        default=None, description="side the crop was scaled to at ingest; none: not scaled"
    )
    pixel_scale: float | None = Field(default=None, description="arcsec per stored pixel; none: unknown")
    stretch: str = Field(default="as-served", description="how intensities were mapped to 0..255")
    source: str = Field(default="", description="name of the file or folder it was made from")
    source_checksum: str | None = Field(default=None, description="sha256 of the source, if it is one file")
    sky_group_radius: float | None = Field(
        default=None, description="arcsec within which galaxies are kept together"
    )
    unreadable: int = Field(default=0, description="images that could not be read (listed in unreadable.csv)")
    mask_components: tuple[str, ...] = Field(
        default=(), max_length=8, description="components of bits 0, 1, ... of masks.npy; empty: no masks"
    )
    integer_ids: bool = Field(
        default=False, description="ids were integers in the source; here they are text"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="how it was ingested or simulated")
    program_version: str = ""
    created: str = ""


@dataclass(frozen=True)
class Store:
    """An opened store. ``images`` is a read-only memory map: index it, never load it whole.

    ``pictures[row]`` is an image for people, (H, W, 3) uint8, also where ``images`` has planes of bands.

    ``masks`` is another, (N, H, W) uint8: bit k is set where ``meta.mask_components[k]`` contributes light;
    None for a store without masks. :meth:`mask` extracts one component.
    """

    path: Path
    meta: StoreMeta
    images: np.ndarray
    table: pa.Table
    masks: np.ndarray | None = None

    def __len__(self) -> int:
        return self.meta.count

    @property
    def pictures(self) -> Pictures:
        """The images as people see them."""
        return Pictures(self.images, chosen_planes(self.meta) if self.meta.shown else ())

    @property
    def scheme(self) -> Scheme | None:
        """What the labels mean; None for images without labels."""
        return self.meta.scheme

    def need_scheme(self) -> Scheme:
        """The label scheme of a store that must have labels.

        Raises:
            UsageError: the store has no labels.
        """
        if self.meta.scheme is None:
            raise UsageError(f"{self.path} has images without labels; labels are needed here")
        return self.meta.scheme

    def mask(self, row: int, component: str) -> np.ndarray:
        """Pixels where a component of a galaxy contributes light, (H, W) bool.

        Raises:
            UsageError: the store has no masks, or none of this component.
        """
        if self.masks is None:
            raise UsageError(f"{self.path} has no masks; simulate it with --masks")
        return component_plane(self.masks[row], component, self.meta.mask_components)

    def column(self, name: str) -> np.ndarray:
        """One column of the table as a numpy array, (N,)."""
        return self.table.column(name).to_numpy(zero_copy_only=False)

    def targets(self) -> np.ndarray:
        """Labels as the scheme gives them: (N,) int64 class indices or (N, K) float32 fractions."""
        return self.need_scheme().targets(self.table)

    def labelled(self) -> np.ndarray:
        """Which galaxies have labels, (N,) bool."""
        return self.need_scheme().labelled(self.table)

    def _repr_html_(self) -> str:
        """HTML for notebooks: labels, counts and a few galaxies."""
        scheme, (height, width, _) = self.scheme, self.meta.image_shape
        counts = {}
        if scheme is not None:
            found = scheme.summary(self.targets()[self.labelled()])
            counts = next((value for value in found.values() if isinstance(value, dict)), {})
        facts = [
            ("galaxies", f"{len(self):,}"),
            (
                "labels",
                "none" if scheme is None else f"{scheme.name}, {int(self.labelled().sum()):,} labelled",
            ),
            ("images", f"{width} × {height} px"),
            ("pixel scale", f"{self.meta.pixel_scale:.4g}″" if self.meta.pixel_scale else ""),
            ("made from", self.meta.source),
        ]
        ids = self.table.column("id")
        images = [(str(ids[row].as_py()), self.pictures[row]) for row in spread(len(self))]
        return notebook_html(f"Store {self.path}", facts, counts=counts, images=images)


def open_store(path: Path | str, *, verify: bool = False) -> Store:
    """Open a store and check that it is complete.

    Sizes, row counts and the pixels of a few galaxies are always checked; ``verify`` checks all pixels.

    Raises:
        UsageError: there is no store at ``path``.
        MorphoscopeError: the store is damaged, or was made by a newer program.
    """
    path = Path(path)
    header = path / "store.yaml"
    if not header.is_file():
        what = "is not a store: it has no store.yaml" if path.exists() else "does not exist"
        raise UsageError(f"{path} {what}. Make a store with 'morphoscope data ingest' or 'data simulate'")
    meta = understood(
        StoreMeta, read_document(header, LARGEST_YAML), load_yaml, header, "the header of a store"
    )
    try:
        images = np.lib.format.open_memmap(path / "images.npy", mode="r")
        table = read_whole(path / "table.parquet")
        masks = open_masks(path, meta.mask_components, (meta.count, *meta.image_shape[:2]))
    except MorphoscopeError:
        raise
    except Exception as error:  # numpy reads its header as Python and raises whatever that does
        raise _damaged(path, reason_of(error)) from error
    expected = (meta.count, *meta.image_shape)
    if images.shape != expected or images.dtype != np.dtype(meta.dtype) or table.num_rows != meta.count:
        raise _damaged(
            path,
            f"store.yaml says {expected} {meta.dtype}, images.npy has {images.shape} {images.dtype}, "
            f"table.parquet {table.num_rows} rows",
        )
    if meta.bands and len(meta.bands) != meta.image_shape[2]:
        raise _damaged(
            path, f"store.yaml names {len(meta.bands)} bands, the images have {meta.image_shape[2]} channels"
        )
    columns = [*STANDARD_COLUMNS, *(meta.scheme.columns if meta.scheme is not None else ())]
    columns += [MASK_HASH] if masks is not None else []
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise _damaged(path, f"table.parquet lacks {', '.join(missing)}")
    store = Store(path, meta, images, table, masks)
    _check_pixels(store, every=verify)
    return store


def as_store(store: Store | Path | str) -> Store:
    """The store itself, or the one in a folder."""
    return store if isinstance(store, Store) else open_store(store)


def _damaged(path: Path, reason: str) -> MorphoscopeError:
    return MorphoscopeError(f"{path} is damaged ({reason}); make the store again from its source")


def _check_pixels(store: Store, *, every: bool) -> None:
    count = len(store)
    chosen = range(count) if every else sorted({0, count // 2, count - 1} & set(range(count)))
    hashes = store.table.column("pixel_hash")
    for row in track(chosen, "verifying pixels", unit="images"):
        if pixel_hash(store.images[row]) != hashes[row].as_py():
            raise _damaged(store.path, f"the pixels of row {row} are not those that were written")
        if store.masks is not None:
            expected = store.table.column(MASK_HASH)[row].as_py()
            if pixel_hash(store.masks[row]) != expected:
                raise _damaged(store.path, f"the mask of row {row} is not the one that was written")


def pixel_hash(image_HWC: np.ndarray) -> str:
    """A 64-bit fingerprint of an image's pixels (16 hex digits); equal pixels give equal fingerprints."""
    return hashlib.blake2b(np.ascontiguousarray(image_HWC).data, digest_size=8).hexdigest()


STANDARD_COLUMNS = ("id", "ra", "dec", "source", "pixel_hash", "sky_group")


def describe(store: Store) -> dict[str, Any]:
    """Counts per class, sizes and provenance, as a JSON-able dict."""
    meta = store.meta
    labels: dict[str, Any] = {}
    if meta.scheme is not None:
        labels = {"scheme": meta.scheme.name, "kind": meta.scheme.kind}
        labels["labelled"] = int(store.labelled().sum())
        labels |= meta.scheme.summary(store.targets()[store.labelled()])
    taken = {*STANDARD_COLUMNS, *(meta.scheme.columns if meta.scheme else ())}
    with_coordinates = int(np.isfinite(store.column("ra")).sum())
    return {
        "path": str(store.path),
        "count": len(store),
        "image_shape": list(meta.image_shape),
        "dtype": meta.dtype,
        "bands": list(meta.bands),
        "megabytes": round(store.images.nbytes / 1e6, 1),
        "labels": labels or None,
        "with_coordinates": with_coordinates,
        "sky_groups": len(np.unique(store.column("sky_group"))),
        "sky_group_radius_arcsec": meta.sky_group_radius,
        "pixel_scale_arcsec": meta.pixel_scale,
        "stretch": meta.stretch,
        "crop": meta.crop,
        "size": meta.size,
        "source": meta.source,
        "source_sha256": meta.source_checksum,
        "unreadable": meta.unreadable,
        "further_columns": [name for name in store.table.column_names if name not in taken],
        "options": meta.options,
        "program_version": meta.program_version,
        "created": meta.created,
    }


def description_lines(described: dict[str, Any]) -> list[str]:
    """The description as lines of aligned text."""
    height, width, channels = described["image_shape"]
    kind = "values (float32), " if described["dtype"] == "float32" else ""
    bands = f" ({', '.join(map(band_name, described['bands']))})" if described["bands"] else ""
    planes = f"{channels} channel{'s' * (channels != 1)}{bands}"
    lines = [
        f"{described['path']}: {described['count']} galaxies, {height}×{width} px, {planes}, {kind}"
        f"{described['megabytes']} MB",
        f"source      {described['source'] or 'unknown'}"
        + (f" (sha256 {described['source_sha256'][:12]}…)" if described["source_sha256"] else ""),
        f"stretch     {described['stretch']}",
    ]
    if described["pixel_scale_arcsec"]:
        lines.append(f"scale       {described['pixel_scale_arcsec']:.4g}″ per pixel")
    if described["with_coordinates"]:
        lines.append(
            f"sky         {described['with_coordinates']} with coordinates, {described['sky_groups']} groups "
            f"within {described['sky_group_radius_arcsec']:.3g}″"
        )
    if described["unreadable"]:
        lines.append(f"unreadable  {described['unreadable']} images, listed in unreadable.csv")
    labels = described["labels"]
    if labels is None:
        return [*lines, "labels      none"]
    lines.append(f"labels      {labels['scheme']}: {labels['labelled']} galaxies labelled")
    numbers = next((value for value in labels.values() if isinstance(value, dict)), {})
    width = max((len(name) for name in numbers), default=0)
    return lines + [f"  {name:<{width}}  {number:>7}" for name, number in numbers.items()]
