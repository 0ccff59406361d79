"""The tables of docs/paper-data.md, from a workspace that `polydistill import-paper` made and `dvc repro` ran.

python benchmarks/paper_table.py WORKSPACE
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polydistill.files import read_json
from polydistill.workspace import Cell, Workspace


def percent(share: float | None) -> str:
    """Return a share as a percentage with one decimal, a dash for None."""
    return "–" if share is None else f"{share * 100:.1f}"


def at(curve: Sequence[dict[str, Any]], source: str, size: int) -> float | None:
    """Return the mean accuracy of a point of a learning curve, None where there is none."""
    return next((row["mean"] for row in curve if (row["source"], row["size"]) == (source, size)), None)


def row(cell: Cell) -> list[str | float | None]:
    """Return what the table says of a cell, accuracies as shares."""
    evaluation = read_json(cell.room("evaluated") / "evaluation.json")
    filtered = read_json(cell.room("filtered") / "filter.json")
    student = evaluation["students"]["linear"]
    final, curve = student["final"], student["curve"]
    low, high = final["interval"]["accuracy"]
    return [
        cell.language,
        evaluation["n_test"],
        f"{filtered['accepted']} of {filtered['generated']}",
        final["accuracy"],
        f"{percent(low)}–{percent(high)}",
        final["macro_f1"],
        at(curve, "synthetic", 100),
        at(curve, "human", 100),
        at(curve, "synthetic", 200),
        at(curve, "human", 200),
        evaluation["teacher"]["accuracy"],
    ]


def main() -> None:
    """Print a Markdown table a task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    workspace = Workspace.open(parser.parse_args().workspace)
    for task in dict.fromkeys(cell.task for cell in workspace.cells()):
        rows = [row(cell) for cell in workspace.cells() if cell.task == task]
        print(f"### {task}\n")
        print(
            "| language | test texts | accepted | all synthetic: accuracy | 95 % interval | macro-F1 "
            "| 100 synthetic | 100 human | 200 synthetic | 200 human | zero-shot |"
        )
        print("| --- | ---: " + "| ---: " * 9 + "|")
        for cells in rows:
            shown = [percent(value) if isinstance(value, float) or value is None else str(value) for value in cells]
            print("| " + " | ".join(shown) + " |")
        print("| **mean** | | ", end="")
        for column in range(3, 11):
            known = [cells[column] for cells in rows if isinstance(cells[column], float)]
            print("| " + (percent(statistics.mean(known)) if len(known) == len(rows) else "") + " ", end="")
        print("|\n")


if __name__ == "__main__":
    main()
