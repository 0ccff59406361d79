import csv
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asks import lines_of
from build import build_prepared, records
from chat_server import ChatServer, chat_server
from polydistill.errors import DataError, TeacherError
from polydistill.evaluate import Scorer, curve_row, run_evaluate
from polydistill.files import digest, read_json, write_json
from polydistill.params import BudgetParams, EvaluateParams, TeacherParams, check
from polydistill.records import text_id, write_records, write_rows
from polydistill.replies import read_label
from polydistill.runs import FINAL, PREDICTIONS, VERSION
from polydistill.task import Label
from spaces import SEEDS, TEST, settings, write_replies

QUESTIONS = [text for label in TEST for text in TEST[label]]  # three of "book", then three of "hours"
# run -> what the student answers to the six questions, b for book and h for hours
ANSWERS = {
    ("synthetic", 8, FINAL): "bbhhhh",
    ("synthetic", 2, 0): "bbbbbb",
    ("synthetic", 2, 1): "bbbhhb",
    ("synthetic", 4, 0): "bbhhhh",
    ("synthetic", 4, 1): "bbbhhh",
    ("human", 2, 0): "hhhhhh",
    ("human", 2, 1): "bhhhhh",
}
CANARY = 1  # the request that finds out whether the server follows a schema
ZERO_SHOT = ["book", "I cannot say.", "Label: book", "hours", "book or hours?", "book"]  # 3 right, 2 abstentions


def evaluate_params(**changes: Any) -> EvaluateParams:
    return check(EvaluateParams, settings()["evaluate"] | changes, "test")


def teacher_params(**changes: Any) -> TeacherParams:
    return check(TeacherParams, settings()["teacher"] | changes, "test")


def budget_params(**changes: Any) -> BudgetParams:
    return check(BudgetParams, settings()["budget"] | changes, "test")


def build_trained(folder: Path, answers: dict[tuple[str, int, int], str], questions: Sequence[str] = QUESTIONS) -> Path:
    """Write what `train` wrote, as far as `evaluate` reads it."""
    rows = [
        {"source": source, "size": size, "run": run, "seed": 1, "id": text_id(text, "sl"), "label": label}
        for (source, size, run), said in answers.items()
        for text, label in zip(questions, ({"b": "book", "h": "hours"}.get(c, c) for c in said), strict=True)
    ]
    write_rows(folder / "predictions.parquet", rows, PREDICTIONS)
    write_json(
        folder / "train.json",
        {"schema_version": VERSION, "student": folder.name, "subset": "random", "restarted": 0, "collapsed": 0},
    )
    return folder


