"""Text tables: detection of delimiter, comments and encoding, and cells as text."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as pa_csv

from morphoscope.errors import MorphoscopeError
from morphoscope.images.known_columns import distinct_names, is_known
from morphoscope.images.packed import opened
from morphoscope.progress import note_once

pc: Any = pyarrow.compute  # its functions are created at import, unknown to type checkers
_DELIMITERS = ",;\t|"
_HEAD = 1 << 16  # bytes that are searched for the header and some rows
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True)
class CsvFile:
    """A text table with all cells as text.

    Attributes:
        source: a file, or its content.
        names: the columns.
        delimiter: separator of cells; a blank stands for any number of blanks.
        header: number of lines before the first row.
        encoding: character encoding.
        sample: its first rows.
    """

    source: Path | bytes
    names: tuple[str, ...]
    delimiter: str
    header: int
    encoding: str
    sample: pa.Table

    @classmethod
    def open(cls, source: Path | bytes, name: str) -> CsvFile:
        """Detect the format of a file.

        Lines that start with # before the first row are comments; the last of them has the column names if
        the line after it does not. The encoding is UTF-8, UTF-16, or else Latin-1, which a note says.

        Raises:
            MorphoscopeError: there is no header.
        """
        encoding = _encoding(source, name)
        with opened(source) as file:
            head = codecs.getincrementaldecoder(encoding)().decode(file.read(_HEAD))
        lines = head.splitlines()
        if len(head) >= _HEAD // 4 and len(lines) > 1:
            lines.pop()  # may be incomplete
        first = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith("#")), None)
        if first is None:
            raise MorphoscopeError(f"{name}: the table has no rows")
        comment = next((line for line in reversed(lines[:first]) if line.strip()), "")
        suffix = "" if isinstance(source, bytes) else source.name.lower()
        delimiter = _delimiter(lines[first:], tabs=".tsv" in suffix or ".tab" in suffix)
        cells = _split(lines[first], delimiter)
        named = _split(comment.lstrip("#").strip(), delimiter) if comment.startswith("#") else []
        in_comment = len(named) == len(cells) and _names_more(named, cells)
        rows = lines[first:] if in_comment else lines[first + 1 :]
        names = distinct_names(named if in_comment else cells)
        split = [_split(row, delimiter) for row in rows[:50] if row.strip()]
        sample = [row for row in split if len(row) == len(names)]
        columns = zip(*sample, strict=True) if sample else [()] * len(names)
        table = pa.table({n: pa.array(list(c), pa.string()) for n, c in zip(names, columns, strict=True)})
        return cls(source, tuple(names), delimiter, first + (not in_comment), encoding, table)

    def pieces(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """These columns as stripped text, in pieces of about a megabyte."""
        read = pa_csv.ReadOptions(
            skip_rows=self.header, column_names=list(self.names), encoding=self.encoding.removesuffix("-sig")
        )
        parse = pa_csv.ParseOptions(
            delimiter="\t" if self.delimiter == " " else self.delimiter,
            newlines_in_values=True,
            invalid_row_handler=lambda row: "skip" if (row.text or "").startswith("#") else "error",
        )
        convert = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(self.names, pa.string()),
            include_columns=list(columns),
            null_values=[],
            strings_can_be_null=False,
        )
        if not self.sample.num_rows and not self._has_rows():
            return
        with opened(self.source) as file:
            stream = io.BytesIO(_with_tabs(file.read())) if self.delimiter == " " else file
            with pa_csv.open_csv(stream, read, parse, convert) as reader:
                for batch in reader:
                    yield pa.table({name: self._bare(batch.column(name)) for name in columns})

    def _has_rows(self) -> bool:
        with opened(self.source) as file:
            lines = io.TextIOWrapper(file, self.encoding)
            return any(line.strip() for number, line in enumerate(lines) if number >= self.header)

    def _bare(self, column: pa.Array) -> pa.Array:
        """Cells without surrounding blanks, or quotes that follow a blank."""
        bare = pc.utf8_trim_whitespace(column)
        bare = pc.replace_substring_regex(bare, r'^"(.*)"$', r"\1")
        if self.delimiter == ";":  # then commas may be decimal commas
            bare = pc.replace_substring_regex(bare, r"^([+-]?\d+),(\d+)$", r"\1.\2")
        return bare


def _names_more(named: Sequence[str], cells: Sequence[str]) -> bool:
    """Whether the first line, rather than the other, is a header: it has known names, or the other has
    numbers.
    """
    known, others = (sum(is_known(cell) for cell in line) for line in (named, cells))
    if known != others:
        return known > others
    return any(map(_is_number, cells)) and not any(map(_is_number, named))


def _encoding(source: Path | bytes, name: str) -> str:
    with opened(source) as file:
        head = file.read(4)
        marked = next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None)
        if marked == "utf-16":
            return marked
        for odd, wide in ((1, "utf-16-le"), (0, "utf-16-be")):  # without the mark: every other byte is 0
            if len(head) == 4 and not any(head[odd::2]) and all(head[1 - odd :: 2]):
                return wide
        decoder = codecs.getincrementaldecoder("utf-8")()
        block = head
        try:
            while block:
                if not block.isascii() or decoder.getstate()[0]:
                    decoder.decode(block)
                block = file.read(1 << 20)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            note_once(f"{name}: is not UTF-8, so its letters are read as Latin-1")
            return "latin-1"
    return marked or "utf-8"


def _delimiter(lines: Sequence[str], *, tabs: bool) -> str:
    header = "".join(lines[0].split('"')[::2])  # unquoted text
    if tabs and "\t" in header:
        return "\t"
    best = max(_DELIMITERS, key=header.count)
    if header.count(best):
        return best
    counts = {len(line.split()) for line in lines[:10] if line.strip()}
    return " " if len(counts) == 1 and counts != {1} and len(lines) > 1 else ","


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == " ":
        return line.split()
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])]


def _with_tabs(content: bytes) -> bytes:
    return b"\n".join(b"\t".join(line.split()) for line in content.splitlines())


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")


def typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert text to integers, floats or booleans if all of it can be converted without losing a digit.

    ``007``, ``+7`` and numbers with more digits than a machine number can represent stay text, since they
    are names. Nulls stay null.
    """
    known = pc.drop_null(column)
    if not len(known):
        return column

    def every(pattern: str) -> bool:
        return bool(pc.all(pc.match_substring_regex(known, pattern)).as_py())

    if every(r"^(0|-?[1-9][0-9]{0,19})$"):
        for kind in (pa.int64(), pa.uint64()):
            try:
                return column.cast(kind)
            except pa.ArrowInvalid:
                continue
        return column
    if bool(pc.all(pc.is_in(known, pa.array([*_TRUE, *_FALSE]))).as_py()):
        return pc.if_else(pc.is_valid(column), pc.is_in(column, pa.array(_TRUE)), None)
    if every(
        r"^[+-]?((0|[1-9][0-9]{0,14})(\.[0-9]*)?|\.[0-9]+|(0|[1-9][0-9]*)\.[0-9]*)([eE][+-]?[0-9]+)?$|^[+-]?inf$"
    ):
        return pc.replace_substring_regex(column, r"^\+", "").cast(pa.float64())
    return column


FORMULA = r"^[=+\-@\t\r]"
_PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def guarded(text: str) -> str:
    """A CSV cell that no spreadsheet runs as a formula.

    Strings that start with ``= + - @``, a tab or a carriage return get a leading apostrophe, as OWASP
    recommends against CSV injection; numbers such as -7 do not.

    >>> [guarded(text) for text in ("=1+1", "-7", "-J12", "J12")]
    ["'=1+1", '-7', "'-J12", 'J12']
    """
    return f"'{text}" if re.match(FORMULA, text) and not _PLAIN_NUMBER.fullmatch(text) else text
