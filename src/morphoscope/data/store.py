"""The one on-disk format: images to map into memory, a table, and what both mean.

A store is a folder::

    images.npy      (N, H, W, C) uint8, memory-mapped
    masks.npy       (N, H, W) uint8, memory-mapped; only where masks are known (see masks.py)
    table.parquet   id, ra, dec in degrees, label columns, truth columns, source, pixel_hash, sky_group
    store.yaml      label scheme, pixel scale in arcsec, intensity stretch, checksum of the source, ...

It is written in constant memory into a hidden sibling and put in place by one rename, so a store
that can be opened is whole.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from morphoscope import files
from morphoscope.data.masks import MASK_HASH, MaskWriter, component_plane, open_masks, write_npy_header
from morphoscope.data.rows import STANDARD_COLUMNS, RowWriter
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.labels.scheme import Scheme
from morphoscope.progress import track

FORMAT_VERSION = 1


class StoreMeta(BaseModel):
    """What ``store.yaml`` says."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: int = FORMAT_VERSION
    kind: Literal["morphoscope-store"] = "morphoscope-store"
    scheme: Scheme | None = Field(default=None, description="none: images alone, without labels")
    count: int = 0
    image_shape: tuple[int, int, int] = Field(default=(0, 0, 0), description="H, W, C")
    crop: int | None = Field(
        default=None, description="side of the centre crop taken at ingest, source pixels"
    )
    size: int | None = Field(
        default=None, description="side the crop was scaled to at ingest; none: not scaled"
    )
    pixel_scale: float | None = Field(default=None, description="arcsec per stored pixel; none: unknown")
    stretch: str = Field(default="as-served", description="how intensities became 0..255")
    source: str = Field(default="", description="what it was made from, by name")
    source_checksum: str | None = Field(
        default=None, description="sha256 of the source, where it is one file"
    )
    sky_group_radius: float | None = Field(
        default=None, description="arcsec within which galaxies are kept together"
    )
    unreadable: int = Field(default=0, description="images that could not be read (listed in unreadable.csv)")
    mask_components: tuple[str, ...] = Field(
        default=(), max_length=8, description="what bits 0, 1, ... of masks.npy stand for; empty: no masks"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="how it was ingested or simulated")
    program_version: str = ""
    created: str = ""


@dataclass(frozen=True)
class Store:
    """An opened store. ``images`` is a read-only memory map: index it, never load it whole.

    ``masks`` is one, too: (N, H, W) uint8, whose bit k is set where ``meta.mask_components[k]`` shines; None
    for a store without masks. :meth:`mask` takes one component out of it.
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
        """What the labels mean; None for images alone."""
        return self.meta.scheme

    def need_scheme(self) -> Scheme:
        """The label scheme of a store that must have one.

        Raises:
            UsageError: the store holds images alone.
        """
        if self.meta.scheme is None:
            raise UsageError(f"{self.path} holds images without labels; labels are needed here")
        return self.meta.scheme

    def mask(self, row: int, component: str) -> np.ndarray:
        """Where a component of a galaxy shines, (H, W) bool.

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


