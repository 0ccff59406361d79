"""What a card says of a cell, and how it is read back."""

import json
from pathlib import Path
from typing import Any

import pytest

from build import build_generated, build_prepared
from cards import make_card, write_cards
from polydistill.card import pick_examples, run_card
from polydistill.cell import read_card
from polydistill.errors import DataError
from polydistill.files import read_json, write_json
from polydistill.records import REJECTED, Record, Source, to_row, write_rows

SEEDS = {"sport": ["Zmagali smo!"], "travel": ["Vlak zamuja."]}
SCORES = {"accuracy": 0.8, "macro_f1": 0.75, "interval": {"accuracy": [0.7, 0.9], "macro_f1": [0.65, 0.85]}}
EVALUATION = {
    "schema_version": 1,
    "task": "demo",
    "language": "sl",
    "labels": ["sport", "travel"],
    "n_test": 40,
    "confidence": 0.95,
    "teacher": {**SCORES, "model": "gpt-4", "abstained": 3, "note": ""},
    "students": {
        "linear": {
            "final": {"size": 6, **SCORES},
            "overtakes_teacher_at": None,
            "curve": [
                {
                    "source": "synthetic",
                    "size": 4,
                    "runs": 20,
                    "mean": 0.7,
                    "std": 0.02,
                    "interval": [0.65, 0.75],
                    "macro_f1": {"mean": 0.68, "std": 0.02, "interval": [0.6, 0.7]},
                }
            ],
        }
    },
}
WINNER = {
    "schema_version": 1,
    "task": "demo",
    "language": "sl",
    "student": "linear",
    "metric": "accuracy",
    "reason": "the only student that was trained",
    "validation": {"linear": {"accuracy": 0.9, "macro_f1": 0.9, "n": 10, "bytes": 5000}},
    "digests": {"model": "a3", "accepted": "09"},
}
FILTER = {
    "schema_version": 1,
    "generated": 9,
    "accepted": 6,
    "rejected": 3,
    "by_reason": {"empty": 0, "markup": 1, "near_duplicate": 2},
    "reasons": {"empty": "nothing", "markup": "layout left over", "near_duplicate": "nearly the same"},
    "by_label": {"sport": {"accepted": 4, "rejected": 2}, "travel": {"accepted": 2, "rejected": 1}},
    "language": {"checked": False},
    "self_revision": {"checked": True},
}
DIVERSITY = {
    "schema_version": 1,
    "compared_with": "seed",
    "n": 2,
    "measures": {"distinct_2": {"synthetic": 0.7, "human": 0.8, "meaning": "higher = more varied"}},
    "drift": {
        "characters": {"test": "ks", "statistic": 0.4, "p_value": 0.01},
        "label": {"test": "chi-square", "statistic": 0.1, "p_value": 0.05},
    },
}
FOLDERS = ("prepared", "generated", "filtered", "measured", "evaluated", "selected")


def rejected_row(text: str, reason: str, detail: str | None = "") -> dict[str, Any]:
    return to_row(Record(text, "sport", "sl", "synthetic", Source()), reason=reason, detail=detail)


@pytest.fixture
def cell(tmp_path: Path) -> list[Path]:
    """The folders of a cell, in the order in which `run_card` takes them."""
    build_prepared(tmp_path / "prepared", SEEDS)
    build_generated(tmp_path / "generated", {})
    usage = {
        "schema_version": 1,
        "teacher": {"kind": "openai", "model": "Llama-3-70B"},
        "purposes": {},
        "unreadable": [{"request": "generate/sport/0", "reason": "broken JSON"}] * 2,
        "shortfall": {"sport": 0, "travel": 5},
    }
    write_json(tmp_path / "generated" / "usage.json", usage)
    rows = [
        rejected_row("Danes dežuje povsod.", "near_duplicate", "0.91 like: Danes dežuje."),
        rejected_row("Danes dežuje!", "near_duplicate", "0.95 like: Danes dežuje."),
        rejected_row("<b>Gol</b>", "markup", "HTML: <b>"),
    ]
    write_rows(tmp_path / "filtered" / "rejected.parquet", rows, REJECTED)
    write_json(tmp_path / "filtered" / "filter.json", FILTER)
    write_json(tmp_path / "measured" / "diversity.json", DIVERSITY)
    write_json(tmp_path / "evaluated" / "evaluation.json", EVALUATION)
    write_json(tmp_path / "selected" / "winner.json", WINNER)
    return [tmp_path / name for name in FOLDERS]


def test_gathers_what_the_steps_say(cell: list[Path], tmp_path: Path) -> None:
    run_card(*cell, tmp_path / "card")
    card = read_card(tmp_path / "card" / "card.json")
    assert (card.name, card.language_name) == ("demo/sl", "Slovenian")
    assert card.counts.model_dump() == {
        "seeds": 2,
        "human": 0,
        "test": 0,
        "generated": 9,
        "accepted": 6,
        "rejected": 3,
    }
    assert [(label.name, label.accepted, label.rejected) for label in card.labels] == [
        ("sport", 4, 2),
        ("travel", 2, 1),
    ]
    assert (card.teacher.model, card.teacher.zero_shot_model, card.teacher.accuracy) == ("Llama-3-70B", "gpt-4", 0.8)
    assert card.winning.final.size == 6
    assert (card.generation.unreadable, card.generation.shortfall) == (2, {"travel": 5})
    assert not card.checks.language
    assert card.winner.digests == {"model": "a3", "accepted": "09"}


