"""What a reader should keep in mind, said without being asked: small samples, missing parts, odd splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.report import wording

if TYPE_CHECKING:
    from morphoscope.data.split import Split
    from morphoscope.data.store import Store
    from morphoscope.training.run import Run

FEW_GALAXIES = 200  # an accuracy of 90 % is then known to about ± 4 points
FEW_OF_A_CLASS = 20
KEEPS_TOGETHER = "sky-grouped"  # the one named split that keeps galaxies of the same sky together


def caveats(
    run: Run,
    metrics: Mapping[str, Any],
    history: Mapping[str, np.ndarray],
    environment: Mapping[str, Any],
    split: Split | None,
    store: Store | None,
) -> list[str]:
    """Sentences about this run, each true of it; an empty list when there is nothing to say."""
    test = metrics.get("test") or {}
    return [
        *_about_data(run, split, store),
        *_about_test(test),
        *_about_classes(test),
        *_about_training(run, metrics, history),
        *_about_program(environment),
    ]


def _about_data(run: Run, split: Split | None, store: Store | None) -> list[str]:
    notes = []
    if run.header.store.source == "simulator":
        notes.append(
            "The galaxies are simulated. The numbers say how well the network knows simulated "
            "galaxies; they say nothing yet about real images."
        )
    name = run.recipe.data.split
    if name != KEEPS_TOGETHER and "/" not in name and not name.endswith((".json", ".yaml")):
        notes.append(
            f"The split “{name}” does not keep images of the same piece of sky together, so a galaxy may "
            "be in training and in test; “morphoscope data audit” counts such pairs."
        )
    if split is not None and len(split.test) and np.isin(split.test, split.validation).any():
        notes.append(
            "Validation and test are the same galaxies, as this split was published: the best epoch was "
            "chosen on the galaxies it is judged by, so the result is too good."
        )
    if store is not None and store.meta.unreadable:
        notes.append(
            f"{wording.plural(store.meta.unreadable, 'image')} could not be read when the store was made."
        )
    return notes


def _about_test(test: Mapping[str, Any]) -> list[str]:
    if not wording.known(test.get("n")):
        return ["No galaxies were held out for a test, so nothing is known about how good this network is."]
    notes = [_sentence(note) for note in test.get("notes") or []]
    if test["n"] < FEW_GALAXIES:
        galaxies = wording.plural(test["n"], "galaxy", "galaxies")
        notes.append(
            f"The test has {galaxies}: differences smaller than the interval are not evidence. "
            "Several seeds or splits would tell more."
        )
    return notes


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:].rstrip(".") + "."


def _about_classes(test: Mapping[str, Any]) -> list[str]:
    notes = []
    rows = test.get("per_class") or []
    rare = [row for row in rows if 0 < (row.get("support") or 0) < FEW_OF_A_CLASS]
    if rare:
        named = ", ".join(f"{row['name']} ({row['support']})" for row in rare)
        notes.append(f"Fewer than {FEW_OF_A_CLASS} test galaxies: {named}. Their scores are rough.")
    never = [row["name"] for row in rows if row.get("support") and row.get("predicted") == 0]
    if never:
        notes.append(f"The network never answers {', '.join(never)} on the test galaxies.")
    if wording.known(wording.value_of(test, "ece")):
        notes.append(
            "A calibration error is a sum of absolute values, so chance alone makes it positive: about 0.03 "
            "on 450 galaxies for a network that is perfectly calibrated."
        )
    return notes


def _about_training(run: Run, metrics: Mapping[str, Any], history: Mapping[str, np.ndarray]) -> list[str]:
    notes = []
    epochs = np.asarray(history.get("epoch", ()))
    training = run.recipe.training
    wanted = training.epochs - training.initial_epoch
    if len(epochs) and len(epochs) < wanted:
        notes.append(
            f"The training stopped after {wording.plural(len(epochs), 'epoch')} of {wanted}: the validation "
            "did not improve any more."
        )
    validation = np.asarray(history.get("validation_loss", ()), float)
    if len(epochs) and not np.isfinite(validation).any():
        notes.append("There was no validation split; the weights are those of the last epoch.")
    elif training.restore_best and metrics.get("validation"):
        notes.append(
            "The kept epoch was chosen by the validation galaxies, so their scores are slightly too good; "
            "the test galaxies chose nothing."
        )
    if (metrics.get("calibration") or {}).get("method", "none") != "none":
        notes.append(
            "The calibration was fitted on the validation galaxies, so their calibration error and log loss "
            "are too good."
        )
    views = metrics.get("views")
    if wording.known(views) and views > 1:
        notes.append(f"Every answer is the mean over {views} turned and mirrored views of the galaxy.")
    return notes


def _about_program(environment: Mapping[str, Any]) -> list[str]:
    revision = str(environment.get("git_revision") or "")
    if revision.endswith("-dirty"):
        return [f"The program had changes that are in no revision (after {revision.removesuffix('-dirty')})."]
    return []
