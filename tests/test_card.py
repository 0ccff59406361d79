"""What a card says of a cell, and how it is read back."""

import json
from pathlib import Path
from typing import Any

import pytest

from build import build_generated, build_prepared
from cards import ALONE, beside, drift_test, gate, make_card, write_cards
from polydistill.card import pick_examples, run_card
from polydistill.cell import read_card
from polydistill.errors import DataError
from polydistill.files import read_json, write_json
from polydistill.package import model_card
from polydistill.records import REJECTED, Record, Source, to_row, write_rows

SEEDS = {"sport": ["Zmagali smo!"], "travel": ["Vlak zamuja."]}


def took(requests: int, **changes: Any) -> dict[str, Any]:
    """Return what the ledger of usage.json says of requests to a server that counts, but at no known price."""
    return {
        "requests": requests,
        "retries": 1,
        "failed": 0,
        "prompt_tokens": 100 * requests,
        "completion_tokens": 10 * requests,
        "cost": None,
        "seconds": 0.5 * requests,
        "faults": {},
        "failures": {},
        **changes,
    }


USAGE = {
    "schema_version": 2,
    "complete": True,
    "teacher": {"kind": "openai", "model": "Llama-3-70B", "revision": "a1", "structured": True},
    "strategy": "diverse",
    "purposes": {
        "revise": took(3, faults={"no_verdict": 1}),
        "generate": took(4, failed=1, failures={"HTTP 500": 1}, faults={"cut_off": 2}),
        "canary": took(1),
    },
    "texts": {"wanted": 10, "written": 9, "usable": 6},
    "unusable": {"markup": 1, "near_duplicate": 2},
    "unreadable": {"cut_off": 2, "request_failed": 1},
    "faults": {"cut_off": "the reply stops before its end"},
    "shortfall": {"travel": {"missing": 3, "reasons": {"cut_off": 1, "near_duplicate": 2}}},
    "judge": {
        "verdicts": {"accept": 5, "repair": 1, "reject": 2, "none": 1},
        "accepts_what_rules_reject": {"markup": 1},
        "faults_language_that_rules_accept": 0,
    },
}
SCORES = {"accuracy": 0.8, "macro_f1": 0.75, "interval": {"accuracy": [0.7, 0.9], "macro_f1": [0.65, 0.85]}}
EVALUATION = {
    "schema_version": 1,
    "task": "demo",
    "language": "sl",
    "labels": ["sport", "travel"],
    "n_test": 40,
    "confidence": 0.95,
    "teacher": {**SCORES, "model": "gpt-4", "abstained": 3, "note": "", "usage": {"zero-shot": took(40)}},
    "students": {
        "linear": {
            "final": {"size": 6, **SCORES},
            "against_teacher": None,
            "break_even": None,
            "restarted": 0,
            "collapsed": 0,
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
            "subset": "random",
        }
    },
    "pairs": [],
}
WINNER = {
    "schema_version": 2,
    "task": "demo",
    "language": "sl",
    "student": "linear",
    "metric": "accuracy",
    "reason": "the only student that was trained",
    "no_candidates": [],
    "validation": {"linear": {"accuracy": 0.9, "macro_f1": 0.9, "n": 10, "bytes": 5000, **ALONE}},
    "digests": {"model": "a3", "accepted": "09"},
}
FILTER = {
    "schema_version": 2,
    "generated": 9,
    "accepted": 6,
    "rejected": 3,
    "by_reason": {"empty": 0, "judge_rejected": 0, "markup": 1, "near_duplicate": 2},
    "marked": {"doubtful_label": 2, "unclear_language": 0},
    "reasons": {
        "doubtful_label": "a student is sure of another label",
        "empty": "nothing",
        "judge_rejected": "the judge said no",
        "markup": "layout left over",
        "near_duplicate": "nearly the same",
        "unclear_language": "too short to tell",
    },
    "found": {"empty": 0, "judge_rejected": 2, "markup": 1, "no_verdict": 1},
    "agreement": [{"checks": ["markup", "judge_rejected"], "texts": 1}],
    "warnings": ["no text of the label weather is left"],
    "kept_leaks": 0,
    "by_label": {"sport": {"accepted": 4, "rejected": 2}, "travel": {"accepted": 2, "rejected": 1}},
    "language": {"checked": False},
    "self_revision": {"checked": True},
}
MEASURES = {
    name: beside(0.7, 0.8, 0.1, "larger = more varied") for name in ("distinct_1", "distinct_2", "nearest_similarity")
}
APART = {"auc": {"value": None, "interval": None, "meaning": "1 = always"}}
DIVERSITY = {
    "schema_version": 2,
    "compared_with": "seed",
    "n": 2,
    "measures": MEASURES,
    "apart": APART,
    "drift": {
        "verdict": "small",
        "significance": 0.05,
        "questions": {"properties": "whether the texts are alike"},
        "tests": {"characters": drift_test("properties", 0.4, 0.01, "small")},
    },
}
DIVERSITY_BY_LABEL = {"schema_version": 1, "labels": {"sport": {"n": 1, "measures": MEASURES, "apart": APART}}}
GATES = {"schema_version": 1, "gates": {"auc": gate(None, 0.95, passed=None)}}
FOLDERS = ("prepared", "generated", "filtered", "measured", "evaluated", "selected")


