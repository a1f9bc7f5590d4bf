"""Ingest Galaxy Zoo – The Galaxy Challenge (Kaggle), from folders or from the zip files as downloaded.

``images_training_rev1/<GalaxyID>.jpg`` (61,578), ``training_solutions_rev1.csv`` (37 vote fractions) and
``images_test_rev1/`` (79,975, without labels). Zip files are read without unpacking them, including the
outer ``galaxy-zoo-the-galaxy-challenge.zip``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from morphoscope.data.ingest import refuse_out, write_store
from morphoscope.data.sources.vote_columns import votes_of_fractions
from morphoscope.data.store import Store, StoreMeta
from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean
from morphoscope.files import read_bytes
from morphoscope.images.archives import Files, Zip, open_files
from morphoscope.images.decode import read_image
from morphoscope.images.stream import Item
from morphoscope.images.tables import need_columns, numbers, read_csv, read_table, texts
from morphoscope.labels.scheme import UNLABELLED, Classes, Scheme
from morphoscope.progress import note

TRAINING, TEST, SOLUTIONS = "images_training_rev1", "images_test_rev1", "training_solutions_rev1"
OUTER_ZIP = "galaxy-zoo-the-galaxy-challenge.zip"
SCHEMES = ("votes", "vote-counts", "five-class", "none")
UNMATCHED = ("skip", "keep", "error")
_IMAGE_NAME = re.compile(r"(\d+)\.jpe?g$", re.IGNORECASE)


@dataclass(frozen=True)
class _Labels:
    """Labels of the galaxies, by id."""

    scheme: Scheme | None
    rows: dict[str, dict[str, Any]]
    unclassified: int = 0  # galaxies in none of the scheme's classes


def ingest_galaxy_zoo(
    source: Path | str,
    out: Path | str,
    *,
    scheme: str = "votes",
    labels: Path | str | None = None,
    unmatched: str = "skip",
    spiral_threshold: float = 0.619,
    volunteers: int | None = None,
    crop: int | None = None,
    size: int | None = None,
    overwrite: bool = False,
    workers: int | None = None,
) -> Store:
    """Make a store of the challenge's training images, or of its test images if those are all there is.

    Args:
        source: a folder with ``images_training_rev1`` and ``training_solutions_rev1*.csv`` (as folders and
            files, or as zip files), one of these image folders or zip files, or the outer zip file.
        out: folder of the store.
        scheme: "votes": the 37 fractions; "vote-counts": the votes of some ``volunteers`` with these
            fractions; "five-class": `tong`'s five classes; "none": no labels. Test images never have labels.
        labels: a CSV to use instead of the solutions: for "votes" with their columns, for "five-class"
            with the columns GalaxyID and Label (0 to 4, or class names).
        unmatched: what to do with an image without a label: "skip" it, "keep" it unlabelled, or "error".
            Labels without an image are skipped, or an "error".
        spiral_threshold: smallest Class4.1 of a spiral (`tong` prints 0.619).
        volunteers: how many are taken to have looked at each galaxy, for "vote-counts": the challenge has
            fractions and not their number.
        crop: side of the centre crop; see :func:`morphoscope.data.ingest.write_store` for this and the rest.
        size: side the crop is scaled to.
        overwrite: replace an existing store.
        workers: decoding threads.

    Raises:
        UsageError: ``source`` has no files of the challenge, or an unknown scheme or missing column.
        MorphoscopeError: votes that violate the tree's sums (galaxy and question are named), labels outside
            the scheme, no image with a label, damaged zip files.
    """
    source, out = Path(source), Path(out)
    _check_choice("scheme", scheme, SCHEMES)
    _check_choice("unmatched", unmatched, UNMATCHED)
    if (scheme == "vote-counts") != (volunteers is not None) or (volunteers is not None and volunteers < 1):
        raise UsageError(
            "--scheme vote-counts needs --volunteers N, the number taken to have looked at each galaxy (some "
            "forty in Galaxy Zoo 2); other schemes have none"
        )
    refuse_out(out, overwrite=overwrite)
    if not source.exists():
        raise UsageError(f"{source}: no such folder or zip file")
    with ExitStack() as stack:
        images = _find_images(source, stack)
        if images is None:
            raise UsageError(
                f"{source}: has neither {TRAINING} nor {TEST}, as a folder or as a zip file; "
                "the Kaggle data as downloaded were expected"
            )
        files, names, part = images
        if part == TEST or scheme == "none":
            known = _Labels(None, {})
        else:
            known = _labels(source, scheme, labels, spiral_threshold, volunteers, stack)
            names = _matched(names, known, unmatched, files.label)
        meta = StoreMeta(
            scheme=known.scheme,
            source=f"Galaxy Zoo – The Galaxy Challenge, {part}",
            options={"scheme": scheme, "labels": Path(labels).name if labels else None}
            | ({} if volunteers is None else {"volunteers": volunteers}),
        )
        return write_store(
            _items(files, names, known),
            out,
            meta,
            crop=crop,
            size=size,
            expected=len(names),
            overwrite=overwrite,
            workers=workers,
        )


def _check_choice(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"--{option} {value}: unknown value{did_you_mean(value, known, 'values')}")


def _find_images(source: Path, stack: ExitStack) -> tuple[Files, list[str], str] | None:
    """The files, the names of the images among them, and which part of the challenge they are."""
    folder, only = _folder_and_part(source)
    files = stack.enter_context(_closing(open_files(folder, _inside())))
    for part in (only,) if only else (TRAINING, TEST):
        found = _find_part(files, part, stack)
        if found is not None:
            return *found, part
    if only is None and (loose := [name for name in files.names if _is_galaxy(name) and "/" not in name]):
        return files, loose, TRAINING
    return None


def _folder_and_part(source: Path) -> tuple[Path, str | None]:
    """The folder to search (that around an image folder has the solutions), and the only part to use."""
    source = source.absolute()
    for part in (TRAINING, TEST):
        if source.name in (part, f"{part}.zip"):
            return source.parent, part
    return source, None


def _inside() -> tuple[str, ...]:
    return tuple(inner for part in (TRAINING, TEST, SOLUTIONS) for inner in (part, f"{part}/{part}"))


def _find_part(files: Files, part: str, stack: ExitStack) -> tuple[Files, list[str]] | None:
    names = [name for name in files.names if _is_galaxy(name) and part in PurePosixPath(name).parts[:-1]]
    if names:
        return files, names
    for name in files.names:
        inner = PurePosixPath(name).name
        if inner == f"{part}.zip":
            images = _inner_zip(files, name, stack)
            return images, [image for image in images.names if _is_galaxy(image)]
        if inner == OUTER_ZIP and (found := _find_part(_inner_zip(files, name, stack), part, stack)):
            return found
    return None


def _is_galaxy(name: str) -> bool:
    return _IMAGE_NAME.fullmatch(PurePosixPath(name).name) is not None


def _galaxy_id(name: str) -> str:
    return PurePosixPath(name).stem


def _inner_zip(files: Files, name: str, stack: ExitStack) -> Zip:
    if isinstance(files, Zip):
        note(f"reading {name} inside {files.label}")  # if compressed, all of it is read first
    return stack.enter_context(_closing(Zip(files.open(name), f"{files.label}/{name}")))


def _closing(files: Any) -> Any:
    from contextlib import closing

    return closing(files)


def _labels(
    source: Path,
    scheme: str,
    labels: Path | str | None,
    spiral_threshold: float,
    volunteers: int | None,
    stack: ExitStack,
) -> _Labels:
    if labels is not None:
        table, where = read_table(Path(labels)), str(labels)
        if scheme == "five-class" and "Label" in table.column_names:
            return _from_classes(table, where)
    else:
        folder, _ = _folder_and_part(source)
        files = stack.enter_context(_closing(open_files(folder, _inside())))
        content, where = _find_solutions(files, stack)
        table = read_csv(content, where)
    return _from_votes(table, where, scheme, spiral_threshold, volunteers)


def _find_solutions(files: Files, stack: ExitStack) -> tuple[bytes, str]:
    for name in sorted(
        files.names, key=lambda name: (len(PurePosixPath(name).name), name)
    ):  # the complete name first
        inner = PurePosixPath(name).name
        if inner.startswith(SOLUTIONS) and inner.endswith(".csv"):
            content, where = files.content(name), f"{files.label}/{name}"
            return content if isinstance(content, bytes) else read_bytes(content, where), where
        if inner == f"{SOLUTIONS}.zip":
            return _find_solutions(_inner_zip(files, name, stack), stack)
        if inner == OUTER_ZIP:
            return _find_solutions(_inner_zip(files, name, stack), stack)
    raise UsageError(
        f"{files.label}: has training images but no {SOLUTIONS}*.csv or .zip; put it beside them, pass "
        "--labels FILE, or --scheme none for images alone"
    )


def _from_votes(
    table: Any, where: str, scheme: str, spiral_threshold: float, volunteers: int | None
) -> _Labels:
    from morphoscope.labels.scheme import GALAXY_ZOO_2_VOTES
    from morphoscope.labels.tree import GALAXY_ZOO_2

    answers = GALAXY_ZOO_2_VOTES.answers
    need_columns(table.column_names, ("GalaxyID", *answers), where)
    ids = _unique_ids(table, where)
    fractions_NK = np.stack([numbers(table, answer, where) for answer in answers], axis=1)
    try:
        GALAXY_ZOO_2.check(fractions_NK, ids, tolerance=1e-3)
    except MorphoscopeError as error:
        raise type(error)(f"{where}: {error}") from error
    if scheme == "votes":
        rows = {
            galaxy: dict(zip(answers, row, strict=True))
            for galaxy, row in zip(ids, fractions_NK.tolist(), strict=True)
        }
        return _Labels(GALAXY_ZOO_2_VOTES, rows)
    if volunteers is not None:
        return _counted(ids, votes_of_fractions(GALAXY_ZOO_2, fractions_NK, volunteers), volunteers)
    from morphoscope.labels.five_class import FIVE_CLASS, five_class_labels

    classes = five_class_labels(fractions_NK, spiral_threshold=spiral_threshold).tolist()
    return _classified(FIVE_CLASS, ids, classes)


def _counted(ids: list[str], votes_NK: np.ndarray, volunteers: int) -> _Labels:
    from morphoscope.labels.scheme import VoteCounts
    from morphoscope.labels.tree_files import tree_file

    scheme = VoteCounts(name="gz2", tree=tree_file("gz2").tree(), volunteers=volunteers)
    rows = {
        galaxy: dict(zip(scheme.columns, row, strict=True))
        for galaxy, row in zip(ids, votes_NK.astype(int).tolist(), strict=True)
    }
    return _Labels(scheme, rows)


def _from_classes(table: Any, where: str) -> _Labels:
    from morphoscope.labels.five_class import FIVE_CLASS

    need_columns(table.column_names, ("GalaxyID",), where)
    known = {str(index): index for index in range(FIVE_CLASS.outputs)}
    known |= {name: index for index, name in enumerate(FIVE_CLASS.classes)}
    known |= {"-1": UNLABELLED}
    ids, classes = _unique_ids(table, where), []
    for galaxy, label in zip(ids, texts(table, "Label"), strict=True):
        if label is not None and label not in known:
            raise MorphoscopeError(
                f"{where}: the Label of galaxy {galaxy} is '{label}'; 0 to {FIVE_CLASS.outputs - 1} "
                f"or a class name was expected ({', '.join(FIVE_CLASS.classes)})"
            )
        classes.append(UNLABELLED if label is None else known[label])
    return _classified(FIVE_CLASS, ids, classes)


def _classified(scheme: Classes, ids: list[str], classes: list[int]) -> _Labels:
    rows = {
        galaxy: {scheme.column: label}
        for galaxy, label in zip(ids, classes, strict=True)
        if label != UNLABELLED
    }
    return _Labels(scheme, rows, unclassified=len(ids) - len(rows))


def _unique_ids(table: Any, where: str) -> list[str]:
    seen: dict[str, None] = {}
    for row, galaxy in enumerate(texts(table, "GalaxyID")):
        if galaxy is None:
            raise MorphoscopeError(f"{where}: row {row + 1} has no GalaxyID")
        if galaxy in seen:
            raise MorphoscopeError(f"{where}: galaxy {galaxy} has more than one row")
        seen[galaxy] = None
    return list(seen)


def _matched(names: list[str], labels: _Labels, unmatched: str, where: str) -> list[str]:
    """The images to store; notes how many images and labels do not match."""
    ids = {_galaxy_id(name) for name in names}
    bare = [name for name in names if _galaxy_id(name) not in labels.rows]
    lost = sorted(labels.rows.keys() - ids)
    if len(bare) == len(names):
        raise MorphoscopeError(
            f"{where}: none of the {len(names)} images has one of the {len(labels.rows)} labels; "
            "the file names must be the GalaxyIDs of the table"
        )
    if not bare and not lost:
        return names
    counts = f"{len(bare)} of {len(names)} images have no label"
    if labels.unclassified:
        counts += f" ({labels.unclassified} galaxies of the table are in none of the classes)"
    counts += f", {len(lost)} of {len(labels.rows)} labels have no image"
    if unmatched == "error":
        example = _galaxy_id(bare[0]) if bare else lost[0]
        raise MorphoscopeError(f"{where}: {counts} (for example galaxy {example})")
    if unmatched == "keep":
        note(f"{where}: {counts}; these images are kept without a label, these labels are left out")
        return names
    note(f"{where}: {counts}; both are left out")
    return [name for name in names if _galaxy_id(name) in labels.rows]


def _items(files: Files, names: list[str], labels: _Labels) -> Iterator[Item]:
    for name in names:
        galaxy = _galaxy_id(name)
        row = {"id": galaxy, **labels.rows.get(galaxy, {})}
        yield Item(name, _loader(files, name), row)


def _loader(files: Files, name: str) -> Any:
    try:
        return partial(read_image, files.content(name), name=name)
    except MorphoscopeError as error:
        return partial(_fail, error)


def _fail(error: MorphoscopeError) -> Any:
    raise error
