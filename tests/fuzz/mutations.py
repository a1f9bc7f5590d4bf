"""Damage to files, drawn from a seed: bits, cuts, lengths, and edits of the fields that a format has.

:func:`mutated` damages a file's content by its kind; :func:`mutated_folder` one of a folder's files.
:func:`rewritten` changes how a file is written, and not what it says.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import shutil
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Random = random.Random
KINDS = {
    **dict.fromkeys((".json",), "json"),
    **dict.fromkeys((".yaml",), "yaml"),
    **dict.fromkeys((".csv", ".ecsv", ".properties", ".tsv"), "text"),
    **dict.fromkeys((".vot", ".xml"), "xml"),
    **dict.fromkeys((".fits",), "fits"),
    **dict.fromkeys((".zip", ".ckpt"), "zip"),
    **dict.fromkeys((".tar",), "tar"),
    **dict.fromkeys((".gz", ".tgz"), "gzip"),
    **dict.fromkeys((".safetensors",), "safetensors"),
}
_NUMBERS = (
    *(0, 1, -1, 2, 7, 127, 128, 255, 256, 999, 1000, 65535, 65536),
    *(2**31 - 1, 2**31, 2**32, 2**63, 10**30),
)
_CARDS = (  # that few files have, and that programs follow
    *("WCSAXES", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "PCOUNT", "GCOUNT", "GROUPS", "THEAP", "TFIELDS"),
    *("A_ORDER", "B_ORDER", "AP_ORDER", "A_2_0", "CTYPE3", "CRVAL3", "CD3_3", "PV1_1", "PV2_39", "PS1_0"),
    *("TDIM1", "TNULL1", "TZERO1", "TSCAL1", "BLANK", "BZERO", "BSCALE", "XTENSION", "ZIMAGE", "ZBITPIX"),
    *("LONPOLE", "EQUINOX", "RADESYS", "DATE-OBS", "CPDIS1", "D2IMDIS1", "ROWORDER", "LONGSTRN", "INHERIT"),
)
_DEPTH = 50_000  # far beyond what any reader follows


def kind_of(name: str) -> str:
    """How a file of this name is written; "bytes" if nothing better is known."""
    return KINDS.get(Path(name).suffix.lower(), "bytes")


def mutated(content: bytes, kind: str, draw: Random, other: bytes = b"") -> bytes:
    """A damaged copy, the same for the same ``draw``.

    Args:
        content: of a whole file.
        kind: as :func:`kind_of` gives it.
        draw: where the damage comes from.
        other: of another file, pieces of which may be spliced in.
    """
    of_fields = _OF_FIELDS.get(kind)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        if of_fields is not None and draw.random() < 0.6:
            content = of_fields(content, draw)
        else:
            content = draw.choice(_OF_BYTES)(content, draw, other)
    return content


def mutated_folder(folder: Path, draw: Random) -> None:
    """Damage one file of a folder where it lies, or take it away, empty it, or put something in its place."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = draw.choice(files)
    what = draw.random()
    if what < 0.8:
        path.write_bytes(
            mutated(path.read_bytes(), kind_of(path.name), draw, draw.choice(files).read_bytes())
        )
    elif what < 0.85:
        path.unlink()
    elif what < 0.9:
        path.write_bytes(b"")
    elif what < 0.95:
        path.write_bytes(draw.choice(files).read_bytes())
    else:
        path.unlink()
        path.mkdir()


# ---------------------------------------------------------------- bytes


def _flip(content: bytes, draw: Random, other: bytes) -> bytes:
    damaged = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        if damaged:
            damaged[_place(damaged, draw)] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def _cut(content: bytes, draw: Random, other: bytes) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _drop(content: bytes, draw: Random, other: bytes) -> bytes:
    start = draw.randrange(len(content) + 1)
    return content[:start] + content[start + draw.choice((1, 2, 4, 80, 512, 4096)) :]


def _repeat(content: bytes, draw: Random, other: bytes) -> bytes:
    start, length = draw.randrange(len(content) + 1), draw.choice((1, 4, 80, 512, 2880))
    return content[:start] + content[start : start + length] * draw.choice((2, 3, 50)) + content[start:]


def _swap(content: bytes, draw: Random, other: bytes) -> bytes:
    one, two = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    return content[two:] + content[one:two] + content[:one]


def _splice(content: bytes, draw: Random, other: bytes) -> bytes:
    start, length = draw.randrange(len(other) + 1), draw.choice((1, 8, 64, 1024))
    at = draw.randrange(len(content) + 1)
    return content[:at] + other[start : start + length] + content[at + draw.choice((0, length)) :]


