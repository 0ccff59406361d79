"""The table over all cells: teacher beside student, for the report page, for summary.json and for the terminal."""

import statistics
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from rich import box
from rich.table import Table
from rich.text import Text

from polydistill.cell import Card, Facts, Interval
from polydistill.errors import DataError
from polydistill.files import read_json, require_input
from polydistill.verdict import holm
from polydistill.workspace import Cell

MINUS = "\N{MINUS SIGN}"
SPACE = "\N{NO-BREAK SPACE}"
NONE = "\N{EN DASH}"


class Row(Facts):
    """A cell; the student is the winner, trained on all accepted texts. `gap` is student less teacher.

    `p_value` is that of the gap being chance, adjusted for all comparisons of students with the teacher in the
    languages of the task (Holm); `beyond_chance`: whether that is rarer than the confidence allows.
    """

    task: str
    language: str
    language_name: str
    winner: str
    teacher_accuracy: float | None
    student_accuracy: float
    student_interval: Interval
    gap: float | None
    p_value: float | None
    beyond_chance: bool
    overtakes_teacher_at: int | None
    accepted: int
    generated: int
    kept_leaks: int


class Mean(Facts):
    """Plain means over the languages of a task; the teacher's is null unless it answered in all of them."""

    task: str
    languages: int
    teacher_accuracy: float | None
    student_accuracy: float
    gap: float | None


class Summary(Facts):
    """What summary.json holds."""

    schema_version: Literal[2] = 2
    rows: list[Row]
    means: list[Mean]


def summarise(cards: Sequence[Card]) -> Summary:
    """Return a row a card, in the order of the cards, and the means of the tasks with several languages."""
    adjusted = adjusted_p_values(cards)
    rows = [_row(card, adjusted.get((card.name, card.winner.student))) for card in cards]
    by_task = {row.task: [other for other in rows if other.task == row.task] for row in rows}
    return Summary(rows=rows, means=[_mean(task, of_task) for task, of_task in by_task.items() if len(of_task) > 1])


def adjusted_p_values(cards: Sequence[Card]) -> dict[tuple[str, str], float]:
    """Return the p-value of each comparison of a student with the teacher, adjusted for all those of the task.

    The keys are cell and kind of student.
    """
    adjusted: dict[tuple[str, str], float] = {}
    for task in dict.fromkeys(card.task.name for card in cards):
        found = {
            (card.name, kind): student.against_teacher.p_value
            for card in cards
            for kind, student in card.students.items()
            if card.task.name == task and student.against_teacher
        }
        adjusted |= dict(zip(found, holm(list(found.values())), strict=True))
    return adjusted


def _row(card: Card, p_value: float | None) -> Row:
    final, teacher = card.winning.final, card.teacher.accuracy
    return Row(
        task=card.task.name,
        language=card.language,
        language_name=card.language_name,
        winner=card.winner.student,
        teacher_accuracy=teacher,
        student_accuracy=final.accuracy,
        student_interval=final.interval.accuracy,
        gap=_gap(final.accuracy, teacher),
        p_value=p_value,
        beyond_chance=p_value is not None and p_value < 1 - card.confidence,
        overtakes_teacher_at=card.winning.overtakes_teacher_at,
        accepted=card.counts.accepted,
        generated=card.counts.generated,
        kept_leaks=card.counts.kept_leaks,
    )


def _mean(task: str, rows: Sequence[Row]) -> Mean:
    teachers = [row.teacher_accuracy for row in rows if row.teacher_accuracy is not None]
    teacher = statistics.fmean(teachers) if len(teachers) == len(rows) else None
    student = statistics.fmean(row.student_accuracy for row in rows)
    return Mean(
        task=task,
        languages=len(rows),
        teacher_accuracy=teacher,
        student_accuracy=student,
        gap=_gap(student, teacher),
    )


def _gap(student: float, teacher: float | None) -> float | None:
    return None if teacher is None else round(student - teacher, 10)


def percent(share: float | None) -> str:
    """Return a share as "84.3 %", None as a dash."""
    return NONE if share is None else f"{100 * share:.1f}{SPACE}%"


def points(gap: float | None) -> str:
    """Return a difference of shares in percentage points, "+6.2" or "−1.0"; None as a dash."""
    if gap is None:
        return NONE
    shown = f"{abs(100 * gap):.1f}"
    sign = "" if float(shown) == 0 else "+" if gap > 0 else MINUS
    return f"{sign}{shown}"


def between(interval: Interval) -> str:
    """Return an interval of shares as "81.0–87.4"."""
    return f"{100 * interval[0]:.1f}\N{EN DASH}{100 * interval[1]:.1f}"


def between_whole(interval: Interval) -> str:
    """Return an interval of shares as "81–87", for where there is little room."""
    return f"{100 * interval[0]:.0f}\N{EN DASH}{100 * interval[1]:.0f}"


def whole(number: int | None) -> str:
    """Return a whole number as "12,345", None as a dash."""
    return NONE if number is None else f"{number:,}"


def money(cost: float | None) -> str:
    """Return a cost, in the currency of the prices, with two decimals, or four below 1; None as a dash."""
    if cost is None:
        return NONE
    if 0 < cost < 0.0001:
        return "< 0.0001"
    return f"{cost:,.2f}" if cost >= 1 or not cost else f"{cost:.4f}"


def duration(seconds: float | None) -> str:
    """Return a time as "5.2 s", "12 min 40 s" or "3 h 20 min", None as a dash."""
    if seconds is None:
        return NONE
    if seconds < 59.95:
        return f"{seconds:.1f}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min{SPACE}{rest}{SPACE}s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,}{SPACE}h{SPACE}{minutes}{SPACE}min"


