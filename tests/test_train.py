import inspect
import logging
import os
import time
from collections import Counter
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from build import Texts, build_prepared, records
from polydistill.errors import DataError, ParamsError, PolydistillError
from polydistill.files import digest, read_json
from polydistill.params import TrainParams, check
from polydistill.records import QUESTION, read_rows, write_records
from polydistill.runs import FINAL, PREDICTIONS, SCORES, SUBSAMPLES
from polydistill.students import load_student
from polydistill.students.linear import LinearStudent
from polydistill.train import run_train
from polydistill.train.plan import Run, plan_runs
from polydistill.train.side_by_side import side_by_side
from polydistill.train.subsets import CHOOSE, Choose, diverse, draw, draw_by, embed, representative
from spaces import GENERATED, HUMAN, SEEDS, TEST, settings

ACCEPTED = {label: [text for part in parts for text in part] for label, parts in GENERATED.items()}


def train_params(**changes: Any) -> TrainParams:
    return check(TrainParams, settings()["train"] | changes, "test")


def train(
    root: Path, *, accepted: Texts = ACCEPTED, human: Texts | None = HUMAN, test: Texts = TEST, **changes: Any
) -> Path:
    prepared = build_prepared(root / "prepared", SEEDS, human=human, test=test)
    write_records(root / "filtered" / "accepted.parquet", records(accepted))
    folders = root / "filtered", root / "trained" / "linear", root / "finished" / "linear"
    run_train(prepared, *folders, "linear", train_params(**changes))
    return root / "trained" / "linear"


LABELS = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
POINTS = np.random.default_rng(0).normal(size=(len(LABELS), 5))
VECTORS = POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)
SUBSETS = ["random", *CHOOSE]