def _length_field(content: bytes, draw: Random, other: bytes) -> bytes:
    """A number of 1 to 8 bytes, as sizes, counts and offsets are, replaced by one at an edge."""
    width, order = draw.choice((1, 2, 4, 8)), draw.choice(("little", "big"))
    at = _place(content, draw)
    number = draw.choice(_NUMBERS) % (1 << 8 * width)
    return content[:at] + number.to_bytes(width, order) + content[at + width :]


def _zeros(content: bytes, draw: Random, other: bytes) -> bytes:
    at, length = _place(content, draw), draw.choice((1, 16, 512))
    return content[:at] + draw.choice((b"\0", b"\xff", b" ")) * length + content[at + length :]


def _place(content: bytes | bytearray, draw: Random) -> int:
    """A place, more often near the ends, where the headers and the lists of contents are."""
    length = max(len(content), 1)
    near = min(length, 512)
    return min(
        draw.choice((draw.randrange(length), draw.randrange(near), length - 1 - draw.randrange(near))), length
    )


_OF_BYTES = (_flip, _flip, _cut, _drop, _repeat, _swap, _splice, _length_field, _length_field, _zeros)

# ---------------------------------------------------------------- values and documents


def _value(draw: Random) -> Any:
    """Something that a field may not be."""
    return draw.choice(
        (
            None, True, False, "", " ", "\0", "\ud800", "a" * 10_000, "\x1b[2J", "../../x", "<b>",
            "$\\frac", "=1+1", "nan", "1e999", [], {}, [[]], [None], {"a": 1}, {"": {}}, [1, "a"], 0.5,
            -0.0, 1e308, float("nan"), float("inf"), -1e-320, *_NUMBERS,
        )
    )  # fmt: skip


def _edited(values: Any, draw: Random) -> Any:
    """A document with one of its values changed, gone, renamed or moved."""
    places = list(_places(values))
    if not places:
        return _value(draw)
    holder, key = draw.choice(places)
    what = draw.random()
    if what < 0.6:
        holder[key] = _value(draw)
    elif what < 0.75:
        del holder[key]
    elif what < 0.85:
        other, its = draw.choice(places)
        holder[key] = other[its]
    elif isinstance(holder, dict):
        holder[draw.choice(("x", "", "format_version", "kind", "__class__", 1, None))] = holder.pop(key)
    else:
        holder[key:key] = [holder[key]] * draw.choice((1, 3, 1000))
    return values


def _places(values: Any, depth: int = 0) -> Any:
    items = (
        values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    )
    for key, value in items:
        yield values, key
        if depth < 12:
            yield from _places(value, depth + 1)


def _json(content: bytes, draw: Random) -> bytes:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return _text(content, draw)
    if draw.random() < 0.15:
        text = json.dumps(values)
        inner = draw.choice(
            ("[" * _DEPTH, '{"a":' * _DEPTH, "1" * 5000, "NaN", "-Infinity", '"\\ud800"', "1e999")
        )
        return re.sub(r"(?<=: )[^,{}\[\]]+", lambda _: inner, text, count=draw.choice((1, 1, 3))).encode()
    try:
        return json.dumps(_edited(values, draw)).encode("utf-8", "surrogatepass")
    except (ValueError, TypeError, RecursionError):
        return _text(content, draw)


def _yaml(content: bytes, draw: Random) -> bytes:
    text = content.decode("utf-8", "replace")
    if draw.random() < 0.5:
        try:
            values = _edited(yaml.safe_load(text), draw)
            return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode(
                "utf-8", "surrogatepass"
            )
        except (yaml.YAMLError, ValueError, TypeError, RecursionError, AttributeError, LookupError):
            pass
    scalar = draw.choice(
        (
            "2024-13-45", "2024-01-01T99:99:99", "!!python/object:os.x {}", "!!binary x", "!!set {a}",
            "!!omap [1]", "!!timestamp x", "!!int x", "!!float x", "!!bool x", "1:60:99", "0o9", "0b",
            "0x", "._", "1_", "&a [*a]", "*none", "<<", "=", ".inf", "-.inf", ".nan", "'", '"', "{",
            "[" * _DEPTH, "{a: " * _DEPTH, "- " * _DEPTH, "&a [x], b: &b [*a, *a], c: [*b, *b]", "? a",
            "|\n x", "%TAG", "---", "...", "\t", "9" * 5000, "- a",
        )
    )  # fmt: skip
    lines = text.splitlines()
    if not lines:
        return scalar.encode()
    at = draw.randrange(len(lines))
    key, colon, _ = lines[at].partition(":")
    lines[at] = f"{key}{colon} {scalar}" if colon else scalar
    return "\n".join(lines).encode()


