import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from build import build_prepared, records
from chat_server import chat, chat_server
from polydistill.errors import DataError
from polydistill.evaluate import Judge, curve_row, overtakes_at, run_evaluate
from polydistill.files import digest, read_json, write_json
from polydistill.params import EvaluateParams, TeacherParams, check
from polydistill.records import text_id, write_records, write_rows
from polydistill.runs import FINAL, PREDICTIONS
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
ZERO_SHOT = ["book", "I cannot say.", "Label: book", "hours", "book or hours?", "book"]  # 3 right, 2 abstentions


def evaluate_params(**changes: Any) -> EvaluateParams:
    return check(EvaluateParams, settings(evaluate__bootstrap_samples=300)["evaluate"] | changes, "test")


def build_trained(folder: Path, answers: dict[tuple[str, int, int], str], questions: Sequence[str] = QUESTIONS) -> Path:
    """Write what `train` wrote, as far as `evaluate` reads it."""
    rows = [
        {"source": source, "size": size, "run": run, "seed": 1, "id": text_id(text, "sl"), "label": label}
        for (source, size, run), said in answers.items()
        for text, label in zip(questions, ({"b": "book", "h": "hours"}.get(c, c) for c in said), strict=True)
    ]
    write_rows(folder / "predictions.parquet", rows, PREDICTIONS)
    write_json(folder / "train.json", {"schema_version": 1, "student": folder.name})
    return folder


def evaluate(
    root: Path,
    *,
    purposes: Sequence[str] = ("zero-shot",),
    students: dict[str, dict[tuple[str, int, int], str]] | None = None,
    teacher: dict[str, Any] | None = None,
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
        check(TeacherParams, settings()["teacher"] | (teacher or {}), "test"),
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


def test_an_interval_covers_the_accuracy_of_all_texts_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    params, covered = evaluate_params(confidence=0.9), 0
    for _ in range(200):
        truth = rng.integers(0, 3, 80)
        answers = np.where(rng.random(80) < 0.7, truth, (truth + 1) % 3)
        low, high = Judge(truth, 3, params).score(answers)["interval"]["accuracy"]
        covered += low <= 0.7 <= high
    assert 0.83 <= covered / 200 <= 0.97


def test_runs_that_differ_widen_the_interval() -> None:
    truth = np.arange(60) % 3
    judge = Judge(truth, 3, evaluate_params())
    good, bad = truth, (truth + 1) % 3
    low, high = curve_row("human", 5, np.array([good, good, bad, bad]), judge)["interval"]
    assert high - low > 0.5
    assert curve_row("human", 5, np.array([good, good]), judge)["interval"] == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("synthetic", "teacher", "size"),
    [
        pytest.param({10: 0.5, 20: 0.7, 50: 0.8}, 0.6, 20, id="from 20 on"),
        pytest.param({10: 0.5, 20: 0.7, 50: 0.65, 100: 0.9}, 0.68, 100, id="dips below again"),
        pytest.param({10: 0.7, 20: 0.8}, 0.6, 10, id="from the start"),
        pytest.param({10: 0.5, 20: 0.6}, 0.6, None, id="a tie is no win"),
        pytest.param({10: 0.9, 20: 0.5}, 0.6, None, id="lost at the end"),
        pytest.param({50: 0.8, 10: 0.5, 20: 0.7}, 0.6, 20, id="in any order"),
        pytest.param({10: 0.9}, None, None, id="no teacher"),
        pytest.param({}, 0.1, None, id="no curve"),
    ],
)
def test_where_the_student_overtakes(synthetic: dict[int, float], teacher: float | None, size: int | None) -> None:
    curve = [{"source": "synthetic", "size": n, "mean": mean} for n, mean in synthetic.items()]
    assert overtakes_at([{"source": "human", "size": 5, "mean": 1.0}, *curve], teacher) == size


def test_the_size_at_which_the_teacher_is_overtaken_is_said_for_each_student(tmp_path: Path) -> None:
    weak = {key: "bbbbbb" for key in ANSWERS}
    students = evaluate(tmp_path, students={"linear": ANSWERS, "weak": weak})["students"]
    assert {name: student["overtakes_teacher_at"] for name, student in students.items()} == {"linear": 2, "weak": None}


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
        "note": note,
    }
    assert evaluation["students"]["linear"]["overtakes_teacher_at"] is None
    assert (tmp_path / "evaluated" / "journal.jsonl").exists()


def test_a_server_is_asked_each_text_once(tmp_path: Path) -> None:
    with chat_server(lambda *_: chat("hours")) as server:
        for _ in range(2):
            teacher = evaluate(tmp_path, teacher={"kind": "openai", "url": server.url})["teacher"]
    assert [any(text in body["messages"][0]["content"] for body in server.chats) for text in QUESTIONS] == [True] * 6
    assert (len(server.chats), teacher["model"], teacher["accuracy"]) == (6, "tiny", 3 / 6)


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
    teacher = check(TeacherParams, settings()["teacher"], "test")
    with pytest.raises(DataError, match=r"predictions\.parquet answers another test set, or with other labels; run"):
        run_evaluate(
            tmp_path / "prepared",
            tmp_path / "heldout",
            [tmp_path / "trained" / "linear"],
            tmp_path / "recording.jsonl",
            tmp_path / "evaluated",
            evaluate_params(),
            teacher,
        )
    assert (tmp_path / "evaluated" / "evaluation.json").read_bytes() == before