def finding_row(text: str, reason: str, detail: str | None = "") -> dict[str, Any]:
    return to_row(Record(text, "sport", "sl", "synthetic", Source()), reason=reason, detail=detail)


@pytest.fixture
def cell(tmp_path: Path) -> list[Path]:
    """The folders of a cell, in the order in which `run_card` takes them."""
    build_prepared(tmp_path / "prepared", SEEDS)
    build_generated(tmp_path / "generated", {})
    write_json(tmp_path / "generated" / "usage.json", USAGE)
    rows = [
        finding_row("Danes dežuje povsod.", "near_duplicate", "0.91 like: Danes dežuje."),
        finding_row("Danes dežuje!", "near_duplicate", "0.95 like: Danes dežuje."),
        finding_row("<b>Gol</b>", "markup", "HTML: <b>"),
    ]
    write_rows(tmp_path / "filtered" / "rejected.parquet", rows, REJECTED)
    doubtful = [finding_row(text, "doubtful_label", "rather travel, 0.97") for text in ("Vlak pelje danes.", "Let.")]
    write_rows(tmp_path / "filtered" / "marked.parquet", doubtful, REJECTED)
    write_json(tmp_path / "filtered" / "filter.json", FILTER)
    write_json(tmp_path / "measured" / "diversity.json", DIVERSITY)
    write_json(tmp_path / "measured" / "labels.json", DIVERSITY_BY_LABEL)
    write_json(tmp_path / "measured" / "gates.json", GATES)
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
        "kept_leaks": 0,
    }
    assert [(label.name, label.accepted, label.rejected) for label in card.labels] == [
        ("sport", 4, 2),
        ("travel", 2, 1),
    ]
    assert (card.teacher.model, card.teacher.zero_shot_model, card.teacher.accuracy) == ("Llama-3-70B", "gpt-4", 0.8)
    assert card.winning.final.size == 6
    assert not card.checks.language
    assert card.winner.digests == {"model": "a3", "accepted": "09"}


def test_what_was_asked_comes_by_purpose_with_its_sum(cell: list[Path], tmp_path: Path) -> None:
    run_card(*cell, tmp_path / "card")
    card = read_card(tmp_path / "card" / "card.json")
    assert [(row.purpose, row.requests) for row in card.asked] == [
        ("canary", 1),
        ("generate", 4),
        ("revise", 3),
        ("zero-shot", 40),
    ]
    assert card.spent.model_dump() == {
        "requests": 48,
        "retries": 4,
        "failed": 1,
        "prompt_tokens": 4800,
        "completion_tokens": 480,
        "cost": None,
        "seconds": 24.0,
    }
    generate = card.asked[1]
    assert [(group.reason, group.count) for group in generate.failures] == [("HTTP 500", 1)]
    assert generate.faults[0].meaning == "the reply stops before its end"