def test_rejections_come_by_frequency_with_their_examples(cell: list[Path], tmp_path: Path) -> None:
    run_card(*cell, tmp_path / "card")
    often, once = read_card(tmp_path / "card" / "card.json").rejected
    assert (often.reason, often.count, often.meaning) == ("near_duplicate", 2, "nearly the same")
    assert [example.text for example in often.examples] == ["Danes dežuje!", "Danes dežuje povsod."]
    assert (once.reason, once.examples[0].detail) == ("markup", "HTML: <b>")


def test_a_property_differs_below_five_percent(cell: list[Path], tmp_path: Path) -> None:
    run_card(*cell, tmp_path / "card")
    drift = read_card(tmp_path / "card" / "card.json").diversity.drift
    assert {name: test.differs for name, test in drift.items()} == {"characters": True, "label": False}


def test_the_same_cell_gives_the_same_bytes(cell: list[Path], tmp_path: Path) -> None:
    run_card(*cell, tmp_path / "one")
    run_card(*cell, tmp_path / "two")
    assert (tmp_path / "one" / "card.json").read_bytes() == (tmp_path / "two" / "card.json").read_bytes()


def test_a_teacher_without_scores(cell: list[Path], tmp_path: Path) -> None:
    nothing = dict.fromkeys(("model", "accuracy", "macro_f1", "interval", "abstained")) | {"note": "not asked"}
    write_json(tmp_path / "evaluated" / "evaluation.json", EVALUATION | {"teacher": nothing})
    run_card(*cell, tmp_path / "card")
    teacher = read_card(tmp_path / "card" / "card.json").teacher
    assert (teacher.accuracy, teacher.note) == (None, "not asked")


def test_folders_of_two_cells_are_refused(cell: list[Path], tmp_path: Path) -> None:
    write_json(tmp_path / "selected" / "winner.json", WINNER | {"language": "sw"})
    with pytest.raises(DataError, match=r"prepared is of demo/sl.*selected is of demo/sw"):
        run_card(*cell, tmp_path / "card")
    assert not (tmp_path / "card").exists()


@pytest.mark.parametrize(
    ("folder", "file", "step"),
    [("filtered", "rejected.parquet", "filter"), ("selected", "winner.json", "select")],
)
def test_a_missing_file_is_named_with_its_step(
    cell: list[Path], tmp_path: Path, folder: str, file: str, step: str
) -> None:
    (tmp_path / folder / file).unlink()
    with pytest.raises(DataError, match=rf"{file} is missing; run `polydistill {step}`"):
        run_card(*cell, tmp_path / "card")


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        pytest.param("selected/winner.json", WINNER | {"student": "lora"}, "lora is not among", id="unknown winner"),
        pytest.param("selected/winner.json", {"task": "demo", "language": "sl"}, "`student`", id="key missing"),
        pytest.param("measured/diversity.json", DIVERSITY | {"n": "many"}, "diversity.n", id="wrong type"),
    ],
)
def test_a_file_that_misstates_is_refused(
    cell: list[Path], tmp_path: Path, file: str, content: dict[str, Any], named: str
) -> None:
    write_json(tmp_path / file, content)
    with pytest.raises(DataError, match=named):
        run_card(*cell, tmp_path / "card")


@pytest.mark.parametrize(
    ("texts", "chosen"),
    [
        pytest.param(["cccc", "a", "bb", "ddd"], ["a", "bb", "ddd"], id="shortest first"),
        pytest.param(["...", "beseda", "12"], ["beseda", "12", "..."], id="letters before signs"),
        pytest.param(["bb", "aa"], ["aa", "bb"], id="equal length by alphabet"),
        pytest.param(["a\x07b"], ["a\ufffdb"], id="control characters shown"),
        pytest.param(["ja " * 200], [("ja " * 200)[:279].rstrip() + "…"], id="long text cut"),
    ],
)
def test_examples(texts: list[str], chosen: list[str]) -> None:
    rows = [rejected_row(text, "markup", None) for text in texts]
    assert [example["text"] for example in pick_examples(rows)] == chosen
    assert pick_examples(rows[::-1]) == pick_examples(rows)


def test_a_card_of_another_version_is_refused(tmp_path: Path) -> None:
    path = write_cards(tmp_path, make_card("sl")) / "clinic" / "sl" / "card.json"
    write_json(path, read_json(path) | {"schema_version": 99})
    with pytest.raises(DataError, match=r"card.json: schema_version: .*run `polydistill card` again"):
        read_card(path)


def test_a_card_survives_the_way_through_json(tmp_path: Path) -> None:
    card = make_card("sl")
    path = write_cards(tmp_path, card) / "clinic" / "sl" / "card.json"
    assert read_card(path) == card
    assert json.loads(path.read_text(encoding="utf-8"))["language_name"] == "Slovenian"