def _text(content: bytes, draw: Random) -> bytes:
    """Cells, lines and words of a text table."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return b"a"
    at, what = draw.randrange(len(lines)), draw.random()
    if what < 0.2:
        lines[at] = draw.choice(
            (b"", lines[at] * 2, lines[at][::-1], b"#" + lines[at], b'"' + lines[at], b"\n\n")
        )
    elif what < 0.3:
        other = draw.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    elif what < 0.4:
        old, new = draw.choice(((b",", b";"), (b",", b"\t"), (b"\n", b"\r"), (b"\n", b"\r\n"), (b",", b",,")))
        lines = [line.replace(old, new) for line in lines]
    else:
        cells = re.split(rb"([,:=\s])", lines[at])
        cells[draw.randrange(len(cells))] = _word(draw)
        lines[at] = b"".join(cells)
    return b"".join(lines)


def _word(draw: Random) -> bytes:
    return draw.choice(
        (
            b"", b"nan", b"-1", b"1e999", b"9" * 400, b"0x1f", b"\0", b"\xff\xfe", b"\xc3", b'"',
            b'"a,b"', b"'", b"=1", b"a" * 5000, b"1" * 5000, b"\x1b[2J", b"T", b"--", b"int64",
            b"float16", b"object", b"2024-13-45", b"[" * 2000, b"&a [*a]", b"{", b"!!python/x",
            b"../x.png", b"/dev/zero", b"\xe2\x80\xae", b"*", b"$x$",
            *(str(number).encode() for number in _NUMBERS),
        )
    )  # fmt: skip


def _xml(content: bytes, draw: Random) -> bytes:
    """Attributes, texts and elements."""
    pattern = draw.choice((rb'="[^"]*"', rb">[^<]*<", rb"<[^/!?][^>]*>", rb"</[^>]*>"))
    found = list(re.finditer(pattern, content))
    if not found:
        return _text(content, draw)
    hit = draw.choice(found)
    word = _word(draw)
    if pattern.startswith(b"="):
        new = (
            b'="'
            + draw.choice((word, b"char", b"double", b"bit", b"*", b"0x0", b"unicodeChar", b"binary"))
            + b'"'
        )
    elif pattern.startswith(b">"):
        new = (
            b">"
            + draw.choice((word, b"&#0;", b"&none;", b"<![CDATA[", b"<TR><TD>", b"<TABLE>" * 3000))
            + b"<"
        )
    else:
        new = draw.choice((b"", hit[0] * 2, hit[0].lower(), hit[0].replace(b" ", b"  "), b"<X>"))
    return content[: hit.start()] + new + content[hit.end() :]


def _fits(content: bytes, draw: Random) -> bytes:
    """Cards of the headers."""
    cards = [
        at
        for at in range(0, len(content) - 79, 80)
        if re.match(rb"[A-Z0-9_-]{1,8} *(= |$)", content[at : at + 80])
    ]
    if not cards:
        return _text(content, draw)
    at = draw.choice(cards)
    card = content[at : at + 80]
    what = draw.random()
    if what < 0.7:
        value = draw.choice(
            (
                *(str(number) for number in _NUMBERS), "T", "F", "", "''", "'a'", "'x'", "1.5", "-0.0",
                "1E400", "NaN", "'1PB(999999999)'", "'999999999D'", "'A'", "'0A'", "'RA---XXX'", "'Q'",
                "'1PD'", "(1, 2)", "'", "8", "16", "-32", "-64", "'RICE_1'", "'HCOMPRESS_1'", "'PLIO_1'",
                "'GZIP_2'", "'NOCOMPRESS'",
            )
        )  # fmt: skip
        name = card[:8] if draw.random() < 0.75 else draw.choice(_CARDS).ljust(8).encode()
        new = name + b"= " + value.rjust(20).encode()
    elif what < 0.8:
        new = b""
    elif what < 0.9:
        other = draw.choice(cards)
        new = content[other : other + 80]
    else:
        new = draw.choice(
            (b"END", b"NAXIS9  = 5", b"ZIMAGE  =  T", b"CONTINUE  'a'", b"HIERARCH a b = 1", b"\xff" * 80)
        )
    return content[:at] + (new.ljust(80)[:80] if new else b"") + content[at + 80 :]


# ---------------------------------------------------------------- files in files


def _zip(content: bytes, draw: Random) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(each.filename, archive.read(each)) for each in archive.infolist()]
    except Exception:  # damaged already
        return _flip(content, draw, b"")
    members = _members(members, draw)
    out = io.BytesIO()
    pack = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", pack) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, data in members:
            archive.writestr(name or "x", data)
    return out.getvalue()


def _tar(content: bytes, draw: Random) -> bytes:
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            members = [(each.name, archive.extractfile(each).read()) for each in archive if each.isfile()]  # type: ignore[union-attr]
    except Exception:  # damaged already
        return _flip(content, draw, b"")
    out = io.BytesIO()
    form = draw.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in _members(members, draw):
            info = tarfile.TarInfo(name[:90])
            info.size = len(data)
            if draw.random() < 0.1:
                info.type = draw.choice(
                    (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, b"S", b"x")
                )
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _members(members: list[tuple[str, bytes]], draw: Random) -> list[tuple[str, bytes]]:
    """Members of an archive, one of them damaged, renamed, doubled or gone, or two exchanged."""
    if not members:
        return [("x.json", b"{}")]
    at, other = draw.randrange(len(members)), draw.randrange(len(members))
    name, data = members[at]
    what = draw.random()
    if what < 0.5:
        members[at] = (name, mutated(data, kind_of(name), draw, members[other][1]))
    elif what < 0.65:
        names = (
            "../x.png",
            "/x.png",
            "a\\b.png",
            "x" * 80 + ".png",
            "a/../b.json",
            "\x1b.png",
            "é.png",
            "x.cls",
            "x",
        )
        members[at] = (draw.choice(names), data)
    elif what < 0.8:
        members[at], members[other] = (name, members[other][1]), (members[other][0], data)
    elif what < 0.9:
        members.append(members[at])
    else:
        del members[at]
    return members


def _gzip(content: bytes, draw: Random) -> bytes:
    try:
        inner = gzip.decompress(content)
    except Exception:  # damaged already
        return _flip(content, draw, b"")
    kind = "tar" if inner[257:262] == b"ustar" else "fits" if inner.startswith(b"SIMPLE") else "text"
    return gzip.compress(mutated(inner, kind, draw, content), 1, mtime=0)


def _safetensors(content: bytes, draw: Random) -> bytes:
    """The description of the tensors, with the length before it mended or not."""
    try:
        length = struct.unpack("<Q", content[:8])[0]
        head, rest = content[8 : 8 + length], content[8 + length :]
        head = _json(head, draw)
    except Exception:  # damaged already
        return _flip(content, draw, b"")
    said = len(head) if draw.random() < 0.9 else draw.choice(_NUMBERS) % 2**64
    return struct.pack("<Q", said) + head + rest


_OF_FIELDS: dict[str, Callable[[bytes, Random], bytes]] = {
    "json": _json,
    "yaml": _yaml,
    "text": _text,
    "xml": _xml,
    "fits": _fits,
    "zip": _zip,
    "tar": _tar,
    "gzip": _gzip,
    "safetensors": _safetensors,
}

# ---------------------------------------------------------------- the same, written otherwise


def rewritten(content: bytes, kind: str, draw: Random) -> bytes | None:
    """The same content in other words; None where the kind has none that are known to mean the same."""
    if kind == "json":
        return json.dumps(
            json.loads(content), indent=draw.choice((None, 1, 4)), ensure_ascii=draw.random() < 0.5
        ).encode()
    if kind == "yaml":
        text = content.decode()
        return draw.choice(
            (f"# a comment\n{text}", text.replace("\n", "\r\n"), f"---\n{text}", f"{text}\n\n")
        ).encode()
    if kind == "xml":
        return content.replace(b">\n", draw.choice((b"><!-- a comment -->\n", b">\r\n", b">\n\n")))
    if kind == "zip":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(each.filename, archive.read(each)) for each in archive.infolist()]
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
            for name, data in members:
                archive.writestr(name, data)
        return out.getvalue()
    if kind == "gzip":
        return gzip.compress(gzip.decompress(content), draw.choice((1, 6, 9)), mtime=draw.randrange(2**31))
    if kind == "fits":  # a comment in the place of a blank card, or blanks behind the end
        blank = content.find(b"END" + b" " * 77)
        if blank >= 0 and (blank + 160) % 2880 and content[blank + 80 : blank + 160] == b" " * 80:
            return (
                content[:blank]
                + b"COMMENT said".ljust(80)
                + content[blank : blank + 80]
                + content[blank + 160 :]
            )
    return None


def copied(template: Path, place: Path) -> None:
    """A copy of a file or folder at ``place``, which is emptied first."""
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    if template.is_dir():
        shutil.copytree(template, place)
    else:
        shutil.copyfile(template, place)
