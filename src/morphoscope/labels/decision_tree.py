"""The Galaxy Zoo 2 decision tree as data: 11 questions, 37 answers, and the question each answer leads to.

Columns, slices, expected sums and conditional fractions are derived from it (see labels/tree.py). One thing
does not follow from the routing: the challenge's organisers normalised Q6 ("anything odd?") to 1 for every
galaxy, even for stars and artefacts, for which it is never asked.

Sources: Willett et al. 2013, MNRAS 435, 2835, figure 1 and table 2 (questions, answers, routing); the
Galaxy Challenge on Kaggle (order of the columns, sums, the exception of Q6).
"""

from __future__ import annotations

from morphoscope.errors import MorphoscopeError, did_you_mean
from morphoscope.labels.tree import Answer, DecisionTree, Question

GALAXY_ZOO_2 = DecisionTree(
    name="galaxy-zoo-2",
    questions=(
        Question(
            "Q1",
            "Is the galaxy simply smooth and rounded, with no sign of a disc?",
            (Answer("smooth", "Q7"), Answer("features or disc", "Q2"), Answer("star or artefact")),
        ),
        Question(
            "Q2",
            "Could this be a disc viewed edge-on?",
            (Answer("yes", "Q9"), Answer("no", "Q3")),
        ),
        Question(
            "Q3",
            "Is there a sign of a bar feature through the centre of the galaxy?",
            (Answer("yes", "Q4"), Answer("no", "Q4")),
        ),
        Question(
            "Q4",
            "Is there any sign of a spiral arm pattern?",
            (Answer("yes", "Q10"), Answer("no", "Q5")),
        ),
        Question(
            "Q5",
            "How prominent is the central bulge, compared with the rest of the galaxy?",
            (
                Answer("no bulge", "Q6"),
                Answer("just noticeable", "Q6"),
                Answer("obvious", "Q6"),
                Answer("dominant", "Q6"),
            ),
        ),
        Question(
            "Q6",
            "Is there anything odd?",
            (Answer("yes", "Q8"), Answer("no")),
            asked_of_all=True,
        ),
        Question(
            "Q7",
            "How rounded is it?",
            (Answer("completely round", "Q6"), Answer("in between", "Q6"), Answer("cigar-shaped", "Q6")),
        ),
        Question(
            "Q8",
            "Is the odd feature a ring, or is the galaxy disturbed or irregular?",
            (
                Answer("ring"),
                Answer("lens or arc"),
                Answer("disturbed"),
                Answer("irregular"),
                Answer("other"),
                Answer("merger"),
                Answer("dust lane"),
            ),
        ),
        Question(
            "Q9",
            "Does the galaxy have a bulge at its centre? If so, what shape?",
            (Answer("rounded", "Q6"), Answer("boxy", "Q6"), Answer("no bulge", "Q6")),
        ),
        Question(
            "Q10",
            "How tightly wound do the spiral arms appear?",
            (Answer("tight", "Q11"), Answer("medium", "Q11"), Answer("loose", "Q11")),
        ),
        Question(
            "Q11",
            "How many spiral arms are there?",
            (
                Answer("1", "Q5"),
                Answer("2", "Q5"),
                Answer("3", "Q5"),
                Answer("4", "Q5"),
                Answer("more than four", "Q5"),
                Answer("cannot tell", "Q5"),
            ),
        ),
    ),
)

SPIRAL_COLUMN = "Class4.1"  # "is there any sign of a spiral arm pattern?": yes

TREES = {tree.name: tree for tree in (GALAXY_ZOO_2,)}


def tree_named(name: str, where: str) -> DecisionTree:
    """A decision tree by its name.

    Args:
        name: of the tree.
        where: it is used, for messages.

    Raises:
        MorphoscopeError: the tree is unknown.
    """
    if name not in TREES:
        raise MorphoscopeError(f"{where}: unknown decision tree '{name}'{did_you_mean(name, TREES)}")
    return TREES[name]
