"""The table over all cells, as a terminal shows it."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from cards import make_card
from polydistill.cell import Card
from polydistill.errors import DataError
from polydistill.files import write_json
from polydistill.summary import (
    Row,
    duration,
    headline,
    money,
    overtaking,
    percent,
    points,
    stops,
    summarise,
    summary_table,
)
from polydistill.workspace import Cell


def shown(tmp_path: Path, *cards: Card, width: int = 80) -> list[list[str]]:
    """Return the words of each line of the table."""
    write_json(tmp_path / "summary.json", summarise(cards).model_dump(mode="json"))
    out = io.StringIO()
    Console(width=width, file=out).print(summary_table(tmp_path))
    return [line.replace("\N{NO-BREAK SPACE}", "").split() for line in out.getvalue().splitlines()]


def row(**changes: object) -> Row:
    return summarise([make_card()]).rows[0].model_copy(update=changes)


def test_a_line_a_cell_and_the_mean(tmp_path: Path) -> None:
    lines = shown(tmp_path, make_card("sl", teacher=0.78, final=0.85), make_card("sw", teacher=0.7, final=0.83))
    assert ["Slovenian", "sl", "78.0%", "85.0%", "78–92", "+7.0*", "100", "263/300", "linear"] in lines
    assert ["mean", "of", "2", "74.0%", "84.0%", "+10.0"] in lines
    said = " ".join(" ".join(line) for line in lines[-3:])
    assert "In 2 of 2 languages the student is more accurate than its teacher, in 2 beyond chance; on average" in said


def test_a_cell_that_a_gate_stopped_is_told_of(tmp_path: Path) -> None:
    cells = [Cell(tmp_path, "clinic", language) for language in ("az", "sl", "sw", "te")]
    for cell, action, passed in zip(cells, ("stop", "stop", "warn"), (False, True, False), strict=False):
        gates = {"auc": {"action": action, "passed": passed}, "drift": {"action": "stop", "passed": None}}
        write_json(cell.room("measured") / "gates.json", {"schema_version": 1, "gates": gates})
    write_json(cells[3].room("filtered") / "filter.json", {})
    lines = stops(cells)
    assert [line.partition(" (")[0] for line in lines] == ["clinic/az: stopped by auc", "clinic/te: stopped by filter"]
    assert lines[0].endswith("gates.json); what follows is of the run before")


def test_scores_on_a_test_set_that_was_given_away_are_not_to_be_trusted(tmp_path: Path) -> None:
    card = make_card("sw")
    leaking = card.model_copy(update={"counts": card.counts.model_copy(update={"kept_leaks": 3})})
    said = " ".join(" ".join(line) for line in shown(tmp_path, make_card("sl"), leaking, width=200))
    assert "Not to be trusted, since accepted texts give the test set away: clinic/sw." in said
    assert "Not to be trusted" not in " ".join(" ".join(line) for line in shown(tmp_path, make_card("sl"), card))


def test_fits_a_terminal_of_80_columns(tmp_path: Path) -> None:
    card = make_card("az", teacher=0.7, final=0.9)
    counts = card.counts.model_copy(update={"accepted": 1999, "generated": 2000})
    lines = shown(tmp_path, card.model_copy(update={"counts": counts}))
    assert ["Azerbaijani", "az", "70.0%", "90.0%", "83–97", "+20.0*", "100", "1999/2000", "linear"] in lines


def test_names_are_no_markup(tmp_path: Path) -> None:
    card = make_card("sl")
    lines = shown(tmp_path, card.model_copy(update={"language_name": "[red]Martian[/]"}))
    assert any("[red]Martian[/]" in " ".join(line) for line in lines)


def test_no_teacher(tmp_path: Path) -> None:
    lines = shown(tmp_path, make_card("sl", teacher=None, overtakes=None))
    assert ["Slovenian", "sl", "–", "85.0%", "78–92", "–", "–", "263/300", "linear"] in lines
    assert lines[-1] == "The teacher has no scores here, so the students stand alone.".split()


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (row(overtakes_teacher_at=1000, gap=0.1), "1,000"),
        (row(overtakes_teacher_at=None, gap=0.1), "all"),
        (row(overtakes_teacher_at=None, gap=0.0), "never"),
        (row(overtakes_teacher_at=None, gap=-0.1), "never"),
        (row(overtakes_teacher_at=None, gap=None), "–"),
    ],
)
def test_overtaking(cell: Row, said: str) -> None:
    assert overtaking(cell) == said


@pytest.mark.parametrize(
    ("gap", "said"), [(0.062, "+6.2"), (-0.01, "−1.0"), (0.0, "0.0"), (-0.0004, "0.0"), (None, "–")]
)
def test_points(gap: float | None, said: str) -> None:
    assert points(gap) == said


def test_percent() -> None:
    assert percent(0.8433) == "84.3\N{NO-BREAK SPACE}%"
    assert percent(None) == "–"


@pytest.mark.parametrize(
    ("cost", "said"), [(None, "–"), (0.0, "0.00"), (0.00001, "< 0.0001"), (0.0352, "0.0352"), (1234.5, "1,234.50")]
)
def test_money(cost: float | None, said: str) -> None:
    assert money(cost) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "–"),
        (0.412, "0.4 s"),
        (59.94, "59.9 s"),
        (59.99, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (90_000, "25 h 0 min"),
    ],
)
def test_duration(seconds: float | None, said: str) -> None:
    assert duration(seconds).replace("\N{NO-BREAK SPACE}", " ") == said


def test_headline_of_a_worse_student() -> None:
    said = headline([row(teacher_accuracy=0.9, student_accuracy=0.8, gap=-0.1)])
    assert said.replace("\N{NO-BREAK SPACE}", " ") == (
        "The student is not more accurate than its teacher: 80.0 % against 90.0 %, beyond chance."
    )


def test_missing_or_foreign_summary(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"summary.json is missing; run `polydistill report`"):
        summary_table(tmp_path)
    write_json(tmp_path / "summary.json", {"schema_version": 2})
    with pytest.raises(DataError, match="run `polydistill report` again"):
        summary_table(tmp_path)
