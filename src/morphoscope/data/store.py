"""Stores: memory-mapped images, a table, and metadata.

A store is a folder::

    images.npy      (N, H, W, C) uint8, memory-mapped
    masks.npy       (N, H, W) uint8, memory-mapped; only if there are masks (see masks.py)
    table.parquet   id, ra, dec in degrees, label columns, truth columns, source, pixel_hash, sky_group
    store.yaml      label scheme, pixel scale in arcsec, intensity stretch, checksum of the source, ...

It is written in constant memory to a hidden folder beside it, which is renamed at the end, so a store
that can be opened is complete.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from morphoscope.data.masks import MASK_HASH, component_plane, open_masks
from morphoscope.errors import MorphoscopeError, UsageError, reason_of
from morphoscope.images.parquet_size import read_whole
from morphoscope.labels.scheme import Scheme
from morphoscope.notebook import notebook_html, spread
from morphoscope.progress import track
from morphoscope.versioned import load_yaml, read_document, understood

FORMAT_VERSION = 1


class StoreMeta(BaseModel):
    """The content of ``store.yaml``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: int = FORMAT_VERSION
    kind: Literal["morphoscope-store"] = "morphoscope-store"
    scheme: Scheme | None = Field(default=None, description="none: images without labels")
    count: int = 0
    image_shape: tuple[int, int, int] = Field(default=(0, 0, 0), description="H, W, C")
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
        images = [(str(ids[row].as_py()), self.images[row]) for row in spread(len(self))]
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
    meta = understood(StoreMeta, read_document(header), load_yaml, header, "the header of a store")
    try:
        images = np.lib.format.open_memmap(path / "images.npy", mode="r")
        table = read_whole(path / "table.parquet")
        masks = open_masks(path, meta.mask_components, (meta.count, *meta.image_shape[:2]))
    except MorphoscopeError:
        raise
    except Exception as error:  # numpy reads its header as Python and raises whatever that does
        raise _damaged(path, reason_of(error)) from error
    expected = (meta.count, *meta.image_shape)
    if images.shape != expected or images.dtype != np.uint8 or table.num_rows != meta.count:
        raise _damaged(
            path,
            f"store.yaml says {expected} uint8, images.npy has {images.shape} {images.dtype}, "
            f"table.parquet {table.num_rows} rows",
        )
    columns = [*STANDARD_COLUMNS, *(meta.scheme.columns if meta.scheme is not None else ())]
    columns += [MASK_HASH] if masks is not None else []
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise _damaged(path, f"table.parquet lacks {', '.join(missing)}")
    store = Store(path, meta, images, table, masks)
    _check_pixels(store, every=verify)
    return store


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
