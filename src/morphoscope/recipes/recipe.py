"""The recipe: all its parts; change, compare, read and write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean, reason_of
from morphoscope.recipes.fields import (
    LARGEST_NUMBER,
    MIRRORED,
    Augment,
    Data,
    Evaluation,
    Model,
    Optimiser,
    Part,
    Schedule,
    Training,
    parsed,
)
from morphoscope.versioned import LARGEST_YAML, load_yaml, read_document


class Recipe(Part):
    """Everything a training needs."""

    name: str = "own"
    about: str = Field(default="", description="command, hardware, time and the score to expect")
    seed: int = Field(default=0, ge=0, le=LARGEST_NUMBER)
    data: Data = Data()
    augment: Augment = Augment()
    model: Model = Model()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _handed(self) -> Recipe:
        mirrors = self.augment.flip_horizontal or self.augment.flip_vertical
        if self.evaluation.views in MIRRORED and not mirrors:
            raise ValueError(
                f"evaluation.views = {self.evaluation.views} uses mirror images, which augment's flips "
                "(both false) rule out; set evaluation.views to 1, 8 or 24"
            )
        return self

    def changed(self, settings: dict[str, Any] | None = None, **parts: dict[str, Any] | Any) -> Recipe:
        """A copy with some fields changed.

        ``recipe.changed(optimiser={"lr": 0.01}, seed=3)`` or dotted:
        ``recipe.changed({"optimiser.lr": 0.01})``.

        Raises:
            UsageError: a field does not exist (the nearest one is named) or its value is not valid.
        """
        values = self.model_dump()
        dotted = dict(settings or {})
        for part, change in parts.items():
            if isinstance(change, dict):
                dotted |= {f"{part}.{field}": value for field, value in change.items()}
            else:
                dotted[part] = change
        for path, value in dotted.items():
            _known_field(path)
            target = values
            *folders, last = path.split(".")
            for folder in folders:
                target = target[folder]
            target[last] = value
        return _validated(values, "recipe")

    def with_settings(self, settings: list[str]) -> Recipe:
        """A copy with ``field=value`` texts of ``--set`` applied.

        Values are YAML: ``augment.zoom=[0.8,1.2]``, ``training.patience=null`` (or ``none``); a comma makes
        a list where the field is one: ``augment.zoom=0.8,1.2``; text fields take their text verbatim.

        Raises:
            UsageError: as :meth:`changed`, or a setting has no ``=``.
        """
        changes: dict[str, Any] = {}
        for setting in settings:
            path, equals, text = setting.partition("=")
            if not equals:
                raise UsageError(f"--set {setting}: expected field=value, for example optimiser.lr=0.01")
            field = _known_field(path.strip())
            changes[path.strip()] = parsed(text.strip(), field.annotation)
        return self.changed(changes)

    def to_yaml(self) -> str:
        """The recipe as YAML text, with every field."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    @staticmethod
    def from_yaml(path: Path | str) -> Recipe:
        """Read a recipe file; fields that are left out take their defaults.

        Raises:
            UsageError: no such file, not YAML, an unknown field or an invalid value.
        """
        path = Path(path)
        try:
            values = load_yaml(read_document(path, LARGEST_YAML).decode())
        except (MorphoscopeError, UnicodeDecodeError, ValueError) as error:
            reason = str(error).removeprefix(f"{path}")
            raise UsageError(f"{path}: cannot be read as a recipe ({reason.lstrip(': ')})") from error
        except yaml.YAMLError as error:
            raise UsageError(f"{path}: is not valid YAML ({reason_of(error)})") from error
        if not isinstance(values, dict):
            raise UsageError(f"{path}: a recipe is a YAML mapping such as 'optimiser: {{lr: 0.01}}'")
        return _validated(values, str(path))


def fields() -> dict[str, Any]:
    """Every settable field by its dotted name, with pydantic's description of it."""
    named: dict[str, Any] = {}
    for name, field in Recipe.model_fields.items():
        part = field.annotation
        if isinstance(part, type) and issubclass(part, Part):
            named |= {f"{name}.{inner}": info for inner, info in part.model_fields.items()}
        else:
            named[name] = field
    return named


def differences(before: Recipe, after: Recipe) -> list[str]:
    """The fields in which two recipes differ, such as ``"optimiser.lr was 0.001 and is 0.01"``.

    The description ``about`` is not compared: its wording may change between versions.
    """
    return [
        f"{path} was {_value(before, path)!r} and is {_value(after, path)!r}"
        for path in fields()
        if path != "about" and _value(before, path) != _value(after, path)
    ]


def _value(recipe: Recipe, path: str) -> Any:
    value: Any = recipe
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _known_field(path: str) -> Any:
    known = fields()
    if path in Recipe.model_fields and path not in known:
        inner = ", ".join(name for name in known if name.startswith(f"{path}."))
        raise UsageError(f"'{path}' is a part of the recipe; set one of its fields: {inner}")
    if path not in known:
        raise UsageError(f"the recipe has no field '{path}'{_nearest(path)}")
    return known[path]


def _nearest(path: str) -> str:
    """A field of the same name in another part ("lr"), or one of similar spelling."""
    namesakes = [name for name in fields() if name.split(".")[-1] == path.split(".")[-1]]
    if len(namesakes) == 1:
        return f" (did you mean '{namesakes[0]}'?)"
    return did_you_mean(path, namesakes or {*fields(), *Recipe.model_fields}, "fields")


def _validated(values: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(step) for step in first["loc"])
        if first["type"] == "extra_forbidden":
            raise UsageError(f"{where}: the recipe has no field '{path}'{_nearest(path)}") from error
        message = first["msg"].removeprefix("Value error, ")
        got = "" if isinstance(first["input"], dict) else f" (got {_shown(first['input'])})"
        field = f"{where}: {path}" if path else where  # a rule between parts has no single field
        raise UsageError(f"{field}: {message}{got}") from error
    except (RecursionError, TypeError) as error:  # nested too deeply, or with keys that are not strings
        raise UsageError(f"{where}: a recipe has one level of parts with named fields") from error


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