def test_what_is_not_known_of_one_purpose_is_not_known_of_the_sum(cell: list[Path], tmp_path: Path) -> None:
    purposes = {"generate": took(4, cost=0.2), "revise": took(3, prompt_tokens=None, cost=None)}
    write_json(tmp_path / "generated" / "usage.json", USAGE | {"purposes": purposes})
    run_card(*cell, tmp_path / "card")
    spent = read_card(tmp_path / "card" / "card.json").spent
    assert (spent.prompt_tokens, spent.cost, spent.completion_tokens) == (None, None, 470)


def test_what_the_steps_warned_of_is_told(cell: list[Path], tmp_path: Path) -> None:
    run_card(*cell, tmp_path / "card")
    assert read_card(tmp_path / "card" / "card.json").warnings[-1] == "no text of the label weather is left"


def test_a_recording_takes_no_time_that_is_the_teachers(cell: list[Path], tmp_path: Path) -> None:
    write_json(tmp_path / "generated" / "usage.json", USAGE | {"purposes": {"generate": took(4, seconds=0.0)}})
    run_card(*cell, tmp_path / "card")
    assert read_card(tmp_path / "card" / "card.json").asked[0].seconds is None


def test_what_generation_could_not_deliver_has_its_reasons(cell: list[Path], tmp_path: Path) -> None:
    run_card(*cell, tmp_path / "card")
    generation = read_card(tmp_path / "card" / "card.json").generation
    assert (generation.strategy, generation.structured, generation.wanted) == ("diverse", True, 10)
    assert [(fault.reason, fault.count, fault.meaning) for fault in generation.unreadable] == [
        ("cut_off", 2, "the reply stops before its end"),
        ("request_failed", 1, "the request failed, so that there is no reply"),
    ]
    (short,) = generation.shortfall
    assert (short.label, short.missing) == ("travel", 3)
    assert [(reason.reason, reason.count, reason.meaning) for reason in short.reasons] == [
        ("near_duplicate", 2, "nearly the same"),
        ("cut_off", 1, "the reply stops before its end"),
    ]


def test_the_judge_and_its_contradictions(cell: list[Path], tmp_path: Path) -> None:
    run_card(*cell, tmp_path / "card")
    judge = read_card(tmp_path / "card" / "card.json").generation.judge
    assert judge is not None
    assert (judge.judged, judge.share(judge.reject)) == (9, 2 / 9)
    assert [(group.reason, group.meaning) for group in judge.accepts_what_rules_reject] == [
        ("markup", "layout left over")
    ]


def test_a_judge_that_was_not_asked(cell: list[Path], tmp_path: Path) -> None:
    silent = {
        "verdicts": dict.fromkeys(("accept", "repair", "reject", "none"), 0),
        "accepts_what_rules_reject": {},
        "faults_language_that_rules_accept": 0,
    }
    write_json(tmp_path / "generated" / "usage.json", USAGE | {"judge": silent})
    run_card(*cell, tmp_path / "card")
    assert read_card(tmp_path / "card" / "card.json").generation.judge is None


def test_a_generation_that_was_stopped_has_no_card(cell: list[Path], tmp_path: Path) -> None:
    write_json(tmp_path / "generated" / "usage.json", USAGE | {"complete": False})
    with pytest.raises(DataError, match="generate did not come to its end; run `polydistill generate` again"):
        run_card(*cell, tmp_path / "card")


def test_what_a_server_says_is_cut(cell: list[Path], tmp_path: Path) -> None:
    long = "x" * 1000
    teacher = {**USAGE["teacher"], "model": long}  # type: ignore[dict-item]
    purposes = {"generate": took(4, failures={long: 1})}
    write_json(tmp_path / "generated" / "usage.json", USAGE | {"teacher": teacher, "purposes": purposes})
    run_card(*cell, tmp_path / "card")
    card = read_card(tmp_path / "card" / "card.json")
    assert card.teacher.model == card.asked[0].failures[0].reason == "x" * 279 + "…"


