"""Arrow's own files, as Hugging Face's ``save_to_disk`` writes data sets (``data-00000-of-00001.arrow``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class ArrowTable:
    """An Arrow stream or file, mapped into memory and not read until asked.

    Attributes:
        path: the file.
        types: columns with their types.
    """

    path: Path
    types: dict[str, pa.DataType]

    @property
    def names(self) -> list[str]:
        """The columns."""
        return list(self.types)

    @property
    def units(self) -> dict[str, str]:
        """Arrow's files have none."""
        return {}

    @property
    def ucds(self) -> dict[str, str]:
        """Arrow's files have none."""
        return {}

    @classmethod
    def of(cls, path: Path) -> ArrowTable:
        """The columns of a file.

        Raises:
            pyarrow.ArrowException: it is damaged.
        """
        with pa.memory_map(str(path)) as source:
            return cls(path, {field.name: field.type for field in _opened(source).schema})

    def pieces(self, wanted: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """Some columns in pieces of up to ``rows`` rows."""
        with pa.memory_map(str(self.path)) as source:
            for batch in _batches(_opened(source)):
                part = batch.select(list(wanted))
                part.validate(full=True)
                for start in range(0, part.num_rows, rows):
                    yield pa.Table.from_batches([part.slice(start, rows)])

    def count(self) -> int:
        """The number of rows."""
        with pa.memory_map(str(self.path)) as source:
            return sum(batch.num_rows for batch in _batches(_opened(source)))


def _opened(source: Any) -> Any:
    """Hugging Face writes streams, other programs files, which begin with ARROW1."""
    start = source.read(6)
    source.seek(0)
    return pa.ipc.open_file(source) if start == b"ARROW1" else pa.ipc.open_stream(source)


def _batches(reader: Any) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
    else:
        yield from reader