def evaluate(
    root: Path,
    *,
    purposes: Sequence[str] = ("zero-shot",),
    students: dict[str, dict[tuple[str, int, int], str]] | None = None,
    teacher: dict[str, Any] | None = None,
    budget: dict[str, Any] | None = None,
    record_to: Path | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Evaluate students that gave these answers beside a teacher that gave these; return evaluation.json."""
    build_prepared(root / "prepared", SEEDS, test=TEST)
    write_records(root / "heldout" / "test.parquet", records(TEST, "human"))
    replies = {f"zero-shot/{text_id(t, 'sl')}": said for t, said in zip(QUESTIONS, ZERO_SHOT, strict=True)}
    write_replies(root / "recording.jsonl", replies, purposes)
    trained = [build_trained(root / "trained" / name, said) for name, said in (students or {"linear": ANSWERS}).items()]
    run_evaluate(
        root / "prepared",
        root / "heldout",
        trained,
        root / "recording.jsonl",
        root / "evaluated",
        evaluate_params(**changes),
        teacher_params(**teacher or {}),
        budget_params(**budget or {}),
        record_to=record_to,
    )
    evaluation: dict[str, Any] = read_json(root / "evaluated" / "evaluation.json")
    return evaluation


def test_the_final_student_by_hand(tmp_path: Path) -> None:
    evaluation = evaluate(tmp_path)
    assert (evaluation["task"], evaluation["language"], evaluation["n_test"]) == ("demo", "sl", 6)
    final = evaluation["students"]["linear"]["final"]
    assert (final["size"], final["accuracy"]) == (8, pytest.approx(5 / 6))
    # book: precision 2/2, recall 2/3, F1 4/5; hours: precision 3/4, recall 3/3, F1 6/7
    assert final["macro_f1"] == pytest.approx((4 / 5 + 6 / 7) / 2)


def test_the_curve_by_hand(tmp_path: Path) -> None:
    rows = {(row["source"], row["size"]): row for row in evaluate(tmp_path)["students"]["linear"]["curve"]}
    assert list(rows) == [("synthetic", 2), ("synthetic", 4), ("human", 2)]
    assert {key: row["runs"] for key, row in rows.items()} == dict.fromkeys(rows, 2)
    assert rows["synthetic", 2]["mean"] == pytest.approx((3 / 6 + 5 / 6) / 2)
    assert rows["synthetic", 2]["std"] == pytest.approx(np.std([3 / 6, 5 / 6], ddof=1))
    assert rows["synthetic", 4]["mean"] == pytest.approx((5 / 6 + 6 / 6) / 2)
    # all "hours": book F1 0, hours 2/3; then also one "book" right: book F1 1/2, hours 3/4
    assert rows["human", 2]["macro_f1"]["mean"] == pytest.approx(((0 + 2 / 3) / 2 + (1 / 2 + 3 / 4) / 2) / 2)


def test_an_abstention_of_the_teacher_is_wrong(tmp_path: Path) -> None:
    teacher = evaluate(tmp_path)["teacher"]
    assert (teacher["model"], teacher["accuracy"], teacher["abstained"], teacher["note"]) == ("tape", 3 / 6, 2, "")
    # book: precision 2/3, recall 2/3; hours: precision 1/1, recall 1/3, F1 1/2
    assert teacher["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_every_score_stands_in_its_interval(tmp_path: Path) -> None:
    evaluation = evaluate(tmp_path)
    student = evaluation["students"]["linear"]
    for scores in (student["final"], evaluation["teacher"]):
        for metric in ("accuracy", "macro_f1"):
            low, high = scores["interval"][metric]
            assert 0 <= low < scores[metric] < high <= 1
    for row in student["curve"]:
        for low, high, mean in (
            (*row["interval"], row["mean"]),
            (*row["macro_f1"]["interval"], row["macro_f1"]["mean"]),
        ):
            assert 0 <= low < mean < high <= 1


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    evaluate(tmp_path / "a")
    evaluate(tmp_path / "b")
    assert digest(tmp_path / "a" / "evaluated") == digest(tmp_path / "b" / "evaluated")
    first = digest(tmp_path / "a" / "evaluated")
    evaluate(tmp_path / "a")
    assert digest(tmp_path / "a" / "evaluated") == first


def test_runs_that_differ_widen_the_interval() -> None:
    truth = np.arange(60) % 3
    scorer = Scorer(truth, 3, 0.95)
    good, bad = truth, (truth + 1) % 3
    low, high = curve_row("human", 5, np.array([good, good, bad, bad]), scorer)["interval"]
    assert high - low > 0.5
    low, high = curve_row("human", 5, np.array([good, good]), scorer)["interval"]
    assert 0.9 < low < high == 1


def test_a_student_stands_beside_the_teacher_on_the_same_texts(tmp_path: Path) -> None:
    student = evaluate(tmp_path)["students"]["linear"]
    beside = student["against_teacher"]
    assert beside["difference"] == pytest.approx(5 / 6 - 3 / 6)
    assert beside["interval"][0] < beside["difference"] < beside["interval"][1]
    # it is right where the teacher is wrong three times, and once the other way round: as likely by chance as not
    assert beside["p_value"] > 0.3
    assert beside["detectable_gap"] is None or beside["detectable_gap"] > 0.5


def test_students_stand_beside_each_other(tmp_path: Path) -> None:
    students = {"linear": ANSWERS, "weak": {key: "bbbbbb" for key in ANSWERS}, "same": ANSWERS}
    pairs = {tuple(pair["students"]): pair for pair in evaluate(tmp_path, students=students)["pairs"]}
    assert list(pairs) == [("linear", "weak"), ("linear", "same"), ("weak", "same")]
    assert pairs["linear", "weak"]["difference"] == pytest.approx(5 / 6 - 3 / 6)
    assert (pairs["linear", "same"]["difference"], pairs["linear", "same"]["p_value"]) == (0, 1)


def test_the_size_at_which_the_teacher_is_overtaken_is_said_for_each_student(tmp_path: Path) -> None:
    weak = {key: "bbbbbb" for key in ANSWERS}
    students = evaluate(tmp_path, students={"linear": ANSWERS, "weak": weak})["students"]
    assert {name: student["break_even"]["size"] for name, student in students.items()} == {"linear": 2, "weak": None}


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        pytest.param({"purposes": ["generate"]}, "recording.jsonl holds no zero-shot answers", id="not recorded"),
        pytest.param({"zero_shot": False}, "not asked (params.yaml: evaluate.zero_shot)", id="not asked"),
    ],
)
def test_without_zero_shot_answers_there_is_a_note_instead(tmp_path: Path, changes: Any, note: str) -> None:
    evaluation = evaluate(tmp_path, **changes)
    assert evaluation["teacher"] == {
        **dict.fromkeys(["model", "accuracy", "macro_f1", "interval", "abstained"]),
        "usage": {},
        "note": note,
    }
    student = evaluation["students"]["linear"]
    assert (student["against_teacher"], student["break_even"]) == (None, None)
    assert list((tmp_path / "evaluated" / "journal").iterdir()) == []  # DVC wants it to be there


def asking(server: ChatServer, **changes: Any) -> dict[str, Any]:
    return {"kind": "openai", "url": server.url, "tries": 1, **changes}


def test_a_server_is_asked_each_text_once(tmp_path: Path) -> None:
    with chat_server(content="hours") as server:
        for _ in range(2):
            teacher = evaluate(tmp_path, teacher=asking(server))["teacher"]
        _canary, *asked = [chat["messages"][0]["content"] for chat in server.chats()]
    assert [any(text in prompt for prompt in asked) for text in QUESTIONS] == [True] * 6
    assert (len(asked), teacher["model"], teacher["accuracy"], teacher["abstained"]) == (6, "tiny", 3 / 6, 0)


def test_what_zero_shot_answers_took_is_told(tmp_path: Path) -> None:
    recorded = evaluate(tmp_path / "recorded")["teacher"]["usage"]
    assert list(recorded) == ["zero-shot"]
    assert (recorded["zero-shot"]["requests"], recorded["zero-shot"]["prompt_tokens"]) == (6, None)
    prices = {"prompt_price": 10.0, "completion_price": 20.0}
    with chat_server(content="hours") as server:
        evaluation = evaluate(tmp_path / "asked", teacher=asking(server), budget=prices)
    took = evaluation["teacher"]["usage"]["zero-shot"]
    assert (took["requests"], took["retries"], took["failed"], took["failures"]) == (6, 0, 0, {})
    assert took["prompt_tokens"] > 6
    assert took["cost"] == pytest.approx((took["prompt_tokens"] * 10 + took["completion_tokens"] * 20) / 1e6)


def test_a_text_that_the_teacher_refuses_is_an_abstention(tmp_path: Path) -> None:
    refusing = {"match": QUESTIONS[3], "status": 400, "says": "not that"}
    with chat_server(rules=[{"content": "hours"}, refusing]) as server:
        teacher = evaluate(tmp_path, teacher=asking(server))["teacher"]
    assert (teacher["abstained"], teacher["accuracy"]) == (1, 2 / 6)
    assert teacher["usage"]["zero-shot"]["failures"] == {'HTTP 400: {"error": {"message": "not that", ' + OF_ERROR: 1}


OF_ERROR = '"type": "error", "code": 400}}'


@pytest.mark.parametrize(
    ("faults", "fault"),
    [
        pytest.param({"refusal": True}, "refusal", id="refusal"),
        pytest.param({"empty_choices": True}, "no_choice", id="no choice"),
        pytest.param({"content": ""}, "empty", id="empty"),
        pytest.param({"content": "book hours"}, None, id="two labels"),
        pytest.param({"content": "book", "finish": "length"}, "cut_off", id="cut off"),
        pytest.param({"content": "book", "finish": "content_filter"}, "filtered", id="filtered"),
        pytest.param({"content": "book " * 200}, "looping", id="looping"),
        pytest.param({"content": "<think>Not book, then.</think>\nNone fits."}, None, id="only in its thoughts"),
    ],
)
def test_a_reply_without_a_label_is_an_abstention(tmp_path: Path, faults: dict[str, Any], fault: str | None) -> None:
    with chat_server(rules=[{"content": "hours"}, {"match": QUESTIONS[3], **faults}]) as server:
        teacher = evaluate(tmp_path, teacher=asking(server))["teacher"]
    assert (teacher["abstained"], teacher["accuracy"]) == (1, 2 / 6)
    # What is wrong with the reply itself is in the journal and in the ledger; what its words mean is not.
    noted = teacher["usage"]["zero-shot"]["faults"]
    assert noted == ({fault: 1} if fault else {})
    faulty = [row["faults"] for row in lines_of(tmp_path / "evaluated/journal/zero-shot.jsonl") if "faults" in row]
    assert faulty == ([[fault]] if fault else [])


def test_a_text_without_an_answer_ends_the_run_which_can_go_on(tmp_path: Path) -> None:
    with chat_server(rules=[{"content": "hours"}, {"match": QUESTIONS[3], "status": 503}]) as server:
        with pytest.raises(TeacherError, match="did not answer every text: HTTP 503; run again to ask for the rest"):
            evaluate(tmp_path, teacher=asking(server))
        assert not (tmp_path / "evaluated" / "evaluation.json").exists()
        server.set(content="hours")
        teacher = evaluate(tmp_path, teacher=asking(server))["teacher"]
        assert server.count() == CANARY + 6 + 1
    assert (teacher["abstained"], teacher["accuracy"]) == (0, 3 / 6)
    assert teacher["usage"]["zero-shot"]["failed"] == 1


def test_a_budget_ends_the_run_which_can_go_on(tmp_path: Path) -> None:
    with chat_server(content="hours") as server:
        with pytest.raises(TeacherError, match=r"budget\.requests 4 is reached: 4 sent"):
            evaluate(tmp_path, teacher=asking(server), budget={"requests": 4})
        assert server.count() == 4
        assert evaluate(tmp_path, teacher=asking(server))["teacher"]["accuracy"] == 3 / 6
        assert server.count() == CANARY + 6


@pytest.mark.parametrize(
    ("change", "message"),
    [({"model": "large"}, 'model was "tiny", is "large"'), ({"revision": "v2"}, 'revision was "", is "v2"')],
)
def test_answers_of_another_teacher_are_not_taken_for_this_ones(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with chat_server(content="hours") as server:
        evaluate(tmp_path, teacher=asking(server))
        before = digest(tmp_path / "evaluated")
        with pytest.raises(DataError, match="zero-shot.jsonl holds 6 paid replies of another plan: ") as error:
            evaluate(tmp_path, teacher=asking(server, **change))
        assert (message in str(error.value), server.count()) == (True, CANARY + 6)
    assert digest(tmp_path / "evaluated") == before


def test_answers_are_recorded_beside_what_was_recorded_before(tmp_path: Path) -> None:
    tape = tmp_path / "tape.jsonl"
    write_replies(tape, {"generate/book/0": "kept", f"zero-shot/{text_id('gone', 'sl')}": "book"})
    with chat_server(content="hours") as server:
        evaluate(tmp_path, teacher=asking(server), record_to=tape)
    rows = [json.loads(line) for line in tape.read_text(encoding="utf-8").splitlines()]
    assert rows[0] == {
        "recording": 1,
        "purposes": {"generate": {"model": "tape"}, "revise": {"model": "tape"}, "zero-shot": {"model": "tiny"}},
    }
    assert rows[1] == {"id": "generate/book/0", "reply": "kept"}
    assert sorted(row["id"] for row in rows[2:]) == sorted(f"zero-shot/{text_id(text, 'sl')}" for text in QUESTIONS)
    assert {row["reply"] for row in rows[2:]} == {"hours"}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param("book " * 50_000, "book", id="one label over and over"),
        pytest.param("book hours " * 25_000, None, id="two labels over and over"),
        pytest.param("maybe " * 40_000 + "book", "book", id="far behind"),
        pytest.param("It is book. " + "x " * 120_000 + "It is not book.", None, id="denied far behind"),
        pytest.param("free" + " " * 250_000, None, id="half a name and spaces"),
        pytest.param("free  - " * 30_000, None, id="half a name over and over"),
        pytest.param("free" + " " * 200_000 + "_" + " " * 50_000 + "time", "free_time", id="a name with a gap"),
        pytest.param("isn't " * 40_000, None, id="denials"),
        pytest.param("a" * 250_000 + "n't book", None, id="a long word"),
    ],
)
def test_a_long_answer_is_read_in_no_time(answer: str, expected: str | None) -> None:
    labels = [Label(name=name, description="x") for name in ("book", "hours", "free_time")]
    started = time.process_time()
    assert read_label(answer, labels, "sl") == expected
    assert time.process_time() - started < 3


def test_a_label_after_the_thoughts_counts(tmp_path: Path) -> None:
    with chat_server(content="<think>It is not hours, or is it? Not book.</think>\n```\nhours\n```") as server:
        teacher = evaluate(tmp_path, teacher=asking(server))["teacher"]
    assert (teacher["abstained"], teacher["accuracy"]) == (0, 3 / 6)


def test_a_server_and_its_recording_have_a_journal_each(tmp_path: Path) -> None:
    journals = tmp_path / "evaluated" / "journal"
    with chat_server(content="hours") as server:
        asked = evaluate(tmp_path, teacher=asking(server), record_to=tmp_path / "tape.jsonl")["teacher"]
        paid = (journals / "zero-shot.jsonl").read_bytes()
        replayed = evaluate(tmp_path)["teacher"]
        assert (journals / "zero-shot.jsonl").read_bytes() == paid
        again = evaluate(tmp_path, teacher=asking(server))["teacher"]
        assert server.count() == CANARY + 6
    assert (asked["model"], replayed["model"], again) == ("tiny", "tape", asked)
    assert {path.name for path in journals.iterdir()} == {".lock", "zero-shot.jsonl", "recorded-zero-shot.jsonl"}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(lambda tape: tape.write_text("notes\n"), r"tape\.jsonl:1: not JSON", id="other file"),
        pytest.param(lambda tape: tape.mkdir(), r"cannot read .*tape\.jsonl: Is a directory", id="folder"),
    ],
)
def test_a_bad_target_of_a_recording_is_told_before_anything_is_asked(
    tmp_path: Path, spoil: Callable[[Path], Any], message: str
) -> None:
    spoil(tmp_path / "tape.jsonl")
    with chat_server(content="hours") as server:
        with pytest.raises(DataError, match=message):
            evaluate(tmp_path, teacher=asking(server), record_to=tmp_path / "tape.jsonl")
        assert server.count() == 0


def test_the_curves_are_a_table_too(tmp_path: Path) -> None:
    evaluate(tmp_path)
    with (tmp_path / "evaluated" / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["student"], row["source"], row["size"], row["runs"], row["accuracy"]) for row in rows] == [
        ("linear", "synthetic", "2", "2", "0.6667"),
        ("linear", "synthetic", "4", "2", "0.9167"),
        ("linear", "human", "2", "2", "0.5833"),
    ]
    assert 0 <= float(rows[0]["low"]) < 0.6667 < float(rows[0]["high"]) <= 1


@pytest.mark.parametrize(
    ("questions", "answers"),
    [
        pytest.param(QUESTIONS[::-1], ANSWERS, id="another order"),
        pytest.param(QUESTIONS[:5], {("synthetic", 8, FINAL): "bbbhh"}, id="a text fewer"),
        pytest.param([*QUESTIONS[:5], "Drugo?"], {("synthetic", 8, FINAL): "bbbhhh"}, id="another text"),
        pytest.param(QUESTIONS, {("synthetic", 8, FINAL): "bbbhhx"}, id="another label"),
    ],
)
def test_answers_to_another_test_set_are_refused(tmp_path: Path, questions: list[str], answers: Any) -> None:
    evaluate(tmp_path)
    before = (tmp_path / "evaluated" / "evaluation.json").read_bytes()
    build_trained(tmp_path / "trained" / "linear", answers, questions)
    with pytest.raises(DataError, match=r"predictions\.parquet answers another test set, or with other labels; run"):
        run_evaluate(
            tmp_path / "prepared",
            tmp_path / "heldout",
            [tmp_path / "trained" / "linear"],
            tmp_path / "recording.jsonl",
            tmp_path / "evaluated",
            evaluate_params(),
            teacher_params(),
            budget_params(),
        )
    assert (tmp_path / "evaluated" / "evaluation.json").read_bytes() == before


def test_a_student_of_another_version_is_said(tmp_path: Path) -> None:
    evaluate(tmp_path)
    path = tmp_path / "trained" / "linear" / "train.json"
    write_json(path, read_json(path) | {"schema_version": 1})
    rooms = tmp_path / "prepared", tmp_path / "heldout", [path.parent], tmp_path / "recording.jsonl"
    with pytest.raises(DataError, match=r"train\.json is of another version of polydistill; run `polydistill train`"):
        run_evaluate(*rooms, tmp_path / "evaluated", evaluate_params(), teacher_params(), budget_params())
