import json
import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from polydistill.errors import DataError
from polydistill.monitor import judge, label_shift, run_monitor
from polydistill.params import MonitorParams
from polydistill.properties import text_properties
from polydistill.traffic import Answer, to_lines
from winners import SLOVENIAN, SWAHILI, build_reference, build_winner

PARAMS = MonitorParams(min_texts=30, max_label_shift=0.2, max_text_shift=0.3)
SHORT = ["Dober dan.", "Hvala lepa.", "Kdaj imate odprto?", "Prosim za izvide.", "Rad bi se naročil."]
LONG = [f"Spoštovani, {text} Oglasite se mi, prosim, čim prej, ker se mi mudi." for text in SHORT]


def reference(texts: Sequence[str], labels: Sequence[str]) -> dict[str, Sequence[Any]]:
    return {"label": labels, **text_properties(texts)}


def answers(texts: Sequence[str], labels: Sequence[str], cell: str = "clinic/sl") -> list[Answer]:
    task, language = cell.split("/")
    pairs = zip(texts, labels, strict=True)
    return [Answer(task=task, language=language, text=text, label=label, probability=0.9) for text, label in pairs]


HALF = ["book", "cancel"]
THEN = reference(SHORT * 20, HALF * 50)


def test_the_same_traffic_is_no_drift() -> None:
    verdict = judge(THEN, answers(SHORT * 12, HALF * 30), PARAMS)
    assert (verdict.retrain, verdict.reasons) == (False, [])
    assert max(shift.distance for shift in verdict.shifts.values()) == pytest.approx(0)


def test_other_shares_of_labels_are_drift() -> None:
    verdict = judge(THEN, answers(SHORT * 12, ["book"] * 54 + ["cancel"] * 6), PARAMS)
    assert verdict.retrain is True
    assert verdict.reasons == ["labels moved by 0.40, more than 0.2, which chance does not explain"]


def test_a_label_that_was_never_seen_before_is_drift() -> None:
    verdict = judge(THEN, answers(SHORT * 12, ["book", "cancel", "other"] * 20), PARAMS)
    assert [name for name, shift in verdict.shifts.items() if shift.drifted] == ["labels"]


def test_other_texts_are_drift() -> None:
    verdict = judge(THEN, answers(LONG * 12, HALF * 30), PARAMS)
    assert verdict.retrain is True
    assert "characters moved by 1.00, more than 0.3, which chance does not explain" in verdict.reasons
    assert not verdict.shifts["labels"].drifted


def test_a_large_distance_that_chance_explains_is_no_drift() -> None:
    few = MonitorParams(min_texts=4, max_label_shift=0.2, max_text_shift=0.3)
    verdict = judge(reference(SHORT * 2, HALF * 5), answers(SHORT[:4], ["book"] * 3 + ["cancel"]), few)
    assert verdict.shifts["labels"].distance == pytest.approx(0.25)
    assert verdict.retrain is False


def test_a_significant_shift_within_the_limit_is_no_drift() -> None:
    verdict = judge(
        reference(SHORT * 400, HALF * 1000), answers(SHORT * 400, ["book"] * 1200 + ["cancel"] * 800), PARAMS
    )
    assert verdict.shifts["labels"].p_value < 0.001
    assert verdict.retrain is False


@pytest.mark.parametrize(
    ("then", "now", "reason"),
    [
        pytest.param(20, 5, "25 texts in production, fewer than min_texts 30", id="little traffic"),
        pytest.param(20, 0, "0 texts in production, fewer than min_texts 30", id="no traffic"),
        pytest.param(4, 20, "20 reference texts, fewer than min_texts 30", id="few reference texts"),
    ],
)
def test_with_too_few_texts_nothing_is_concluded(then: int, now: int, reason: str) -> None:
    verdict = judge(reference(SHORT * then, ["book"] * 5 * then), answers(LONG * now, ["x"] * 5 * now), PARAMS)
    assert (verdict.retrain, verdict.reasons) == (None, [reason])


@pytest.mark.parametrize("shares", [(1, 1, 1, 1, 1), (90, 4, 3, 2, 1)])
def test_chance_alone_seldom_counts_as_a_shift_of_labels(shares: Sequence[int]) -> None:
    draw = random.Random(1)
    alarms = [
        label_shift(draw.choices("abcde", shares, k=50), draw.choices("abcde", shares, k=30))[1] < 0.05
        for _ in range(100)
    ]
    assert sum(alarms) <= 10  # 5 are to be expected


def test_one_stray_label_is_no_shift_and_rare_labels_that_all_changed_are_one() -> None:
    assert label_shift(["a"] * 1000, ["a"] * 29 + ["b"])[1] > 0.01
    assert label_shift(list("abcdefgh" * 5), list("abcdijkl" * 5)) == (0.5, 0.0001)  # the smallest there is


def test_a_single_label_on_both_sides_is_no_shift() -> None:
    assert label_shift(["a"] * 40, ["a"] * 30) == (0.0, 1.0)


def test_run_monitor_judges_each_cell_and_repeats_no_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for cell, texts in {"clinic/sl": SLOVENIAN, "clinic/sw": SWAHILI}.items():
        build_winner(tmp_path, cell, texts)
        build_reference(tmp_path / "winners" / cell, SHORT * 20, HALF * 50)
    traffic = answers(SHORT * 12, ["cancel"] * 60) + answers(SHORT, ["book"] * 5, "clinic/sw")
    traffic += answers(["Dobar dan."], ["book"], "clinic/hr")
    (tmp_path / "traffic.jsonl").write_text(to_lines(traffic) + '{"torn', encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        retrain = run_monitor(tmp_path / "winners", tmp_path / "traffic.jsonl", tmp_path / "monitored", PARAMS)
    assert retrain == {"clinic/sl": True, "clinic/sw": None}
    assert "1 texts of clinic/hr, which has no winner" in caplog.text
    written = (tmp_path / "monitored" / "monitor.json").read_text(encoding="utf-8")
    content = json.loads(written)
    assert content["retrain"] == ["clinic/sl"]
    assert content["unknown_cells"] == {"clinic/hr": 1}
    assert content["cells"]["clinic/sl"]["shifts"]["labels"]["distance"] == 0.5
    assert content["cells"]["clinic/sw"] == {
        "reasons": ["5 texts in production, fewer than min_texts 30"],
        "reference_texts": 100,
        "retrain": None,
        "shifts": {},
        "texts": 5,
    }
    assert "Dober dan" not in written


def test_missing_traffic_says_what_to_run(tmp_path: Path) -> None:
    build_winner(tmp_path, "clinic/sl", SLOVENIAN)
    with pytest.raises(DataError, match="traffic.jsonl is missing; run `polydistill serve` first"):
        run_monitor(tmp_path / "winners", tmp_path / "traffic.jsonl", tmp_path / "monitored", PARAMS)
    assert not (tmp_path / "monitored").exists()