def test_rejections_come_by_frequency_with_their_examples(cell: list[Path], tmp_path: Path) -> None:
    run_card(*cell, tmp_path / "card")
    often, once = read_card(tmp_path / "card" / "card.json").rejected
    assert (often.reason, often.count, often.meaning) == ("near_duplicate", 2, "nearly the same")
    assert [example.text for example in often.examples] == ["Danes dežuje!", "Danes dežuje povsod."]
    assert (once.reason, once.examples[0].detail) == ("markup", "HTML: <b>")


def test_marked_texts_come_with_their_examples(cell: list[Path], tmp_path: Path) -> None:
    run_card(*cell, tmp_path / "card")
    (doubtful,) = read_card(tmp_path / "card" / "card.json").marked
    assert (doubtful.reason, doubtful.count) == ("doubtful_label", 2)
    assert doubtful.meaning == "a student is sure of another label"
    assert [(e.text, e.detail) for e in doubtful.examples] == [
        ("Let.", "rather travel, 0.97"),
        ("Vlak pelje danes.", "rather travel, 0.97"),
    ]


def test_checks_that_find_the_same_texts_come_with_what_each_finds(cell: list[Path], tmp_path: Path) -> None:
    pairs = [
        {"checks": ["markup", "judge_rejected"], "texts": 1},
        {"checks": ["wrong_language", "judge_rejected"], "texts": 2},
    ]
    found = {"markup": 1, "wrong_language": 3, "judge_rejected": 4, "no_verdict": 1, "empty": 0}
    write_json(tmp_path / "filtered" / "filter.json", FILTER | {"agreement": pairs, "found": found})
    run_card(*cell, tmp_path / "card")
    agreement = read_card(tmp_path / "card" / "card.json").agreement
    assert [(pair.checks, pair.texts, pair.found) for pair in agreement.pairs] == [
        (("wrong_language", "judge_rejected"), 2, (3, 4)),
        (("markup", "judge_rejected"), 1, (1, 4)),
    ]
    assert [(group.reason, group.count) for group in agreement.alone] == [("no_verdict", 1)]


def test_diversity_drift_and_gates_come_as_measured(cell: list[Path], tmp_path: Path) -> None:
    run_card(*cell, tmp_path / "card")
    diversity = read_card(tmp_path / "card" / "card.json").diversity
    assert (diversity.drift.verdict, diversity.drift.tests["characters"].effect) == ("small", 0.4)
    assert (diversity.gates["auc"].limit, diversity.gates["auc"].passed) == (0.95, None)
    assert diversity.measures["distinct_1"].difference == -0.1
    assert list(diversity.labels["sport"].measures) == ["distinct_2", "nearest_similarity"]


def test_the_same_cell_gives_the_same_bytes(cell: list[Path], tmp_path: Path) -> None:
    run_card(*cell, tmp_path / "one")
    run_card(*cell, tmp_path / "two")
    assert (tmp_path / "one" / "card.json").read_bytes() == (tmp_path / "two" / "card.json").read_bytes()


def test_a_teacher_without_scores(cell: list[Path], tmp_path: Path) -> None:
    nothing: dict[str, Any] = dict.fromkeys(("model", "accuracy", "macro_f1", "interval", "abstained"))
    nothing |= {"note": "not asked", "usage": {}}
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
    [
        ("filtered", "rejected.parquet", "filter"),
        ("filtered", "marked.parquet", "filter"),
        ("selected", "winner.json", "select"),
    ],
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
        pytest.param("generated/usage.json", {"schema_version": 1, "teacher": {}}, "`complete`", id="older version"),
        pytest.param("generated/usage.json", USAGE | {"unreadable": []}, "misstates something", id="wrong shape"),
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
    rows = [finding_row(text, "markup", None) for text in texts]
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


def test_the_model_card_says_how_good_the_generated_text_is() -> None:
    shown = model_card("polydistill", [make_card("sl"), make_card("sw", marked=[])])
    assert "| Slovenian | warned | 0.712 | 0.843 | 0.910 | important | 6 |" in shown
    assert "| Swahili | warned | 0.712 | 0.843 | 0.910 | important | 0 |" in shown
    assert (
        "- Slovenian (clinic): the generated texts do not pass the gate `language_purity`: "
        "0.930, at least 0.950 wanted." in shown
    )
