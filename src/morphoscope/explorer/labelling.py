"""Routes of labelling: what is asked, who is next, a click, undo, agreement, and the labels as a table."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, JSONResponse

from morphoscope.catalogue.formats.write import target_of, write_catalogue
from morphoscope.data.sources.labelled_table import IngestOptions
from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean
from morphoscope.explorer.agreement import Votes, summary, votes_of_people
from morphoscope.explorer.gallery import CAPTION
from morphoscope.explorer.label_queue import Done, how_far, next_rows, rows_of_standing
from morphoscope.explorer.labels_file import Click, Standing
from morphoscope.explorer.pictures import Place
from morphoscope.explorer.state import InAddress, State
from morphoscope.explorer.table import ROW
from morphoscope.explorer.thumbnails import png

MOST_NEXT = 20
MOST_LABELLED = 200_000  # galaxies of a table with images
_PIECE = 128  # images written at a time
CLASS = "class"  # key of the question where galaxies have classes


class ClickBody(BaseModel):
    """A click as the page sends it."""

    token: str = Field(max_length=100)
    person: str = Field(max_length=200)
    question: str = Field(max_length=100)
    row: int
    kind: str = Field(default="answer", max_length=20)
    answer: str | None = Field(default=None, max_length=200)


class UndoBody(BaseModel):
    """An undoing as the page sends it."""

    token: str = Field(max_length=100)
    person: str = Field(max_length=200)
    question: str = Field(max_length=100)


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/labels")
    table, labels, done = state.subject.table, state.labels, Done(state.subject.table, state.labels)
    questions = {question["key"]: question for question in questions_of(state)}

    def known(key: str) -> dict[str, Any]:
        if not questions:
            raise UsageError("nothing is known to choose from; name the classes with --classes A,B,C")
        if key not in questions:
            raise UsageError(f"there is no question '{key}'{did_you_mean(key, questions, 'questions')}")
        return questions[key]

    @routes.get("")
    def about() -> JSONResponse:
        return JSONResponse(
            {
                "questions": list(questions.values()),
                "people": labels.people(),
                "file": labels.path.name,
                "queue": None if state.queue is None else len(state.queue),
            }
        )

    @routes.get("/next")
    def following(
        asked: InAddress,
        question: str,
        person: str = "",
        queued: bool = False,
        count: int = 4,
    ) -> JSONResponse:
        known(question)
        view = state.view(asked)
        queue = state.queue if queued else None
        rows_done = done.rows(question, person)
        rows = next_rows(queue, view, rows_done, max(1, min(count, MOST_NEXT)))
        finished, total = how_far(queue, view, rows_done)
        columns = [name for name in CAPTION if table.has(name)]
        return JSONResponse({"galaxies": table.rows(rows, columns), "done": finished, "total": total})

    @routes.post("/click")
    def click(body: ClickBody) -> JSONResponse:
        values = [answer["value"] for answer in known(body.question)["answers"]]
        if body.kind == "answer" and body.answer not in values:
            raise UsageError(f"'{body.answer}' is no answer here{did_you_mean(str(body.answer), values)}")
        place = state.place(body.row)
        answer = body.answer if body.kind == "answer" else None
        added = labels.add(
            Click(body.token, body.person, body.question, place.id, place.source, body.kind, answer)
        )
        return JSONResponse({"added": added})

    @routes.post("/undo")
    def undo(body: UndoBody) -> JSONResponse:
        known(body.question)
        taken = labels.undo(body.token, body.person, body.question)
        if taken is None:
            return JSONResponse({"row": None})
        row = int(rows_of_standing(table, [taken])[0])
        return JSONResponse({"row": row if row >= 0 else None, "kind": taken.kind, "answer": taken.answer})

    @routes.get("/summary")
    def agreement(question: str) -> JSONResponse:
        known(question)
        found = summary(labels.standing(question))
        pairs = [Standing(galaxy, source, "", "answer", None) for galaxy, source in found["differ"][:2000]]
        rows = rows_of_standing(table, pairs)
        found["differ"] = sorted(int(row) for row in rows if row >= 0)
        return JSONResponse({**found, "command": COMMAND})

    @routes.get("/export")
    def export(question: str, kind: Annotated[str, Query(alias="format")] = "csv") -> FileResponse:
        known(question)
        writers = {"csv": write_votes, "parquet": write_training_table}
        if kind not in writers:
            raise UsageError(f"there is no format '{kind}'{did_you_mean(kind, writers, 'formats')}")
        votes = votes_of_people(labels.standing(question))
        if not votes:
            raise MorphoscopeError("nobody has labelled anything yet, so there is nothing to write")
        folder = Path(tempfile.mkdtemp(dir=table.folder))
        path = folder / f"labels.{kind}"
        writers[kind](state, votes, [answer["value"] for answer in known(question)["answers"]], path)
        remove = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
        return FileResponse(path, filename=path.name, background=remove)

    return routes


def questions_of(state: State) -> list[dict[str, Any]]:
    """What can be asked of a galaxy: its class, or each question of its decision tree."""
    subject = state.subject
    classes = state.request.classes or subject.classes
    if classes:
        answers = [{"value": name, "text": name} for name in classes]
        return [{"key": CLASS, "text": "Which class is it?", "answers": answers}]
    tree = getattr(subject.scheme, "decision_tree", None)
    if tree is None:
        return []
    return [
        {
            "key": question.key,
            "text": question.text,
            "answers": [
                {"value": name, "text": answer.text}
                for name, answer in zip(tree.columns[piece], question.answers, strict=True)
            ],
        }
        for question, piece in ((tree.questions[n], tree.slices[n]) for n in tree.asking_order)
    ]


COMMAND = "morphoscope train small/own-labels --store labels.parquet --out labelled-run"
"""Trains on the labels, once their table with images is here."""


def _ingest_options(state: State) -> IngestOptions:
    run, store = state.subject.run, getattr(state.subject.pictures, "store", None)
    side = run.header.store.image_shape[0] if run is not None else 128
    if store is not None:
        side = store.meta.image_shape[0]
    return IngestOptions(
        size=side,
        pixel_scale=state.subject.pictures.pixel_scale or None,
        classes=tuple(state.request.classes or state.subject.classes) or None,
    )


def write_votes(state: State, votes: Sequence[Votes], answers: Sequence[str], path: Path) -> None:
    """Write how often each answer was given to each galaxy, one row a galaxy."""
    write_catalogue(target_of(path), _table(votes, answers), _provenance(state))


def _table(votes: Sequence[Votes], answers: Sequence[str]) -> pa.Table:
    columns: dict[str, Any] = {
        "id": pa.array([each.galaxy for each in votes], pa.string()),
        "source": pa.array([each.source for each in votes], pa.string()),
        "label": pa.array([each.label for each in votes], pa.string()),
        "people": pa.array([each.answers.total() for each in votes], pa.int32()),
        "agreement": pa.array([each.agreement for each in votes], pa.float32()),
        "unsure": pa.array([each.unsure for each in votes], pa.int32()),
    }
    for name in answers:
        columns[f"{'_'.join(name.split())}_count"] = pa.array(
            [each.answers[name] for each in votes], pa.int32()
        )
    return pa.table(columns)


def _provenance(state: State) -> dict[str, str]:
    return {"program": "morphoscope", "labels_of": state.subject.name, "labels_file": state.labels.path.name}


def write_training_table(state: State, votes: Sequence[Votes], answers: Sequence[str], path: Path) -> None:
    """Write the galaxies with a label and their images, as ``train`` and ``data ingest table`` read them.

    An image is the file itself where there is one, and a PNG of a store's pixels otherwise. Galaxies on which
    answers are level, or whose image is not there, are left out.

    Raises:
        MorphoscopeError: no galaxy has both.
    """
    with_label = [each for each in votes if each.label is not None][:MOST_LABELLED]
    schema = _table([], answers).schema.append(pa.field("image", pa.binary()))
    for name in ("dec", "ra"):
        if state.subject.table.has(name):
            schema = schema.insert(2, pa.field(name, pa.float64()))
    written = 0
    with pq.ParquetWriter(path, _ingest_options(state).added_to(schema)) as writer:
        for piece in _with_images(state, with_label, answers, schema):
            writer.write_table(piece)
            written += piece.num_rows
    if not written:
        raise MorphoscopeError("no labelled galaxy has an image here, so there is nothing to train on")


def _with_images(
    state: State, votes: Sequence[Votes], answers: Sequence[str], schema: pa.Schema
) -> Iterator[pa.Table]:
    table = state.subject.table
    coordinates = [name for name in ("ra", "dec") if table.has(name)]
    for start in range(0, len(votes), _PIECE):
        some = votes[start : start + _PIECE]
        asked = [Standing(each.galaxy, each.source, "", "answer", None) for each in some]
        rows = rows_of_standing(table, asked).tolist()
        values = {each[ROW]: each for each in table.rows([row for row in rows if row >= 0], coordinates)}
        images, places = [], []
        for each, row in zip(some, rows, strict=True):
            images.append(_image(state, Place(row, each.galaxy, each.source)) if row >= 0 else None)
            places.append(values.get(row, {}))
        piece = _table(some, answers).append_column("image", pa.array(images, pa.binary()))
        for name in coordinates:
            numbers = [place.get(name) for place in places]
            piece = piece.append_column(name, pa.array(numbers, pa.float64()))
        there = pa.array([image is not None for image in images])
        yield piece.select(schema.names).cast(schema).filter(there)


def _image(state: State, place: Place) -> bytes | None:
    pictures = state.subject.pictures
    try:
        return pictures.content(place) or png(pictures.load(place))
    except (MorphoscopeError, OSError):
        return None
