"""Decides what an ablation shows: every variant of the settings beside the others, on the same test texts."""

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polydistill.errors import DataError
from polydistill.figures import Panel, Point, draw_curves
from polydistill.files import new_folder, read_json, require_input, write_json

log = logging.getLogger(__name__)

FINAL = "all"
"""The size of the final student's row: all accepted texts, however many."""


@dataclass(frozen=True)
class Score:
    """Accuracy as a mean over cells, with the bounds of its interval; `cells` says over how many."""

    mean: float
    low: float
    high: float
    cells: int


@dataclass(frozen=True)
class Line:
    """What is told of one variant of the settings: of one kind of student, trained on one source, its score by size."""

    variant: str
    student: str
    source: str
    scores: Mapping[int | str, Score]


def compare_variants(evaluations: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Line]:
    """Return a line a variant, student and source.

    Args:
        evaluations: What evaluation.json holds, with the name of the variant: one a variant and cell.

    Raises:
        DataError: If there is none, or a variant is not there in all cells.
    """
    found: dict[tuple[str, str, str], dict[int | str, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    cells: dict[str, list[str]] = defaultdict(list)
    for variant, evaluation in evaluations:
        cells[variant].append(f"{evaluation['task']}/{evaluation['language']}")
        for student, of_student in evaluation["students"].items():
            for row in of_student["curve"]:
                scores = {"mean": row["mean"], "interval": row["interval"]}
                found[variant, student, row["source"]][row["size"]].append(scores)
            final = of_student["final"]
            scores = {"mean": final["accuracy"], "interval": final["interval"]["accuracy"]}
            found[variant, student, "synthetic"][FINAL].append(scores)
    if not cells:
        raise DataError("there is nothing to compare: no variant was evaluated")
    if len({tuple(sorted(of_variant)) for of_variant in cells.values()}) > 1:
        told = "; ".join(f"{variant}: {', '.join(sorted(of_variant))}" for variant, of_variant in cells.items())
        raise DataError(f"the variants were not evaluated in the same cells: {told}")
    return [
        Line(variant, student, source, {size: _over_cells(of_size) for size, of_size in by_size.items()})
        for (variant, student, source), by_size in found.items()
    ]


def _over_cells(scores: Sequence[Mapping[str, Any]]) -> Score:
    """Return the mean over cells; their test texts are others, so that their errors add up as those of chance do."""
    mean = sum(score["mean"] for score in scores) / len(scores)
    below = math.hypot(*(score["mean"] - score["interval"][0] for score in scores)) / len(scores)
    above = math.hypot(*(score["interval"][1] - score["mean"] for score in scores)) / len(scores)
    return Score(mean, mean - below, mean + above, len(scores))


def sizes_of(lines: Sequence[Line]) -> list[int | str]:
    """Return every size that some line has a score at, the final student's last."""
    sizes = {size for line in lines for size in line.scores}
    return [*sorted(size for size in sizes if isinstance(size, int)), *([FINAL] if FINAL in sizes else [])]


def markdown_table(lines: Sequence[Line]) -> str:
    """Return the lines as a Markdown table: accuracy in per cent, in brackets its interval.

    A score over fewer cells than the line has elsewhere stands with their number, since it is a mean of other cells.
    """
    sizes = sizes_of(lines)
    head = ["variant", "student", "trained on", *map(str, sizes)]
    rows = [head, ["---"] * 3 + ["---:"] * len(sizes)]
    for line in lines:
        most = max(score.cells for score in line.scores.values())
        rows.append([line.variant, line.student, line.source, *(_cell(line.scores.get(size), most) for size in sizes)])
    told = "Accuracy in per cent, the mean over cells; in brackets its interval. `all`: the final student."
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + f"\n\n{told}\n"


def _cell(score: Score | None, most: int) -> str:
    if score is None:
        return "\N{EN DASH}"
    shown = f"{100 * score.mean:.1f} ({100 * score.low:.1f}\N{EN DASH}{100 * score.high:.1f})"
    return shown if score.cells == most else f"{shown}, {score.cells} of {most} cells"


def _name(line: Line, lines: Sequence[Line]) -> str:
    """Return what a line of the figure is called: what tells it from the others."""
    parts = [(line.variant, {other.variant for other in lines}), (line.student, {other.student for other in lines})]
    parts.append((line.source, {other.source for other in lines}))
    return ", ".join(part for part, all_of_them in parts if len(all_of_them) > 1) or line.variant


def run_ablate(evaluated: Sequence[tuple[str, Path]], ablated: Path) -> None:
    """Set variants of the settings side by side.

    Args:
        evaluated: What `evaluate` wrote, a folder a variant and cell, with the name of the variant.
        ablated: Folder to write: table.md, figure.svg and ablation.json.

    Raises:
        DataError: If a folder lacks its evaluation, or a variant is not there in all cells.
    """
    read = [
        (variant, read_json(require_input(folder / "evaluation.json", "evaluate"))) for variant, folder in evaluated
    ]
    lines = compare_variants(read)
    drawn = {
        _name(line, lines): [
            Point(size, score.mean, score.low, score.high)
            for size, score in line.scores.items()
            if isinstance(size, int) and score.cells == max(of.cells for of in line.scores.values())
        ]
        for line in lines
    }
    with new_folder(ablated) as out:
        (out / "table.md").write_text(markdown_table(lines), encoding="utf-8")
        title = f"mean accuracy over {max(score.cells for line in lines for score in line.scores.values())} cells"
        draw_curves(out / "figure.svg", {title: Panel({name: line for name, line in drawn.items() if line}, {})})
        told = [
            {
                "variant": line.variant,
                "student": line.student,
                "source": line.source,
                "scores": {str(size): vars(score) for size, score in line.scores.items()},
            }
            for line in lines
        ]
        write_json(out / "ablation.json", {"schema_version": 1, "lines": told})
    log.info("%s, variants: %d", ablated / "table.md", len({line.variant for line in lines}))
