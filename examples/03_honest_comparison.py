"""Is a change worth it? Two recipes on the same galaxies, compared galaxy by galaxy.

    python examples/03_honest_comparison.py out

Both runs share the split, so McNemar's test applies: it looks at the galaxies that one run gets right
and the other wrong. One training of each says little about another training: repeat with other seeds
before you believe a small difference.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import morphoscope as ms
from morphoscope.report import report_of


def main(out: Path, count: int = 2000, epochs: int = 8) -> dict:
    """Train with and without augmentation, and print the comparison."""
    store = ms.simulate(out / "galaxies", count, size=64)
    base = ms.find_recipe("small/simulated").changed(training={"epochs": epochs})
    recipes = {
        "augmented": base,
        "as-they-are": base.changed(
            augment={
                "rotation": 0.0,
                "flip_horizontal": False,
                "flip_vertical": False,
                "zoom": (1.0, 1.0),
                "shift": 0.0,
            }
        ),
    }
    runs = []
    for name, recipe in recipes.items():
        run = ms.train(recipe, store, out / name, report=False).run
        runs.append({"name": name, "predictions": run.predictions(), "metrics": run.metrics()})
    result = ms.compare(runs)
    print(report_of(result["kind"]).compare_table(result))
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to make")
    main(parser.parse_args().out)
