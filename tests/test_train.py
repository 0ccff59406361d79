import inspect
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from build import Texts, build_prepared, records
from polydistill.errors import DataError
from polydistill.files import digest, read_json
from polydistill.params import TrainParams, check
from polydistill.records import QUESTION, read_rows, write_records
from polydistill.runs import FINAL, PREDICTIONS, SCORES
from polydistill.students import load_student
from polydistill.train import Run, draw, plan_runs, run_train
from spaces import GENERATED, HUMAN, SEEDS, TEST, settings

ACCEPTED = {label: [text for part in parts for text in part] for label, parts in GENERATED.items()}


def train_params(**changes: Any) -> TrainParams:
    return check(TrainParams, settings()["train"] | changes, "test")


def train(
    root: Path, *, accepted: Texts = ACCEPTED, human: Texts | None = HUMAN, test: Texts = TEST, **changes: Any
) -> Path:
    prepared = build_prepared(root / "prepared", SEEDS, human=human, test=test)
    write_records(root / "filtered" / "accepted.parquet", records(accepted))
    run_train(prepared, root / "filtered", root / "trained" / "linear", "linear", train_params(**changes))
    return root / "trained" / "linear"


LABELS = ["a"] * 60 + ["b"] * 30 + ["c"] * 10


@pytest.mark.parametrize(
    ("size", "counts"),
    [
        pytest.param(3, {"a": 1, "b": 1, "c": 1}, id="as many as labels"),
        pytest.param(10, {"a": 6, "b": 3, "c": 1}, id="ten"),
        pytest.param(50, {"a": 30, "b": 15, "c": 5}, id="half"),
        pytest.param(100, {"a": 60, "b": 30, "c": 10}, id="all"),
    ],
)
def test_a_draw_keeps_the_shares_of_the_labels(size: int, counts: dict[str, int]) -> None:
    for seed in range(20):
        drawn = Counter(LABELS[i] for i in draw(LABELS, size, np.random.default_rng(seed)))
        assert all(abs(drawn[label] - wanted) <= (size != len(LABELS)) for label, wanted in counts.items())
        assert set(drawn) == set(counts)


@pytest.mark.parametrize("size", [2, 3, 17, 99])
def test_a_draw_has_its_size_and_no_text_twice(size: int) -> None:
    for seed in range(20):
        drawn = draw(LABELS, size, np.random.default_rng(seed))
        assert len(set(drawn.tolist())) == len(drawn) == size
        assert len({LABELS[i] for i in drawn}) >= 2


def test_a_draw_depends_on_its_seed_alone() -> None:
    draws = [tuple(draw(LABELS, 10, np.random.default_rng(seed))) for seed in (1, 1, 2, 3)]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3


def test_every_text_is_drawn_at_times() -> None:
    drawn = {i for seed in range(300) for i in draw(LABELS, 10, np.random.default_rng(seed)).tolist()}
    assert drawn == set(range(len(LABELS)))


def test_with_fewer_texts_than_labels_each_label_has_its_chance() -> None:
    drawn = {"".join(LABELS[i] for i in draw(LABELS, 2, np.random.default_rng(seed))) for seed in range(50)}
    assert drawn == {"ab", "ac", "bc"}


def test_each_run_draws_its_own_texts(tmp_path: Path) -> None:
    rows = read_rows(train(tmp_path, sizes=[2], runs=10) / "predictions.parquet", PREDICTIONS)
    answers = {run: "".join(row["label"][0] for row in rows if row["run"] == run) for run in range(10)}
    assert len(set(answers.values())) > 3


def test_sizes_above_what_there_is_are_passed_over() -> None:
    params = train_params(sizes=[4, 2, 4, 8, 9], runs=2, seed=5)
    assert plan_runs({"synthetic": 8, "human": 3}, params) == [
        Run("synthetic", 8, FINAL, 5),
        *(Run("synthetic", size, run, 5 + run) for size in (2, 4, 8) for run in (0, 1)),
        *(Run("human", 2, run, 5 + run) for run in (0, 1)),
    ]


def test_each_run_is_scored_on_the_seeds_and_answers_the_questions(tmp_path: Path) -> None:
    trained = train(tmp_path)
    runs = [("synthetic", 8, -1), *((s, n, r) for s in ("synthetic", "human") for n in (2, 4) for r in (0, 1))]
    scores = read_rows(trained / "scores.parquet", SCORES)
    assert [(row["source"], row["size"], row["run"]) for row in scores] == runs
    assert {(row["split"], row["n"]) for row in scores} == {("validation", 4)}
    answers = read_rows(trained / "predictions.parquet", PREDICTIONS)
    asked = [question["id"] for question in read_rows(tmp_path / "prepared" / "questions.parquet", QUESTION)]
    assert [row["id"] for row in answers] == asked * len(runs)
    assert [(row["source"], row["size"], row["run"]) for row in answers[:: len(asked)]] == runs


def test_the_final_student_is_kept(tmp_path: Path) -> None:
    trained = train(tmp_path)
    student = load_student(trained / "model")
    final = [row["label"] for row in read_rows(trained / "predictions.parquet", PREDICTIONS) if row["run"] == FINAL]
    assert student.predict([text for label in TEST for text in TEST[label]]) == final
    score = next(row for row in read_rows(trained / "scores.parquet", SCORES) if row["run"] == FINAL)
    right = [student.predict([text]) == [label] for label in SEEDS for text in SEEDS[label]]
    assert score["accuracy"] == pytest.approx(np.mean(right))


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    first, again, other = (train(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert digest(first) == digest(again) != digest(other)


def test_the_labels_of_the_test_set_are_out_of_reach() -> None:
    assert set(inspect.signature(run_train).parameters) == {"prepared", "filtered", "trained", "kind", "params"}


def test_without_human_texts_the_synthetic_curve_is_there_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    trained = train(tmp_path, human=None, sizes=[2, 4, 50])
    assert read_json(trained / "train.json")["passed_over"] == {"synthetic": [50], "human": [2, 4, 50]}
    assert {row["source"] for row in read_rows(trained / "scores.parquet", SCORES)} == {"synthetic"}
    assert "synthetic: 8 texts, so sizes [50] are passed over" in caplog.messages
    assert "there are no human texts, so no curve of them" in caplog.messages


@pytest.mark.parametrize(
    "accepted", [{"book": [], "hours": []}, {"book": ACCEPTED["book"], "hours": []}], ids=["no text", "one label"]
)
def test_too_few_labels_are_said_and_nothing_written(tmp_path: Path, accepted: Texts) -> None:
    with pytest.raises(DataError, match=r"accepted\.parquet holds texts of fewer than two labels; see filter\.json"):
        train(tmp_path, accepted=accepted)
    assert not (tmp_path / "trained").exists()


def test_what_was_filtered_must_be_there(tmp_path: Path) -> None:
    build_prepared(tmp_path / "prepared", SEEDS)
    with pytest.raises(DataError, match=r"accepted\.parquet is missing; run `polydistill filter` first"):
        run_train(tmp_path / "prepared", tmp_path / "f", tmp_path / "t", "linear", train_params())
