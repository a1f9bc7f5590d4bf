"""Options of the command line that are made of a request's fields, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from morphoscope import processes
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.cli import app, predict
from morphoscope.cli.options import options_of, several
from morphoscope.errors import UsageError
from morphoscope.recipes import Recipe
from morphoscope.studies.study import Options, find_study


@dataclass(frozen=True)
class _Order:
    what: str
    hidden: int = 7
    count: int = field(default=2, metadata={"help": "How many.", "kind": None, "min": 1})
    wrapped: bool = field(default=False, metadata={"help": "In paper.", "kind": None, "min": None})
    extras: tuple[str, ...] = field(default=(), metadata={"help": "With.", "kind": str, "min": None})


def test_a_command_takes_a_request_made_of_options():
    shop, taken = typer.Typer(), []

    @shop.command()
    @options_of(_Order, what=Annotated[str, typer.Argument()])
    def order(name: str, request: _Order, fast: Annotated[bool, typer.Option("--fast")] = False) -> None:
        taken.append((name, request, fast))

    words = ["me", "tea", "--count", "3", "--wrapped", "--extras", "milk", "--fast"]
    assert CliRunner().invoke(shop, words).exit_code == 0
    assert CliRunner().invoke(shop, ["me", "tea"]).exit_code == 0
    assert taken == [
        ("me", _Order("tea", count=3, wrapped=True, extras="milk"), True),  # type: ignore[arg-type]
        ("me", _Order("tea", extras=None), False),  # type: ignore[arg-type]
    ]
    assert CliRunner().invoke(shop, ["me", "tea", "--count", "0"]).exit_code == 2
    assert CliRunner().invoke(shop, ["me", "tea", "--no-wrapped"]).exit_code == 2
    said = CliRunner().invoke(shop, ["--help"]).output
    assert "How many." in said
    assert "hidden" not in said


def test_predict_has_an_option_for_every_field_but_two():
    command = typer.main.get_command(app).commands["predict"]  # type: ignore[attr-defined]
    options = {parameter.name for parameter in command.params}
    assert {each.name for each in fields(CatalogueRequest)} - options == {"size", "workers"}


def test_a_request_takes_texts_and_paths_and_is_equal_either_way():
    one = CatalogueRequest("in", "out/", bands="g, r", sources="t.csv")
    assert one == CatalogueRequest(Path("in"), "out/", bands=("g", "r"), sources="t.csv")
    assert (one.source, one.out, one.bands) == ("in", "out/", ("g", "r"))
    assert CatalogueRequest.of(Path("in"), "out/", {"bands": ["g", "r"], "sources": "t.csv"}) == one


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: CatalogueRequest("in", "out", batch=0), "--batch 0: at least 1 image"),
        (lambda: CatalogueRequest("in", "out", bands="g,g"), "the same band is named twice"),
        (lambda: CatalogueRequest.of("in", "out", {"bach": 3}), r"no option 'bach' \(did you mean 'batch'"),
    ],
)
def test_a_request_that_cannot_be_is_one_sentence(make: Callable[[], object], sentence: str):
    with pytest.raises(UsageError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--engine", "torchrun"], "engine torchrun is gone; several GPUs or machines predict with --engine"),
        (["--picture", "p.png"], "--picture draws the sources of --detect; give both"),
        (["--detect", "--embeddings"], "--embeddings is for catalogues of cutouts"),
        (["--detect", "--resume"], "leave out --resume and --shard-rows"),
        (["--detect", "--cutout-arcsec", "3"], "leave out the options for tables and cutouts"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_a_run_is_opened(words: list[str], sentence: str):
    done = CliRunner().invoke(app, ["predict", "no-run", "no-images", "--out", "c.csv", *words])
    assert isinstance(done.exception, UsageError)
    assert sentence in str(done.exception)


def test_predict_under_torchrun_names_ray(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(predict, "started", lambda: object())
    done = CliRunner().invoke(app, ["predict", "no-run", "no-images", "--out", "c.csv"])
    assert "--engine ray" in str(done.exception)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """The recipes that a command trains; nothing is."""
    recipes: list[Recipe] = []

    def train(recipe: Recipe, *_: object, **__: object) -> object:
        recipes.append(recipe)
        return SimpleNamespace(metrics=dict)

    monkeypatch.setattr("morphoscope.api.train", train)
    monkeypatch.setattr("morphoscope.data.store.open_store", lambda path: path)
    return recipes


def test_a_training_starts_from_what_its_options_say(trained: list[Recipe]):
    train = ["train", "small/five-class", "--store", "s", "--out", "r"]
    for more in (["--weights", "w.pth"], ["--from-scratch"], ["--set", "training.epochs=3"]):
        done = CliRunner().invoke(app, [*train, *more])
        assert done.exit_code == 0, done.output
        assert "run → r, report → r/report.html" in done.stderr
    first, second, third = trained
    assert first.model.weights == "w.pth"
    assert not second.model.pretrained
    assert (third.training.epochs, third.model.weights) == (3, None)
    refused = CliRunner().invoke(app, [*train, "--weights", "w.pth", "--from-scratch"])
    assert "exclude each other" in str(refused.exception)
    assert len(trained) == 3


def test_the_result_of_a_training_is_said_by_rank_0(trained: list[Recipe], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "leave_messages_to_rank_0", lambda: None)
    monkeypatch.setattr(processes, "is_rank_0", lambda: False)
    done = CliRunner().invoke(app, ["train", "small/five-class", "--store", "s", "--out", "r"])
    assert (done.exit_code, done.output) == (0, "")
    assert len(trained) == 1


def test_a_study_lists_its_literal_readings_and_says_what_was_not_run(monkeypatch: pytest.MonkeyPatch):
    words = ["study", "cheng", "--store", "s", "--out", "o"]
    listed = CliRunner().invoke(app, [*words, "--literal", "list"])
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(find_study("cheng").literal)
    asked: list[Options] = []

    def study(chosen: object, store: object, out: Path, options: Options, **_: object) -> object:
        asked.append(options)
        return SimpleNamespace(lines=["a table"], page=out / "study.html", not_run=["cheng/vgg16"])

    monkeypatch.setattr("morphoscope.studies.reproduce.study", study)
    done = CliRunner().invoke(app, [*words, "--quick", "--row", "cheng/vgg16", "--set", "seed=3"])
    assert done.exit_code == 0, done.output
    assert asked == [Options(quick=True, rows=("cheng/vgg16",), settings=("seed=3",))]
    assert "a table" in done.stdout
    assert "1 rows were not run; the page says why: cheng/vgg16" in done.stderr


def test_a_run_must_be_named():
    with pytest.raises(UsageError, match="the folder of a finished run was expected"):
        several(" , ")
    assert several("a, b") == ["a", "b"]


def test_help_says_defaults_in_words() -> None:
    """Square brackets in a help text are markup of the terminal's colours, and vanish."""

    def texts(command: Any, path: str) -> Iterator[tuple[str, str]]:
        yield path, command.help or ""
        for parameter in command.params:
            yield f"{path} {parameter.name}", getattr(parameter, "help", None) or ""
        for name, child in getattr(command, "commands", {}).items():
            yield from texts(child, f"{path} {name}")

    found = list(texts(typer.main.get_command(app), "morphoscope"))
    assert len(found) > 200
    assert [where for where, text in found if "[default" in text] == []
    scale = dict(found)["morphoscope predict scale"]
    assert scale.endswith("Default: auto for 'default', else trained.")


def test_batch_norm_adapts_to_images_framed_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def adapt(self: object, images: str, **options: Any) -> None:
        asked.append(options)
        raise UsageError("noted")

    monkeypatch.setattr("morphoscope.api.loaded_run.LoadedRun.adapt", adapt)
    for options in (["--scale", "trained"], ["--crop", "40"], []):
        command = ["predict", "default", str(tmp_path), "--adapt", "--out", str(tmp_path / "c.csv"), *options]
        CliRunner().invoke(app, command)
    assert asked == [
        {"scale": "trained", "crop": None},
        {"scale": None, "crop": 40},
        {"scale": None, "crop": None},
    ]