def open_store(path: Path | str, *, verify: bool = False) -> Store:
    """Open a store and check that it is whole.

    Sizes, row counts and the pixels of a few galaxies are checked always; ``verify`` checks all pixels.

    Raises:
        UsageError: there is no store at ``path``.
        MorphoscopeError: the store is damaged, or was made by a newer program.
    """
    path = Path(path)
    header = path / "store.yaml"
    if not header.is_file():
        what = "is not a store: it has no store.yaml" if path.exists() else "does not exist"
        raise UsageError(f"{path} {what}. Make a store with 'morphoscope data ingest' or 'data simulate'")
    try:
        values = yaml.safe_load(header.read_text(encoding="utf-8"))
        version = int(values["format_version"])
    except OSError as error:
        raise MorphoscopeError(f"{header} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, TypeError, KeyError, ValueError) as error:
        raise MorphoscopeError(f"{header} is damaged: it is not the header of a store") from error
    if version > FORMAT_VERSION:
        raise MorphoscopeError(
            f"{path} has format {version}, made by a newer morphoscope; this one reads up to "
            f"{FORMAT_VERSION}. Upgrade morphoscope"
        )
    try:
        meta = StoreMeta.model_validate(values)
        images = np.lib.format.open_memmap(path / "images.npy", mode="r")
        # pq.read_table would make a column of the table from a folder called "split=train".
        with pq.ParquetFile(path / "table.parquet", memory_map=True) as file:
            table = file.read()
        masks = open_masks(path, meta.mask_components, (meta.count, *meta.image_shape[:2]))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(step) for step in first["loc"])
        raise _damaged(path, f"store.yaml, {field}: {first['msg']}") from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(path, str(error).splitlines()[0]) from error
    expected = (meta.count, *meta.image_shape)
    if images.shape != expected or images.dtype != np.uint8 or table.num_rows != meta.count:
        raise _damaged(
            path,
            f"store.yaml says {expected} uint8, images.npy holds {images.shape} {images.dtype}, "
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
            wanted = store.table.column(MASK_HASH)[row].as_py()
            if pixel_hash(store.masks[row]) != wanted:
                raise _damaged(store.path, f"the mask of row {row} is not the one that was written")


def pixel_hash(image_HWC: np.ndarray) -> str:
    """A 64-bit fingerprint of an image's pixels (16 hex digits); equal pixels give equal fingerprints."""
    return hashlib.blake2b(np.ascontiguousarray(image_HWC).data, digest_size=8).hexdigest()


class StoreWriter:
    """Write a store row by row in constant memory.

    ::

        with StoreWriter(out, meta, image_shape=(256, 256, 3)) as writer:
            writer.append(image_HWC, {"id": "a", "ra": 10.0, "dec": -1.0, "label": 3, "source": "a.jpg"})

    Leaving the block puts the store in place; an error or Ctrl-C inside it leaves nothing behind.
    A kill leaves only a hidden ``.NAME.partial-*`` folder, which the next writer removes.

    Args:
        out: folder of the store.
        meta: what is known beforehand; count, shape, date and version are filled in. Where it names
            ``mask_components``, every image comes with its mask.
        image_shape: (H, W, C) of every image.
        extra: further table columns beyond the scheme's, name → Arrow type.
        expected: how many images will come, to check for room on the disk beforehand.
        overwrite: replace a store that is already there; a folder that is no store is never deleted.

    Raises:
        UsageError: ``out`` may not be written, or a label column has the name of a standard column.
        MorphoscopeError: the disk has too little room for ``expected`` images.
    """

    def __init__(
        self,
        out: Path | str,
        meta: StoreMeta,
        *,
        image_shape: tuple[int, int, int],
        extra: dict[str, pa.DataType] | None = None,
        expected: int = 0,
        overwrite: bool = False,
    ) -> None:
        self.out = Path(out)
        self.meta = meta
        self.image_shape = image_shape
        self.overwrite = overwrite
        self.count = 0
        files.refuse_existing(self.out, overwrite=overwrite, mark="store.yaml")
        masked = bool(meta.mask_components)
        bytes_each = image_shape[0] * image_shape[1] * (image_shape[2] + masked)
        files.ensure_room(self.out, int(1.02 * expected * bytes_each) + 10_000_000)
        extra = (extra or {}) | ({MASK_HASH: pa.string()} if masked else {})
        self._table = RowWriter(meta.scheme, extra)
        self._masks = MaskWriter(image_shape[:2]) if masked else None
        self._unreadable: list[tuple[str, str]] = []

    def __enter__(self) -> StoreWriter:
        with files.explained_os_errors(self.out):
            self.out.parent.mkdir(parents=True, exist_ok=True)
            files.remove_stale_partials(self.out)
            self.partial = files.partial_name(self.out)
            self.partial.mkdir()
            with contextlib.ExitStack() as undo:
                undo.callback(shutil.rmtree, self.partial, ignore_errors=True)
                self._images = undo.enter_context(open(self.partial / "images.npy", "wb"))
                write_npy_header(self._images, (self.count, *self.image_shape))
                if self._masks is not None:
                    self._masks.open(self.partial)
                    undo.callback(self._masks.close)
                self._table.open(self.partial)
                undo.pop_all()
        return self

    def append(self, image_HWC: np.ndarray, row: dict[str, Any], mask_HW: np.ndarray | None = None) -> None:
        """Add one galaxy; columns that ``row`` lacks are empty (NaN coordinates, label −1).

        ``row`` may bring the image's ``pixel_hash``, where other threads have the time to compute it.
        ``mask_HW`` is its (H, W) uint8 bit mask, in a store with masks.

        Raises:
            MorphoscopeError: the image or the mask is not of the store's shape, the labels do not fit its
                scheme, or ``row`` has a column that the store has not.
        """
        if image_HWC.shape != self.image_shape or image_HWC.dtype != np.uint8:
            raise MorphoscopeError(
                f"{row.get('source', row.get('id'))}: image is {image_HWC.shape} {image_HWC.dtype}, "
                f"the store holds {self.image_shape} uint8; pass --size to scale all images alike"
            )
        self._table.check(row)
        if (self._masks is None) != (mask_HW is None):
            name = row.get("source", row.get("id"))
            raise MorphoscopeError(f"{name}: either all images of a store have masks or none")
        image_HWC = np.ascontiguousarray(image_HWC)
        with files.explained_os_errors(self.out):
            self._images.write(image_HWC.data)
            row = {**row, "pixel_hash": row.get("pixel_hash") or pixel_hash(image_HWC)}
            if self._masks is not None and mask_HW is not None:
                self._masks.append(mask_HW)
                row[MASK_HASH] = pixel_hash(mask_HW)
            self._table.append(row)
            self.count += 1

    def unreadable(self, source: str, reason: str) -> None:
        """Remember an image that could not be read; it is listed in ``unreadable.csv``."""
        self._unreadable.append((source, reason))

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                with files.explained_os_errors(self.out):
                    self._finish()
        finally:
            self._table.close()
            if self._masks is not None:
                self._masks.close()
            with contextlib.suppress(OSError):  # a full disk once more, while the last bytes are written out
                self._images.close()
            shutil.rmtree(self.partial, ignore_errors=True)
        if isinstance(error, OSError):
            with files.explained_os_errors(self.out):
                raise error

    def _finish(self) -> None:
        if not self.count:
            first = (
                f"could be read; the first, {': '.join(self._unreadable[0])}" if self._unreadable else "came"
            )
            raise MorphoscopeError(f"{self.out}: no store was made, for no image {first}")
        write_npy_header(self._images, (self.count, *self.image_shape))
        self._images.flush()
        os.fsync(self._images.fileno())
        if self._masks is not None:
            self._masks.finish()
        radius = self._sky_group_radius()
        self._table.finish(radius)
        if self._unreadable:
            with open(self.partial / "unreadable.csv", "w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows([("source", "reason"), *self._unreadable])
        from morphoscope import __version__

        meta = self.meta.model_copy(
            update={
                "count": self.count,
                "image_shape": self.image_shape,
                "sky_group_radius": radius,
                "unreadable": len(self._unreadable),
                "program_version": __version__,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )
        text = yaml.safe_dump(meta.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        (self.partial / "store.yaml").write_text(text, encoding="utf-8")
        files.refuse_existing(self.out, overwrite=self.overwrite, mark="store.yaml")  # it may be new
        files.put_in_place(self.partial, self.out)

    def _sky_group_radius(self) -> float:
        from morphoscope.data.sky import default_group_radius

        if self.meta.sky_group_radius is not None:
            return self.meta.sky_group_radius
        return default_group_radius(self.meta.pixel_scale, self.image_shape[0])
