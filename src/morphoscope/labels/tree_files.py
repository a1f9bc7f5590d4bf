"""Decision trees as data: one YAML file a campaign, in the package or the user's own.

A file names the questions, their answers, the question each answer leads to, and how public tables spell the
columns. docs/vote-counts.md describes the schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean
from morphoscope.labels.tree import Answer, DecisionTree, Question
from morphoscope.versioned import LARGEST_YAML, load_yaml, read_document, understood

FOLDER = Path(__file__).parent / "trees"
FORMAT_VERSION = 1
MOST = 200  # questions of a tree, and answers of a question
LONGEST_KEY = 60


def _as_text(value: Any) -> Any:
    """YAML reads an unquoted yes and no as booleans, and 1 as a number; keys are text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, int) else value


def _of_words(key: str) -> str:
    if len(key) > LONGEST_KEY or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", key):
        raise ValueError(
            f"'{key[:LONGEST_KEY]}' was found; lower-case words and numbers joined by hyphens were expected, "
            f"at most {LONGEST_KEY} characters"
        )
    return key


Key = Annotated[str, BeforeValidator(_as_text), AfterValidator(_of_words)]
"""Lower-case words and numbers joined by hyphens: column names are QUESTION_ANSWER, and '_' parts the two."""


class TreeAnswer(BaseModel, frozen=True, extra="forbid"):
    """One answer, and the question it leads to (None: the end)."""

    key: Key
    text: str = ""
    next: Key | None = None


class TreeQuestion(BaseModel, frozen=True, extra="forbid"):
    """One question and its answers in the order of the columns."""

    key: Key
    text: str = ""
    answers: tuple[TreeAnswer, ...] = Field(min_length=2, max_length=MOST)

    @property
    def columns(self) -> tuple[str, ...]:
        """QUESTION_ANSWER for each answer."""
        return tuple(f"{self.key}_{answer.key}" for answer in self.answers)


class VoteTree(BaseModel, frozen=True, extra="forbid"):
    """Questions for volunteers and where their answers lead; the first is asked of everyone."""

    name: str
    version: int = Field(default=1, ge=1)
    questions: tuple[TreeQuestion, ...] = Field(min_length=1, max_length=MOST)

    @model_validator(mode="after")
    def _leads_somewhere(self) -> VoteTree:
        keys = [question.key for question in self.questions]
        _refuse_twice(keys, "question")
        asked = {keys[0]}
        for question in self.questions:
            _refuse_twice([answer.key for answer in question.answers], f"answer to '{question.key}'")
            for answer in question.answers:
                if answer.next is None:
                    continue
                if answer.next not in keys:
                    near = did_you_mean(answer.next, keys)
                    raise ValueError(
                        f"answer '{answer.key}' to '{question.key}' leads to '{answer.next}', which is no "
                        f"question of the tree{near}"
                    )
                asked.add(answer.next)
        decision_tree(self)  # refuses a cycle
        lost = [key for key in keys if key not in asked]
        if lost:
            raise ValueError(f"no answer leads to the question '{lost[0]}', so it is never asked")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """QUESTION_ANSWER for each of the K answers."""
        return tuple(column for question in self.questions for column in question.columns)

    def without(self, keys: Iterable[str]) -> VoteTree:
        """The tree without some questions; what led to one leads to the question after it.

        Raises:
            UsageError: the first question, or one whose answers lead to different questions.
        """
        gone = set(keys)
        if not gone:
            return self
        if self.questions[0].key in gone:
            raise UsageError(
                f"tree '{self.name}': the first question, '{self.questions[0].key}', cannot be left out"
            )
        by_key = {question.key: question for question in self.questions}

        def kept(key: str | None) -> str | None:
            if key is None or key not in gone:
                return key
            after = {kept(answer.next) for answer in by_key[key].answers}
            if len(after) > 1:
                raise UsageError(
                    f"tree '{self.name}': '{key}' cannot be left out, since its answers lead to different "
                    "questions; write a tree without it (docs/vote-counts.md)"
                )
            return after.pop()

        questions = [
            question.model_copy(
                update={
                    "answers": tuple(
                        answer.model_copy(update={"next": kept(answer.next)}) for answer in question.answers
                    )
                }
            )
            for question in self.questions
            if question.key not in gone
        ]
        return VoteTree(name=self.name, version=self.version, questions=tuple(questions))


@lru_cache(maxsize=64)
def decision_tree(tree: VoteTree) -> DecisionTree:
    """The sums, weights and paths of a tree (see :mod:`morphoscope.labels.tree`).

    Raises:
        ValueError: the tree has a cycle.
    """
    return DecisionTree(
        name=tree.name,
        questions=tuple(
            Question(
                question.key,
                question.text or question.key,
                tuple(Answer(answer.text or answer.key, answer.next) for answer in question.answers),
            )
            for question in tree.questions
        ),
        names=tree.columns,
    )


