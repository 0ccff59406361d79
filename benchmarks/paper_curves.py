"""The learning curves of docs/paper-data.md: synthetic against human texts, beside what two LLMs reach zero-shot.

    python benchmarks/paper_curves.py WORKSPACE PAPER_DATA --figures DIR

WORKSPACE is one that `polydistill import-paper` made and in which `polydistill evaluate` ran. Prints Markdown tables,
and writes curves-<task>.svg into DIR. The LLMs' published replies, which there are for topic alone, are read by the one
parser; an abstention is wrong.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from replies import Answer, read, read_answers

from polydistill.figures import Panel, Point, draw_curves
from polydistill.files import read_json
from polydistill.paper.published import known_facts
from polydistill.task import Label, language_name
from polydistill.verdict import holm
from polydistill.workspace import Cell, Workspace

LLMS = {"gpt4": "GPT-4", "gpt3.5": "GPT-3.5"}


def zero_shot(paper_data: Path, cell: Cell) -> dict[str, float]:
    """Return the accuracy of each LLM on the test texts of the cell, nothing for a task without replies."""
    if cell.task != "topic":
        return {}
    labels = [Label.model_validate(label) for label in known_facts()["tasks"]["topic"]["labels"]]
    answers = read_answers(paper_data / "llm-replies/topic", labels)

    def right(of_file: Sequence[Answer]) -> float:
        return statistics.mean(read(answer, labels) == answer.label for answer in of_file)

    return {name: right(list(answers[f"{cell.language}-{model}"].values())) for model, name in LLMS.items()}


def panel(evaluation: dict[str, Any], levels: dict[str, float]) -> Panel:
    """Return the curves of a cell, and the levels beside them."""
    lines: dict[str, list[Point]] = {}
    for row in evaluation["students"]["linear"]["curve"]:
        point = Point(row["size"], row["mean"], *row["interval"])
        lines.setdefault(f"{row['source']} texts", []).append(point)
    return Panel(lines, {f"{name}, zero-shot": level for name, level in levels.items()})


def table(evaluations: dict[Cell, dict[str, Any]], levels: dict[Cell, dict[str, float]]) -> None:
    """Print accuracy in per cent, in brackets the half-width of its 95 % interval: a row a language and source."""
    curves = {
        cell: {(row["source"], row["size"]): row for row in of["students"]["linear"]["curve"]}
        for cell, of in evaluations.items()
    }
    sizes = sorted({size for curve in curves.values() for _, size in curve})
    llms = list(dict.fromkeys(name for of_cell in levels.values() for name in of_cell))
    print(f"| language | trained on | {' | '.join(map(str, sizes))} | all accepted | {' | '.join([*llms, ''])}")
    print("| --- | --- " + "| ---: " * (len(sizes) + 1 + len(llms)) + "|")
    for cell, curve in curves.items():
        for source in ("synthetic", "human"):
            points = [curve.get((source, size)) for size in sizes]
            shown = [_shown(row["mean"], row["interval"]) if row else "–" for row in points]
            final = evaluations[cell]["students"]["linear"]["final"]
            of_all = _shown(final["accuracy"], final["interval"]["accuracy"]) if source == "synthetic" else ""
            beside = [f"{100 * levels[cell][name]:.1f}" if source == "synthetic" else "" for name in llms]
            print("| " + " | ".join([cell.language, source, *shown, of_all, *beside]) + " |")
    for source in ("synthetic", "human"):
        means = []
        for size in sizes:
            known = [curve[source, size]["mean"] for curve in curves.values() if (source, size) in curve]
            means.append(f"{100 * statistics.mean(known):.1f}" if len(known) == len(curves) else "")
        finals = [of["students"]["linear"]["final"]["accuracy"] for of in evaluations.values()]
        of_all = f"{100 * statistics.mean(finals):.1f}" if source == "synthetic" else ""
        beside = [
            f"{100 * statistics.mean(of[name] for of in levels.values()):.1f}" if source == "synthetic" else ""
            for name in llms
        ]
        print("| " + " | ".join(["**mean**", source, *means, of_all, *beside]) + " |")
    print()


def _shown(mean: float, interval: Sequence[float]) -> str:
    return f"{100 * mean:.1f} ({100 * (interval[1] - interval[0]) / 2:.1f})"


def verdicts(evaluations: dict[Cell, dict[str, Any]]) -> None:
    """Print how the final student stands beside the teacher's own zero-shot answers, where there are any."""
    beside = {cell: of["students"]["linear"]["against_teacher"] for cell, of in evaluations.items()}
    if not all(beside.values()):
        return
    adjusted = dict(
        zip((cell.language for cell in beside), holm([of["p_value"] for of in beside.values()]), strict=True)
    )
    print("| language | student less GPT-4, points | 95 % interval | p, Holm | gap this test set shows | break-even |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for cell, of in beside.items():
        low, high = of["interval"]
        told = evaluations[cell]["students"]["linear"]["break_even"]["told"]
        gap = f"{100 * of['detectable_gap']:.1f}"
        print(
            f"| {cell.language} | {100 * of['difference']:+.1f} | {100 * low:+.1f} to {100 * high:+.1f} "
            f"| {adjusted[cell.language]:.2g} | {gap} | {told} |"
        )
    print()


def main() -> None:
    """Print tables, write figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("paper_data", type=Path)
    parser.add_argument("--figures", type=Path, required=True)
    arguments = parser.parse_args()
    cells = Workspace.open(arguments.workspace).cells()
    for task in dict.fromkeys(cell.task for cell in cells):
        of_task = [cell for cell in cells if cell.task == task]
        evaluations = {cell: read_json(cell.room("evaluated") / "evaluation.json") for cell in of_task}
        levels = {cell: zero_shot(arguments.paper_data, cell) for cell in of_task}
        print(f"### {task}\n")
        table(evaluations, levels)
        verdicts(evaluations)
        panels = {language_name(cell.language): panel(evaluations[cell], levels[cell]) for cell in of_task}
        draw_curves(arguments.figures / f"curves-{task}.svg", panels)


if __name__ == "__main__":
    main()
