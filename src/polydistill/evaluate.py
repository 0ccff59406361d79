"""Decides how good students and teacher are, on the held-out test set, under the same rules and with intervals."""

import asyncio
import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from polydistill.errors import DataError
from polydistill.files import explained, new_file, read_json, require_input, write_json
from polydistill.labelling import ask_zero_shot
from polydistill.params import BudgetParams, EvaluateParams, TeacherParams
from polydistill.records import Record, read_records
from polydistill.runs import FINAL, read_training
from polydistill.scores import f1_marks, mean_interval, to_classes
from polydistill.task import Task
from polydistill.verdict import break_even, compare_paired, detectable_gap

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answered:
    """What one kind of student answers to the test texts, as classes: int of shape (n_texts,), or a row a run.

    `final` is the student trained on all `size` accepted texts, `curve` has the runs by source and size.
    """

    size: int
    final: np.ndarray
    curve: Mapping[tuple[str, int], np.ndarray]


class Scorer:
    """Scores answers to one test set."""

    def __init__(self, truth: np.ndarray, n_labels: int, confidence: float) -> None:
        self.truth, self.n_labels, self.confidence = truth, n_labels, confidence

    def right(self, answers: np.ndarray) -> np.ndarray:
        """Return which answers are right, bool of the shape of `answers`."""
        return np.asarray(answers == self.truth)

    def score(self, answers: np.ndarray) -> dict[str, Any]:
        """Return accuracy and macro-F1 of one set of answers, shape (n_texts,), with intervals over the test texts."""
        spread = self.score_runs(answers[np.newaxis])
        return {metric: spread[metric]["mean"] for metric in spread} | {
            "interval": {metric: spread[metric]["interval"] for metric in spread}
        }

    def score_runs(self, answers: np.ndarray) -> dict[str, dict[str, Any]]:
        """Return mean, standard deviation and interval of each metric over runs.

        Args:
            answers: A row a run, int of shape (n_runs, n_texts).

        Returns:
            By metric: `mean`, `std` (over runs, 0 for one), `interval` of the mean, which covers both which texts were
            drawn for training and which stand in the test set.
        """
        marks = {"accuracy": self.right(answers), "macro_f1": f1_marks(self.truth, answers, self.n_labels)}
        return {
            metric: {
                "mean": float(of_metric.mean()),
                "std": float(of_metric.mean(axis=1).std(ddof=1)) if len(answers) > 1 else 0.0,
                "interval": mean_interval(of_metric, self.confidence),
            }
            for metric, of_metric in marks.items()
        }

    def compare(self, answers: np.ndarray, others: np.ndarray) -> dict[str, Any]:
        """Return how much more accurate one set of answers is than another, both of shape (n_texts,).

        Returns:
            `difference` with its `interval` and the `p_value` of there being none, and `detectable_gap`: how large a
            true difference would have to be for such a test set to show it four times out of five.
        """
        found = compare_paired(self.right(answers)[np.newaxis], self.right(others)[np.newaxis], self.confidence)
        gap = detectable_gap(len(self.truth), found.discordant, confidence=self.confidence)
        return {
            "difference": found.difference,
            "interval": found.interval,
            "p_value": found.p_value,
            "detectable_gap": gap,
        }


def score_student(answered: Answered, teacher: np.ndarray | None, scorer: Scorer) -> dict[str, Any]:
    """Return the scores of one kind of student, and how it stands beside the teacher's answers where there are any."""
    synthetic = {size: scorer.right(runs) for (source, size), runs in answered.curve.items() if source == "synthetic"}
    beside: dict[str, Any] = {"against_teacher": None, "break_even": None}
    if teacher is not None:
        beside["against_teacher"] = scorer.compare(answered.final, teacher)
    if teacher is not None and synthetic:
        found = break_even(synthetic, scorer.right(teacher), scorer.confidence)
        beside["break_even"] = {**found._asdict(), "told": found.told()}
    return {
        "final": {"size": answered.size, **scorer.score(answered.final)},
        "curve": [curve_row(source, size, runs, scorer) for (source, size), runs in answered.curve.items()],
        **beside,
    }


def curve_row(source: str, size: int, answers: np.ndarray, scorer: Scorer) -> dict[str, Any]:
    """Return a row of a learning curve: accuracy on top, macro-F1 beneath."""
    scores = scorer.score_runs(answers)
    return {"source": source, "size": size, "runs": len(answers), **scores["accuracy"], "macro_f1": scores["macro_f1"]}