class FileAnswer(TreeAnswer, frozen=True):
    """An answer in a file, with the ways in which public tables spell it."""

    columns: tuple[Annotated[str, BeforeValidator(_as_text)], ...] = ()


class FileQuestion(BaseModel, frozen=True, extra="forbid"):
    """A question in a file, with the ways in which public tables spell it.

    ``next`` is where those answers lead that do not say it themselves. Of a question with ``several`` answers
    a volunteer may tick more than one, so its counts may exceed its total.
    """

    key: Key
    text: str = ""
    next: Key | None = None
    several: bool = False
    columns: tuple[str, ...] = ()
    answers: tuple[FileAnswer, ...] = Field(min_length=2, max_length=MOST)

    def resolved(self) -> TreeQuestion:
        """The question alone, each answer with the question it leads to."""
        answers = tuple(
            TreeAnswer(
                key=answer.key,
                text=answer.text,
                next=answer.next if "next" in answer.model_fields_set else self.next,
            )
            for answer in self.answers
        )
        return TreeQuestion(key=self.key, text=self.text, answers=answers)


class TreeFile(BaseModel, frozen=True, extra="forbid"):
    """A decision tree as its file has it, with where it comes from."""

    kind: Literal["morphoscope-tree"]
    format_version: int = FORMAT_VERSION
    name: Key
    version: int = Field(default=1, ge=1)
    title: str
    sources: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    verified: bool = False
    verified_with: str = ""
    left_out: tuple[str, ...] = ()
    tags: tuple[str, ...] = Field(default=(), description="that tables append to a question: '-dr5'")
    questions: tuple[FileQuestion, ...] = Field(min_length=1, max_length=MOST)

    @model_validator(mode="after")
    def _checked(self) -> TreeFile:
        self.tree()
        stems: dict[str, str] = {}
        for question in self.questions:
            for answer in question.answers:
                own = f"{question.key}_{answer.key}"
                for stem in self.answer_stems(question, answer):
                    if stems.setdefault(stem, own) != own:
                        raise ValueError(f"the column '{stem}' could be '{stems[stem]}' or '{own}'")
        return self

    def tree(self) -> VoteTree:
        """The tree alone."""
        questions = tuple(question.resolved() for question in self.questions)
        return VoteTree(name=self.name, version=self.version, questions=questions)

    def question_stems(self, question: FileQuestion) -> tuple[str, ...]:
        """How tables may spell a question, as :func:`plain` text."""
        names = (question.key, *question.columns)
        tagged = (f"{question.key}{tag}" for tag in self.tags)
        return tuple(dict.fromkeys(plain(name) for name in (*names, *tagged)))

    def answer_stems(self, question: FileQuestion, answer: FileAnswer) -> tuple[str, ...]:
        """How tables may spell the column of an answer, before what it holds (_count, _fraction, ...)."""
        names = dict.fromkeys(plain(name) for name in (answer.key, *answer.columns))
        return tuple(f"{stem}_{name}" for stem in self.question_stems(question) for name in names)


def plain(name: str) -> str:
    """A column name without regard to case, hyphens, dots and spaces: "Smooth-or-featured" as in SQL."""
    return re.sub(r"[^0-9a-z]+", "_", name.casefold()).strip("_")


def tree_names() -> list[str]:
    """The trees of the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def tree_file(name: str) -> TreeFile:
    """A tree of the package by its name, or the user's own by the path of its YAML file.

    Raises:
        UsageError: there is neither.
        MorphoscopeError: the file is not a tree, or its tree does not hold together.
    """
    if name in tree_names():
        return _packaged(name)
    path = Path(name)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise UsageError(
            f"no decision tree '{name}'{did_you_mean(name, tree_names())}; 'morphoscope trees' lists them, "
            "and the path of a .yaml file is a tree of your own"
        )
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    return _read(path)


@lru_cache(maxsize=32)
def _packaged(name: str) -> TreeFile:
    return _read(FOLDER / f"{name}.yaml")


def _read(path: Path) -> TreeFile:
    try:
        return understood(TreeFile, read_document(path, LARGEST_YAML), load_yaml, path, "a decision tree")
    except MorphoscopeError as error:
        text = str(error).replace(" is damaged: it is not ", ": this is not ")
        text = re.sub(r" is damaged: (?:questions\.)?: ", ": ", text).replace(" is damaged: ", ": ")
        raise MorphoscopeError(text.replace("Value error, ", "")) from error


def _refuse_twice(keys: list[str], what: str) -> None:
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"the {what} '{key}' is there twice")