def drawn_with(seed: int, subset: str, size: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return draw(LABELS, size, rng) if subset == "random" else draw_by(CHOOSE[subset], LABELS, VECTORS, size, rng)


def at(*degrees: float) -> np.ndarray:
    """Return a vector a text: the nearer the angles, the more alike the texts."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@pytest.mark.parametrize("subset", SUBSETS)
@pytest.mark.parametrize(
    ("size", "counts"),
    [
        pytest.param(3, {"a": 1, "b": 1, "c": 1}, id="as many as labels"),
        pytest.param(10, {"a": 6, "b": 3, "c": 1}, id="ten"),
        pytest.param(50, {"a": 30, "b": 15, "c": 5}, id="half"),
        pytest.param(100, {"a": 60, "b": 30, "c": 10}, id="all"),
    ],
)
def test_a_draw_keeps_the_shares_of_the_labels(size: int, counts: dict[str, int], subset: str) -> None:
    for seed in range(20):
        drawn = Counter(LABELS[i] for i in drawn_with(seed, subset, size))
        assert all(abs(drawn[label] - wanted) <= (size != len(LABELS)) for label, wanted in counts.items())
        assert set(drawn) == set(counts)


@pytest.mark.parametrize("subset", SUBSETS)
@pytest.mark.parametrize("size", [2, 3, 17, 99])
def test_a_draw_has_its_size_and_no_text_twice(size: int, subset: str) -> None:
    for seed in range(20):
        drawn = drawn_with(seed, subset, size)
        assert len(set(drawn.tolist())) == len(drawn) == size
        assert len({LABELS[i] for i in drawn}) >= 2


@pytest.mark.parametrize("subset", SUBSETS)
def test_a_draw_depends_on_its_seed_alone(subset: str) -> None:
    draws = [tuple(drawn_with(seed, subset, 10)) for seed in (1, 1, 2, 3)]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3


def test_random_draws_are_those_of_earlier_versions() -> None:
    assert draw(list("aaaaabbbcc"), 6, np.random.default_rng(1)).tolist() == [0, 4, 5, 7, 8, 9]


@pytest.mark.parametrize("seed", range(10))
def test_diverse_texts_are_far_apart(seed: int) -> None:
    chosen = set(diverse(at(0, 1, 2, 3, 4, 90, 180), 3, np.random.default_rng(seed)).tolist())
    assert {5, 6} < chosen


@pytest.mark.parametrize("choose", CHOOSE.values(), ids=CHOOSE)
def test_of_texts_that_are_all_alike_each_is_chosen_once(choose: Choose) -> None:
    assert len(set(choose(at(0, 0, 0, 0), 3, np.random.default_rng(0)).tolist())) == 3


@pytest.mark.parametrize("seed", range(10))
def test_representative_texts_leave_out_what_stands_alone(seed: int) -> None:
    many, more, alone = range(40), range(90, 120), (200, 290)
    chosen = representative(at(*many, *more, *alone), 2, np.random.default_rng(seed))
    assert sorted(i < 40 for i in chosen) == [False, True] and max(chosen) < 70


def test_a_large_label_is_represented_by_a_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polydistill.train.subsets.STOOD_FOR", 30)
    chosen = representative(at(*range(40), *range(90, 130)), 2, np.random.default_rng(0))
    assert sorted(i < 40 for i in chosen) == [False, True]


def test_texts_that_share_n_grams_are_close() -> None:
    vectors = embed(["Kdaj ste odprti?", "Kdaj ste danes odprti?", "Rada bi termin."])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    assert vectors[0] @ vectors[1] > 0.9 > 0.5 > vectors[0] @ vectors[2]


def test_every_text_is_drawn_at_times() -> None:
    drawn = {i for seed in range(300) for i in draw(LABELS, 10, np.random.default_rng(seed)).tolist()}
    assert drawn == set(range(len(LABELS)))


def test_with_fewer_texts_than_labels_each_label_has_its_chance() -> None:
    drawn = {"".join(LABELS[i] for i in draw(LABELS, 2, np.random.default_rng(seed))) for seed in range(50)}
    assert drawn == {"ab", "ac", "bc"}


def test_each_run_draws_its_own_texts(tmp_path: Path) -> None:
    rows = read_rows(train(tmp_path, sizes=[4], runs=10) / "predictions.parquet", PREDICTIONS)
    answers = {run: "".join(row["label"][0] for row in rows if row["run"] == run) for run in range(10)}
    assert len(set(answers.values())) > 3


@pytest.mark.parametrize("subset", CHOOSE)
def test_the_subset_changes_the_curves_of_both_sources_and_not_the_final_student(tmp_path: Path, subset: str) -> None:
    at_random, chosen = (train(tmp_path / name, subset=name, runs=10) for name in ("random", subset))
    assert digest(at_random / "model") == digest(chosen / "model")
    tables = [read_rows(trained / "predictions.parquet", PREDICTIONS) for trained in (at_random, chosen)]
    changed = {(one["source"], one["size"]) for one, other in zip(*tables, strict=True) if one != other}
    assert {source for source, _ in changed} == {"synthetic", "human"}
    assert ("synthetic", 8) not in changed
    assert digest(chosen) == digest(train(tmp_path / "again", subset=subset, runs=10))


def test_an_unknown_subset_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"subset: 'varied' is not allowed; input should be 'random', 'diverse' or"):
        train_params(subset="varied")


def test_each_subset_is_another(tmp_path: Path) -> None:
    assert len({digest(train(tmp_path / name, subset=name, runs=10)) for name in SUBSETS}) == 3


def test_sizes_above_what_there_is_or_below_two_texts_a_label_are_passed_over() -> None:
    params = train_params(sources=["synthetic", "human", "mixed"], sizes=[6, 3, 4, 4, 8, 9], runs=2, seed=5)
    assert plan_runs({"synthetic": 8, "human": 4, "mixed": 6}, 2, params) == [
        Run("synthetic", 8, FINAL, 5),
        *(Run("synthetic", size, run, 5 + run) for size in (4, 6, 8) for run in (0, 1)),
        *(Run("human", 4, run, 5 + run) for run in (0, 1)),
        *(Run("mixed", size, run, 5 + run) for size in (4, 6) for run in (0, 1)),
    ]


def test_each_run_is_scored_on_the_seeds_and_answers_the_questions(tmp_path: Path) -> None:
    trained = train(tmp_path)
    runs = [("synthetic", 8, -1), *((s, n, r) for s in ("synthetic", "human") for n in (4, 6) for r in (0, 1))]
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


def test_runs_side_by_side_give_the_same_bytes(tmp_path: Path) -> None:
    one, three = (train(tmp_path / str(jobs), jobs=jobs, runs=5) for jobs in (1, 3))
    assert digest(one) == digest(three)


def test_half_of_the_texts_of_a_mixed_run_are_human(tmp_path: Path) -> None:
    trained = train(tmp_path, sources=["mixed"], sizes=[4, 5, 6])
    origin = {record.id: record.origin for record in [*records(ACCEPTED), *records(HUMAN, "human")]}
    drawn = {
        (row["size"], row["run"]): Counter(origin[id] for id in row["ids"])
        for row in read_rows(trained / "subsamples.parquet", SUBSAMPLES)
        if row["run"] != FINAL
    }
    assert drawn == {
        (size, run): {"synthetic": size - size // 2, "human": size // 2} for size in (4, 5, 6) for run in (0, 1)
    }


def test_the_texts_that_a_run_learned_from_are_kept(tmp_path: Path) -> None:
    trained = train(tmp_path, runs=10)
    label = {record.id: record.label for record in records(ACCEPTED)}
    rows = [row for row in read_rows(trained / "subsamples.parquet", SUBSAMPLES) if row["source"] == "synthetic"]
    assert [Counter(label[id] for id in row["ids"]) for row in rows if row["size"] == 6] == [
        {"book": 3, "hours": 3}
    ] * 10
    assert {len(row["ids"]) for row in rows} == {4, 6, 8}
    assert len({tuple(row["ids"]) for row in rows}) > 10


def count_trainings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have a list of the sizes of all trainings that follow."""
    sizes: list[int] = []
    fit = LinearStudent.fit

    def counted(self: LinearStudent, texts: list[str], *more: Any) -> LinearStudent:
        sizes.append(len(texts))
        return fit(self, texts, *more)

    monkeypatch.setattr(LinearStudent, "fit", counted)
    return sizes


def test_no_run_is_trained_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = count_trainings(monkeypatch)
    first = digest(train(tmp_path, jobs=1))
    assert sorted(sizes) == [4, 4, 4, 4, 6, 6, 6, 6, 8]
    sizes.clear()
    assert digest(train(tmp_path, jobs=1)) == first
    assert sizes == []
    train(tmp_path, jobs=1, runs=3, sizes=[4, 8], sources=["synthetic"])
    assert sorted(sizes) == [4, 8, 8, 8]


@pytest.mark.parametrize(
    ("changed", "retrained"),
    [
        pytest.param({"seed": 9}, 9, id="seed"),
        pytest.param({"linear": settings()["train"]["linear"] | {"max_char_ngram": [3]}}, 9, id="settings"),
        pytest.param({"test": {**TEST, "book": TEST["book"][:2]}}, 9, id="test texts"),
        pytest.param(
            {"accepted": {**ACCEPTED, "book": [*ACCEPTED["book"][:3], "Za termin."]}}, 4, id="the drawn texts"
        ),
        pytest.param({"jobs": 2}, 0, id="nothing that matters"),
    ],
)
def test_what_matters_has_runs_trained_again(tmp_path: Path, changed: dict[str, Any], retrained: int) -> None:
    train(tmp_path)
    journal = tmp_path / "finished" / "linear" / "runs.jsonl"
    before = len(journal.read_text().splitlines())
    train(tmp_path, **changed)
    assert len(journal.read_text().splitlines()) - before == retrained


def test_a_run_cut_short_on_disk_is_trained_again_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = digest(train(tmp_path, jobs=1))
    journal = tmp_path / "finished" / "linear" / "runs.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    sizes = count_trainings(monkeypatch)
    assert digest(train(tmp_path, jobs=1)) == first
    assert len(sizes) == 1
    sizes.clear()
    assert digest(train(tmp_path, jobs=1)) == first
    assert sizes == []


def test_a_training_that_fails_leaves_the_others_to_go_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = LinearStudent.fit

    def failing(self: LinearStudent, texts: list[str], *more: Any) -> LinearStudent:
        if len(texts) == 6 and self.seed == 2:
            raise DataError("out of luck")
        return fit(self, texts, *more)

    with monkeypatch.context() as broken:
        broken.setattr(LinearStudent, "fit", failing)
        with pytest.raises(DataError, match="out of luck"):
            train(tmp_path, jobs=1)
    assert not (tmp_path / "trained").exists()
    sizes = count_trainings(monkeypatch)
    assert digest(train(tmp_path, jobs=1)) == digest(train(tmp_path / "other", jobs=1))
    assert 0 < len(sizes) - 9 < 9


def test_a_killed_training_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LinearStudent, "fit", lambda *_: os._exit(9))
    with pytest.raises(PolydistillError, match="a training was killed, perhaps for want of memory; lower params"):
        train(tmp_path, jobs=2)


