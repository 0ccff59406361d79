"""The tables of docs/paper-data.md, from a workspace that `polydistill import-paper` made and `dvc repro` ran.

    python benchmarks/paper_table.py WORKSPACE [--only texts|scores]

With `--only texts` the steps up to `measure` are enough; `--only scores` needs no `measure`.
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


MEASURES = ("distinct_1", "distinct_2", "new_words", "self_bleu", "compression_ratio", "nearest_similarity")
MEASURES += ("intra_class_distance", "own_perplexity")
VARIED = {"distinct_1", "distinct_2", "new_words", "intra_class_distance", "own_perplexity"}
"""Larger means more varied; for the others smaller does."""


def rejections(cells: Sequence[Cell]) -> None:
    """Print what filter rejected and marked, by cell; checks that found nothing anywhere are left out."""
    facts = {cell.name: read_json(cell.room("filtered") / "filter.json") for cell in cells}
    reasons = [r for r in next(iter(facts.values()))["by_reason"] if any(of["by_reason"][r] for of in facts.values())]
    print("### Rejected\n")
    print("| cell | generated | accepted | " + " | ".join(reasons) + " | marked: doubtful_label |")
    print("| --- " + "| ---: " * (len(reasons) + 3) + "|")
    for name, of_cell in facts.items():
        counts = [of_cell["by_reason"][reason] or "" for reason in reasons]
        row = [name, of_cell["generated"], of_cell["accepted"], *counts, of_cell["marked"]["doubtful_label"]]
        print("| " + " | ".join(map(str, row)) + " |")
    total = [sum(of["by_reason"][reason] for of in facts.values()) for reason in reasons]
    sums = [sum(of[key] for of in facts.values()) for key in ("generated", "accepted")]
    row = [*sums, *total, sum(of["marked"]["doubtful_label"] for of in facts.values())]
    print("| **all** | " + " | ".join(map(str, row)) + " |\n")


def diversity(cells: Sequence[Cell]) -> None:
    """Print measures of synthetic and human text by cell, and in how many cells which side is the more varied."""
    facts = {cell.name: read_json(cell.room("measured") / "diversity.json") for cell in cells}
    print("### Diversity: synthetic / human; * where the interval of the difference leaves 0 out\n")
    print("| cell | texts a side | " + " | ".join(MEASURES) + " | AUC | drift |")
    print("| --- " + "| ---: " * (len(MEASURES) + 2) + "| --- |")
    less = dict.fromkeys(MEASURES, 0)
    more = dict.fromkeys(MEASURES, 0)
    for name, of_cell in facts.items():
        shown = []
        for measure in MEASURES:
            values = of_cell["measures"][measure]
            low, high = values["intervals"]["difference"]
            sure = low > 0 or high < 0
            if sure:
                synthetic_varied = (values["difference"] > 0) == (measure in VARIED)
                (more if synthetic_varied else less)[measure] += 1
            shown.append(f"{values['synthetic']:.3g} / {values['human']:.3g}{'*' if sure else ''}")
        auc, verdict = of_cell["apart"]["auc"]["value"], of_cell["drift"]["verdict"]
        beside = "" if of_cell["compared_with"] == "human" else " (seeds)"
        print(f"| {name} | {of_cell['n']}{beside} | " + " | ".join(shown) + f" | {auc:.2f} | {verdict} |")
    for side, counts in (("human", less), ("synthetic", more)):
        print(f"| **{side} surely more varied** | | " + " | ".join(str(counts[m]) for m in MEASURES) + " | | |")
    print()


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--only", choices=["texts", "scores"], help="print these alone")
    arguments = parser.parse_args()
    workspace = Workspace.open(arguments.workspace)
    if arguments.only != "scores":
        rejections(workspace.cells())
        diversity(workspace.cells())
    if arguments.only == "texts":
        return
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
