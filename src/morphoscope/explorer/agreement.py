"""How far people agree who labelled the same galaxies."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from morphoscope.explorer.labels_file import Standing


@dataclass
class Votes:
    """What people say of one galaxy.

    Attributes:
        galaxy: its id.
        source: of its picture.
        answers: how often each answer was given.
        unsure: how many are unsure.
    """

    galaxy: str
    source: str
    answers: Counter[str] = field(default_factory=Counter)
    unsure: int = 0

    @property
    def label(self) -> str | None:
        """The answer that most people gave; None: nobody did, or two answers are level."""
        first = self.answers.most_common(2)
        if not first or (len(first) == 2 and first[0][1] == first[1][1]):
            return None
        return first[0][0]

    @property
    def agreement(self) -> float | None:
        """The share of the answers that are the most frequent one; None without answers."""
        return max(self.answers.values()) / self.answers.total() if self.answers else None


def votes_of_people(standing: Iterable[Standing]) -> list[Votes]:
    """The votes on each galaxy, in the order of the first click; who skipped a galaxy said nothing of it."""
    found: dict[tuple[str, str], Votes] = {}
    for each in standing:
        if each.kind == "skip":
            continue
        votes = found.setdefault((each.galaxy, each.source), Votes(each.galaxy, each.source))
        if each.kind == "unsure":
            votes.unsure += 1
        elif each.answer is not None:
            votes.answers[each.answer] += 1
    return list(found.values())


def krippendorff_alpha(votes: Iterable[Votes]) -> float | None:
    """Krippendorff's α for nominal data: 1, all agree; 0, as by chance.

    Hayes & Krippendorff 2007, Communication Methods and Measures 1, 77: of the coincidences of pairs of
    answers on the same galaxy, α = 1 − D_o / D_e. Galaxies with one answer do not count.

    Returns:
        None: no galaxy has two answers, or everybody always gave the same one, which says nothing.
    """
    margins: Counter[str] = Counter()
    disagreement = 0.0
    for each in votes:
        total = each.answers.total()
        if total < 2:
            continue
        margins.update(each.answers)
        pairs = total * total - sum(count * count for count in each.answers.values())
        disagreement += pairs / (total - 1)
    everything = margins.total()
    if everything < 2:
        return None
    chance = (everything * everything - sum(count * count for count in margins.values())) / (everything - 1)
    return 1 - disagreement / chance if chance else None


def summary(standing: list[Standing]) -> dict[str, Any]:
    """Counts and agreement, as a JSON document."""
    votes = votes_of_people(standing)
    together = [each for each in votes if each.answers.total() >= 2]
    people: dict[str, Counter[str]] = defaultdict(Counter)
    for each in standing:
        people[each.person][each.kind] += 1
    agreed = [each for each in together if len(each.answers) == 1]
    return {
        "galaxies": len(votes),
        "people": [
            {"name": name, "answers": counts["answer"], "unsure": counts["unsure"], "skipped": counts["skip"]}
            for name, counts in sorted(people.items())
        ],
        "answers": dict(Counter(each.label for each in votes if each.label is not None)),
        "undecided": sum(each.label is None for each in votes),
        "together": len(together),
        "agreed": len(agreed),
        "alpha": krippendorff_alpha(votes),
        "differ": [[each.galaxy, each.source] for each in together if len(each.answers) > 1],
    }
