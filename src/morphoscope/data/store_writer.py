"""Write a store image by image, in constant memory; it appears complete or not at all.

Rows of the table are written in chunks to a temporary Parquet file and get their sky groups at the end.
"""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from morphoscope import files
from morphoscope.data.store import (
    MASK_HASH,
    STANDARD_COLUMNS,
    MaskWriter,
    StoreMeta,
    pixel_hash,
    write_npy_header,
)
from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean, reason_of
from morphoscope.images.stretch import MOST_PLANES
from morphoscope.images.table_csv import guarded
from morphoscope.labels.scheme import Scheme


class StoreWriter:
    """Write a store row by row in constant memory.

    ::

        with StoreWriter(out, meta, image_shape=(256, 256, 3)) as writer:
            writer.append(image_HWC, {"id": "a", "ra": 10.0, "dec": -1.0, "label": 3, "source": "a.jpg"})

    The store appears when the block ends; an error or Ctrl-C inside it leaves nothing behind. A killed
    process leaves only a hidden ``.NAME.partial-*`` folder, which the next writer removes.

    Args:
        out: folder of the store.
        meta: metadata; count, shape, date and version are filled in. If it names ``mask_components``, every
            image needs a mask.
        image_shape: (H, W, C) of every image.
        dtype: of every image.
        extra: further table columns beyond the scheme's, name → Arrow type.
        expected: number of images, to check for free disk space in advance.
        overwrite: replace an existing store; a folder that is not a store is never deleted.

    Raises:
        UsageError: ``out`` may not be written, or a label column has the name of a standard column.
        MorphoscopeError: the disk has too little space for ``expected`` images.
    """

    def __init__(
        self,
        out: Path | str,
        meta: StoreMeta,
        *,
        image_shape: tuple[int, int, int],
        dtype: str | np.dtype = "uint8",
        extra: dict[str, pa.DataType] | None = None,
        expected: int = 0,
        overwrite: bool = False,
    ) -> None:
        self.out = Path(out)
        self.meta = meta
        self.image_shape, self.dtype = image_shape, np.dtype(dtype)
        if meta.bands and len(meta.bands) != image_shape[2]:
            raise UsageError(
                f"{self.out}: {len(meta.bands)} bands are named ({', '.join(meta.bands)}), and the images "
                f"have {image_shape[2]} channels"
            )
        if self.dtype not in (np.uint8, np.float32) or not 1 <= image_shape[2] <= MOST_PLANES:
            raise MorphoscopeError(
                f"{self.out}: images are {image_shape} {self.dtype}; (H, W, C) with 1 to {MOST_PLANES} "
                "channels, uint8 or float32, were expected"
            )
        self.overwrite = overwrite
        self.count = 0
        files.refuse_existing(self.out, overwrite=overwrite, mark="store.yaml")
        masked = bool(meta.mask_components)
        bytes_each = image_shape[0] * image_shape[1] * (image_shape[2] * self.dtype.itemsize + masked)
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
                write_npy_header(self._images, (self.count, *self.image_shape), self.dtype.name)
                if self._masks is not None:
                    self._masks.open(self.partial)
                    undo.callback(self._masks.close)
                self._table.open(self.partial)
                undo.pop_all()
        return self

    def append(self, image_HWC: np.ndarray, row: dict[str, Any], mask_HW: np.ndarray | None = None) -> None:
        """Add one galaxy; columns missing from ``row`` are empty (NaN coordinates, label −1).

        ``row`` may contain the image's ``pixel_hash``, if another thread has already computed it.
        ``mask_HW`` is its (H, W) uint8 bit mask, in a store with masks.

        Raises:
            MorphoscopeError: the image or the mask does not have the store's shape, the labels do not fit
                its scheme, or ``row`` has a column that the store does not.
        """
        if image_HWC.shape != self.image_shape or image_HWC.dtype != self.dtype:
            raise MorphoscopeError(
                f"{row.get('source', row.get('id'))}: image is {image_HWC.shape} {image_HWC.dtype}, "
                f"the store's images are {self.image_shape} {self.dtype}; pass --size to scale all to one "
                "size"
            )
        self._table.check(row)
        if (self._masks is None) != (mask_HW is None):
            name = row.get("source", row.get("id"))
            raise MorphoscopeError(f"{name}: either all images of a store have masks or none do")
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
        """Record an image that could not be read; it is listed in ``unreadable.csv``."""
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
            reason = "there were no images"
            if self._unreadable:
                reason = f"no image could be read (the first, {': '.join(self._unreadable[0])})"
            raise MorphoscopeError(f"{self.out}: no store was made: {reason}")
        write_npy_header(self._images, (self.count, *self.image_shape), self.dtype.name)
        self._images.flush()
        os.fsync(self._images.fileno())
        if self._masks is not None:
            self._masks.finish()
        radius = self._sky_group_radius()
        self._table.finish(radius)
        if self._unreadable:
            with open(self.partial / "unreadable.csv", "w", newline="", encoding="utf-8") as file:
                lines = [("source", "reason"), *(map(guarded, line) for line in self._unreadable)]
                csv.writer(file, lineterminator="\n").writerows(lines)
        from morphoscope.version import __version__

        meta = self.meta.model_copy(
            update={
                "count": self.count,
                "image_shape": self.image_shape,
                "dtype": self.dtype.name,
                # Earlier programs read stores of colour pictures.
                "format_version": 2 if self.meta.bands or self.dtype != np.uint8 else 1,
                "sky_group_radius": radius,
                "unreadable": len(self._unreadable),
                "program_version": __version__,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )
        text = yaml.safe_dump(meta.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        (self.partial / "store.yaml").write_text(text, encoding="utf-8")
        files.refuse_existing(self.out, overwrite=self.overwrite, mark="store.yaml")  # made in the meantime
        files.put_in_place(self.partial, self.out)

    def _sky_group_radius(self) -> float:
        from morphoscope.data.sky import default_group_radius

        if self.meta.sky_group_radius is not None:
            return self.meta.sky_group_radius
        return default_group_radius(self.meta.pixel_scale, self.image_shape[0])


CHUNK_ROWS = 1024  # rows buffered before they are written


def table_schema(scheme: Scheme | None, extra: dict[str, pa.DataType]) -> pa.Schema:
    """The columns of a store's table in their order, ``sky_group`` last.

    Args:
        scheme: its label columns follow the coordinates; None: no labels.
        extra: further columns; those that share a name with another column are left out.

    Raises:
        UsageError: a label column has the name of a standard column.
    """
    fields = [pa.field("id", pa.string()), pa.field("ra", pa.float64()), pa.field("dec", pa.float64())]
    if scheme is not None:
        clash = set(scheme.columns) & set(STANDARD_COLUMNS)
        if clash:
            raise UsageError(f"a label column may not be called {', '.join(sorted(clash))}; rename it")
        fields += [pa.field(name, scheme.column_type) for name in scheme.columns]
    taken = {field.name for field in fields} | set(STANDARD_COLUMNS)
    fields += [pa.field(name, kind) for name, kind in extra.items() if name not in taken]
    fields += [pa.field("source", pa.string()), pa.field("pixel_hash", pa.string())]
    return pa.schema([*fields, pa.field("sky_group", pa.int64())])


class RowWriter:
    """Write a store's table in constant memory.

    Args:
        scheme: of the labels.
        extra: further columns, name → Arrow type.
    """

    def __init__(self, scheme: Scheme | None, extra: dict[str, pa.DataType]) -> None:
        self.scheme = scheme
        self.schema = table_schema(scheme, extra)
        self._names = frozenset(self.schema.names)
        self._waiting: list[dict[str, Any]] = []
        self._file: pq.ParquetWriter | None = None

    def open(self, folder: Path) -> None:
        """Start writing in ``folder``."""
        self._folder = folder
        self._file = pq.ParquetWriter(folder / "rows.parquet", self._ungrouped)

    @property
    def _ungrouped(self) -> pa.Schema:
        return self.schema.remove(self.schema.get_field_index("sky_group"))

    def check(self, row: dict[str, Any]) -> None:
        """Check that a row fits the table.

        Raises:
            MorphoscopeError: it has an unknown column, a label outside the scheme, or votes outside 0 to 1;
                the message names its source.
        """
        if not self._names.issuperset(row):
            unknown = row.keys() - self._names
            raise MorphoscopeError(
                f"{_name(row)}: the store has no column {', '.join(sorted(unknown))}"
                f"{did_you_mean(min(unknown), self.schema.names, 'columns')}"
            )
        if self.scheme is not None:
            self.scheme.check_row(row, _name(row))

    def append(self, row: dict[str, Any]) -> None:
        """Add one row; missing columns are empty (NaN for numbers, −1 for labels, else null)."""
        self._waiting.append(row)
        if len(self._waiting) >= CHUNK_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        columns = {}
        for field in self._ungrouped:
            empty = self._empty(field)
            values = [row.get(field.name, empty) for row in self._waiting]
            try:
                columns[field.name] = pa.array(values, field.type)
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise MorphoscopeError(
                    f"column {field.name} cannot be stored as {field.type}: {reason_of(error)}"
                ) from error
        self._writer.write_table(pa.table(columns, schema=self._ungrouped))
        self._waiting.clear()

    @property
    def _writer(self) -> pq.ParquetWriter:
        assert self._file is not None, "open() comes first"
        return self._file

    def _empty(self, field: pa.Field) -> Any:
        if self.scheme is not None and field.name in self.scheme.columns:
            return self.scheme.missing
        return np.nan if pa.types.is_floating(field.type) else None

    def finish(self, radius: float) -> None:
        """Write ``table.parquet``: all rows, with the sky group that needs all coordinates at once.

        Args:
            radius: arcsec within which galaxies are one group (see sky.py).
        """
        from morphoscope.data.sky import sky_groups

        self._flush()
        self._writer.close()
        path = self._folder / "rows.parquet"
        with (
            pq.ParquetFile(path, memory_map=True, pre_buffer=False) as rows,
            pq.ParquetWriter(self._folder / "table.parquet", self.schema) as table,
        ):
            sky = rows.read(columns=["ra", "dec"])
            groups = sky_groups(sky["ra"].to_numpy(), sky["dec"].to_numpy(), radius)
            start = 0
            for batch in rows.iter_batches(CHUNK_ROWS):
                part = pa.array(groups[start : start + batch.num_rows], pa.int64())
                table.write_table(pa.Table.from_batches([batch]).append_column("sky_group", part))
                start += batch.num_rows
        path.unlink()

    def close(self) -> None:
        """Close the file; what could not be written is lost."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk once more, while the last rows are written out
                self._file.close()


def _name(row: dict[str, Any]) -> str:
    return str(row.get("source") or row.get("id"))