def test_what_ended_well_beside_a_failure_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    class AllAtOnce(SimpleQueue[Any]):
        """Gives nothing away before all three have ended."""

        given = 0

        def get(self, *_: Any) -> Any:
            while self.given + self.qsize() < 3:
                time.sleep(0.005)
            self.given += 1
            return super().get()

    monkeypatch.setattr("polydistill.train.side_by_side.SimpleQueue", AllAtOnce)

    def work(job: int) -> int:
        if job == 3:
            raise DataError("out of luck")
        return job

    came = []
    with pytest.raises(DataError, match="out of luck"):
        for job, _ in side_by_side(work, range(1, 4), 3, forks=True):
            came.append(job)
    assert sorted(came) == [1, 2]


def test_trainings_that_collapsed_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = LinearStudent.fit

    def collapsing(self: LinearStudent, texts: list[str], *more: Any) -> LinearStudent:
        fit(self, texts, *more)
        self.training_ = {"restarts": 2, "collapsed": "loss"} if len(texts) == 6 else {"restarts": len(texts) == 8}
        return self

    monkeypatch.setattr(LinearStudent, "fit", collapsing)
    facts = read_json(train(tmp_path, jobs=1) / "train.json")
    assert (facts["restarted"], facts["collapsed"]) == (5, 4)


def test_only_the_last_final_student_is_kept(tmp_path: Path) -> None:
    for seed in (1, 2):
        train(tmp_path, seed=seed)
    assert len(list((tmp_path / "finished" / "linear").glob("model-*"))) == 1


def test_the_labels_of_the_test_set_are_out_of_reach() -> None:
    reads = {"prepared", "filtered", "kind", "params", "teacher", "budget", "recording"}
    assert set(inspect.signature(run_train).parameters) == {*reads, "trained", "finished"}


def test_without_human_texts_the_synthetic_curve_is_there_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    trained = train(tmp_path, human=None, sizes=[4, 50])
    facts = read_json(trained / "train.json")
    assert (facts["passed_over"], facts["subset"]) == ({"synthetic": [50], "human": [4, 50]}, "random")
    assert {row["source"] for row in read_rows(trained / "scores.parquet", SCORES)} == {"synthetic"}
    assert "synthetic: sizes [50] are passed over; 4 to 8 texts can be drawn" in caplog.messages
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
        run_train(tmp_path / "prepared", tmp_path / "f", tmp_path / "t", tmp_path / "d", "linear", train_params())