def run_evaluate(
    prepared: Path,
    heldout: Path,
    trained: Sequence[Path],
    recording: Path,
    evaluated: Path,
    params: EvaluateParams,
    teacher_params: TeacherParams,
    budget: BudgetParams,
    *,
    record_to: Path | None = None,
) -> None:
    """Score the students of a cell and the teacher on the test set.

    Args:
        prepared: What `prepare` wrote.
        heldout: The labelled test set, which no other step reads.
        trained: What `train` wrote, a folder a student.
        recording: Recorded replies of the cell; read only where the teacher is a recorded one.
        evaluated: Folder to write: evaluation.json, curves.csv, and journal/ with the teacher's answers.
        params: Section `evaluate` of params.yaml.
        teacher_params: Section `teacher` of params.yaml.
        budget: Section `budget` of params.yaml.
        record_to: File to write the teacher's answers to as a recording, beside what it holds of other purposes.
    """
    facts = read_json(require_input(prepared / "prepare.json", "prepare"))
    task, language = Task.model_validate(facts["task"]), facts["language"]
    test = read_records(require_input(heldout / "test.parquet", "prepare"))
    truth = to_classes([record.label for record in test], task.label_names)
    scorer = Scorer(truth, len(task.labels), params.confidence)
    teacher: dict[str, Any] = {"model": None, "accuracy": None, "macro_f1": None, "interval": None, "abstained": None}
    teacher["usage"] = {}
    teacher["note"] = "not asked (params.yaml: evaluate.zero_shot)"
    answers_of_teacher = None
    if params.zero_shot:
        texts = [record.text for record in test]
        said = asyncio.run(
            ask_zero_shot(texts, task, language, teacher_params, budget, recording, evaluated, record_to)
        )
        if said is None:
            teacher["note"] = f"{recording.name} holds no zero-shot answers"
        else:
            answers_of_teacher = to_classes(said.labels, task.label_names)
            scores = scorer.score(answers_of_teacher)
            teacher |= {"model": said.model, **scores, "abstained": said.labels.count(None), "note": ""}
            teacher["usage"] = said.usage
    students, finals = {}, {}
    for folder in trained:
        training = read_training(folder)
        answered = _read_answers(folder, task.label_names, test)
        kind = training["student"]
        finals[kind] = answered.final
        students[kind] = {
            **score_student(answered, answers_of_teacher, scorer),
            "subset": training["subset"],
            "restarted": training["restarted"],
            "collapsed": training["collapsed"],
        }
    evaluation = {
        "schema_version": 2,
        "task": task.name,
        "language": language,
        "labels": task.label_names,
        "n_test": len(test),
        "confidence": params.confidence,
        "teacher": teacher,
        "students": students,
        "pairs": [
            {"students": [one, other], **scorer.compare(finals[one], finals[other])}
            for one, other in combinations(finals, 2)
        ],
    }
    _write_curves(evaluated / "curves.csv", students)
    with explained(evaluated / "journal", "write"):
        (evaluated / "journal").mkdir(exist_ok=True)  # DVC wants every output to be there, also where nothing was asked
    write_json(evaluated / "evaluation.json", evaluation)
    of_teacher = teacher["note"] if teacher["accuracy"] is None else f"{teacher['accuracy']:.1%}"
    of_students = ", ".join(f"{name} {of['final']['accuracy']:.1%}" for name, of in students.items())
    log.info("test accuracy: teacher %s; %s", of_teacher, of_students)


def _read_answers(folder: Path, labels: Sequence[str], test: Sequence[Record]) -> Answered:
    path = folder / "predictions.parquet"
    with explained(path, "read"):
        table = pq.read_table(path)
    keys = list(zip(*(table[name].to_pylist() for name in ("source", "size", "run")), strict=True))
    n_texts = len(test)
    # A run's answers stand together, in the order of the test set.
    ids = [record.id for record in test] * (len(keys) // n_texts)
    if table["id"].to_pylist() != ids or not set(table["label"].unique().to_pylist()) <= {None, *labels}:
        raise DataError(f"{path} answers another test set, or with other labels; run `polydistill train` again")
    answers = to_classes(table["label"].to_pylist(), labels).reshape(-1, n_texts)
    curve: dict[tuple[str, int], list[np.ndarray]] = {}
    finals = []
    for (source, size, run), of_run in zip(keys[::n_texts], answers, strict=True):
        if run == FINAL:
            finals.append((size, of_run))
        else:
            curve.setdefault((source, size), []).append(of_run)
    ((size, final),) = finals
    return Answered(size, final, {point: np.array(of_runs) for point, of_runs in curve.items()})


class Confusion(NamedTuple):
    """How often the final student of a kind answered a label to the test texts of a label.

    `counts` has a row for each label of the texts and a column for each label that was answered, in the order of
    `labels`; the last of these is no label, but stands for no answer, so that its row is empty.
    """

    student: str
    labels: list[str]
    counts: list[list[int]]


def confusion_of_best(heldout: Path, trained: Sequence[Path], evaluated: Path) -> Confusion:
    """Return what the most accurate final student takes for what.

    Args:
        heldout: The labelled test set.
        trained: What `train` wrote, a folder a student.
        evaluated: What `run_evaluate` wrote.
    """
    evaluation = read_json(require_input(evaluated / "evaluation.json", "evaluate"))
    students, labels = evaluation["students"], evaluation["labels"]
    best = max(students, key=lambda student: students[student]["final"]["accuracy"])
    folder = next(folder for folder in trained if read_training(folder)["student"] == best)
    test = read_records(require_input(heldout / "test.parquet", "prepare"))
    truth = to_classes([record.label for record in test], labels)
    counts = np.zeros((len(labels) + 1, len(labels) + 1), dtype=int)
    np.add.at(counts, (truth, _read_answers(folder, labels, test).final), 1)  # no answer is -1, the last column
    return Confusion(best, [*labels, "no answer"], counts.tolist())


def _write_curves(path: Path, students: dict[str, Any]) -> None:
    with new_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["student", "source", "size", "runs", "accuracy", "std", "low", "high", "macro_f1"])
        for name, student in students.items():
            for row in student["curve"]:
                numbers = [row["mean"], row["std"], *row["interval"], row["macro_f1"]["mean"]]
                writer.writerow([name, row["source"], row["size"], row["runs"], *(f"{n:.4f}" for n in numbers)])
