"""Votes of simulated volunteers beside real ones: ``vote_statistics.py SOLUTIONS.csv [--page PAGE]``.

SOLUTIONS holds real rows of the Galaxy Challenge (columns GalaxyID, Class1.1 to Class11.6). For each answer:
mean and standard deviation of its fraction over galaxies. Simulated galaxies come in Galaxy10's proportions,
which are not those of Galaxy Zoo 2, so fractions of those who were asked the question are compared: they
depend less on the mixture.
"""

from __future__ import annotations

import argparse
import csv
import re
from pathlib import Path

import numpy as np

from morphoscope.data.sources.simulated import block_of
from morphoscope.labels.tree import GALAXY_ZOO_2
from morphoscope.simulation.profiles import frame_of
from morphoscope.simulation.rendering import light_radii, system_light
from morphoscope.simulation.rows import Plan, galaxy_of
from morphoscope.simulation.survey import SDSS
from morphoscope.simulation.votes import draw_votes


def simulated(count: int, seed: int) -> np.ndarray:
    """Cumulative fractions of simulated volunteers, (N, K)."""
    plan, frame = Plan((SDSS,), 64, seed, "votes", block_of("galaxy10")), frame_of(SDSS)
    rows = []
    for row in range(count):
        galaxy = galaxy_of(plan, row)
        radius = light_radii(frame, system_light(frame, galaxy).total_3PP[1], galaxy.x, galaxy.y)[0]
        rows.append(draw_votes(galaxy, radius, np.random.default_rng([seed, row])).fractions_K)
    return np.stack(rows)


def table(real: np.ndarray, made: np.ndarray) -> str:
    """Mean and spread of every answer among those who were asked, simulated / real, as Markdown."""
    lines = [
        "| question | answer | mean, simulated / real | standard deviation, simulated / real |",
        "|---|---|---|---|",
    ]
    for question, part in zip(GALAXY_ZOO_2.questions, GALAXY_ZOO_2.slices, strict=True):
        pair = []
        for fractions in (made, real):
            votes = fractions[:, part]
            asked = votes.sum(axis=1)
            pair.append(votes[asked > 0.2] / asked[asked > 0.2, None])
        for number, answer in enumerate(question.answers):
            mean = " / ".join(f"{side[:, number].mean():.2f}" for side in pair)
            spread = " / ".join(f"{side[:, number].std():.2f}" for side in pair)
            lines.append(f"| {question.key} | {answer.text} | {mean} | {spread} |")
    counts = f"{len(made)} simulated galaxies in Galaxy10's proportions and {len(real)} real ones"
    rule = "a galaxy counts where more than a fifth of its volunteers came to the question"
    return "\n".join([*lines, "", f"{counts}; {rule}."])


def main() -> None:
    """Draw votes and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("solutions", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, help="page to write the table into")
    given = parser.parse_args()
    with open(given.solutions, newline="", encoding="utf-8") as file:
        rows = [[float(line[name]) for name in GALAXY_ZOO_2.columns] for line in csv.DictReader(file)]
    content = table(np.array(rows), simulated(given.count, given.seed))
    print(content)
    if given.page:
        text = given.page.read_text(encoding="utf-8")
        marks = r"(<!-- votes -->\n).*?(<!-- end of votes -->)"
        filled = re.sub(marks, lambda m: m[1] + content + "\n" + m[2], text, flags=re.DOTALL)
        given.page.write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()