def overtaking(row: Row) -> str:
    """Return from how many texts on the student is ahead of its teacher; "all" where only the final student is."""
    if row.gap is None:
        return NONE
    if row.overtakes_teacher_at is not None:
        return f"{row.overtakes_teacher_at:,}"
    return "all" if row.gap > 0 else "never"


def headline(rows: Iterable[Row]) -> str:
    """Return the result over all cells in a sentence, and in another where it cannot be trusted."""
    rows = list(rows)
    leaking = [f"{row.task}/{row.language}" for row in rows if row.kept_leaks]
    warning = f" Not to be trusted, since accepted texts give the test set away: {', '.join(leaking)}."
    return _result(rows) + (warning if leaking else "")


def _result(rows: Sequence[Row]) -> str:
    unit = "languages" if len({row.task for row in rows}) == 1 else "cells (a task in a language)"
    scored = [row for row in rows if row.gap is not None]
    if not scored:
        return "The teacher has no scores here, so the students stand alone."
    ahead = sum(row.gap > 0 for row in scored if row.gap is not None)
    teacher = statistics.fmean(row.teacher_accuracy for row in scored if row.teacher_accuracy is not None)
    student = statistics.fmean(row.student_accuracy for row in scored)
    if len(scored) == 1:
        verdict = "is more accurate" if ahead else "is not more accurate"
        chance = "beyond chance" if scored[0].beyond_chance else "which may be chance"
        return f"The student {verdict} than its teacher: {percent(student)} against {percent(teacher)}, {chance}."
    clear = sum(row.beyond_chance and row.gap > 0 for row in scored if row.gap is not None)
    return (
        f"In {ahead} of {len(scored)} {unit} the student is more accurate than its teacher, in {clear} beyond chance; "
        f"on average {percent(student)} against {percent(teacher)}."
    )


def summary_table(report: Path) -> Table:
    """Return the table of report/summary.json for a terminal.

    Raises:
        DataError: If the file is missing or is no summary of this version.
    """
    path = require_input(report / "summary.json", "report")
    try:
        summary = Summary.model_validate(read_json(path))
    except ValidationError as exc:
        raise DataError(f"{path} is no summary of this version; run `polydistill report` again") from exc
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("language")
    for name in ("teacher", "student", "interval", "gap", "overtakes\nat", "accepted"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("winner")
    means = {mean.task: mean for mean in summary.means}
    for task, rows in groupby(summary.rows, key=lambda row: row.task):
        _add(table, Text(task, style="bold"))
        for row in rows:
            _add(
                table,
                f"{row.language_name} {row.language}",
                percent(row.teacher_accuracy),
                percent(row.student_accuracy),
                between_whole(row.student_interval),
                _styled(row.gap, "*" if row.beyond_chance else ""),
                overtaking(row),
                f"{row.accepted}/{row.generated}",
                row.winner,
            )
        if mean := means.get(task):
            scores = percent(mean.teacher_accuracy), percent(mean.student_accuracy)
            _add(table, f"mean of {mean.languages}", *scores, "", _styled(mean.gap), style="dim")
        table.add_section()
    told = [headline(summary.rows).replace(SPACE, "")]
    told += ["* beyond chance"] if any(row.beyond_chance for row in summary.rows) else []
    table.caption, table.caption_justify = "\n".join(told), "left"
    return table


def summary_markdown(report: Path) -> str:
    """Return the table of report/summary.json as Markdown, the result above it."""
    summary = Summary.model_validate(read_json(report / "summary.json"))
    head = ("task", "language", "teacher", "student", "interval", "gap", "accepted", "winner")
    lines = [headline(summary.rows), "", f"| {' | '.join(head)} |", "| --- | --- |" + " ---: |" * 5 + " --- |"]
    for row in summary.rows:
        values = (
            row.task,
            f"{row.language_name} ({row.language})",
            percent(row.teacher_accuracy),
            percent(row.student_accuracy),
            between_whole(row.student_interval),
            points(row.gap) + ("*" if row.beyond_chance else ""),
            f"{row.accepted}/{row.generated}",
            row.winner,
        )
        lines.append(f"| {' | '.join(values)} |")
    return "\n".join([*lines, "", "Test accuracy; \\* beyond chance."]) + "\n"


def stops(cells: Iterable[Cell]) -> list[str]:
    """Return a line for each cell that filter or a gate has stopped: the page is of the run before."""
    lines = []
    for cell in cells:
        path = cell.room("measured") / "gates.json"
        gates = read_json(path).get("gates", {}) if path.exists() else {}
        failed = [name for name, gate in gates.items() if gate["action"] == "stop" and gate["passed"] is False]
        filtered = cell.room("filtered")
        if (filtered / "filter.json").exists() and not (filtered / "accepted.parquet").exists():
            failed, path = ["filter"], filtered / "filter.json"
        if failed:
            lines.append(f"{cell.name}: stopped by {', '.join(failed)} ({path}); what follows is of the run before")
    return lines


def _styled(gap: float | None, mark: str = "") -> Text:
    return Text(points(gap) + mark, style="" if not gap else "green" if gap > 0 else "yellow")


def _add(table: Table, *cells: str | Text, style: str = "") -> None:
    # Text, not str: rich would read square brackets in a name as markup.
    table.add_row(*(c if isinstance(c, Text) else Text(c) for c in cells), style=style)
