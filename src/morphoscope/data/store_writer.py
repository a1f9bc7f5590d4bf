"""Writing a store: image by image, in constant memory, put in place whole or not at all."""

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
import yaml

from morphoscope import files
from morphoscope.data.masks import MASK_HASH, MaskWriter, write_npy_header
from morphoscope.data.rows import RowWriter
from morphoscope.data.store import StoreMeta, pixel_hash
from morphoscope.errors import MorphoscopeError


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
