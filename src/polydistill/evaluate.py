"""Decides how good students and teacher are, on the held-out test set, under the same rules and with intervals."""

import asyncio
import csv
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from polydistill.errors import DataError, TeacherError
from polydistill.files import explained, new_file, read_json, require_input, write_json
from polydistill.params import BudgetParams, EvaluateParams, TeacherParams
from polydistill.prompts import prompt_hash, render
from polydistill.records import Record, read_records
from polydistill.replies import faults_of, read_label, reply_faults
from polydistill.replies.parsing import answer_of
from polydistill.runs import FINAL
from polydistill.scores import accuracy, interval, macro_f1, resample_counts, to_classes
from polydistill.task import Task
from polydistill.teachers import (
    ChatRequest,
    Outcome,
    Reply,
    ask_all,
    check_target,
    ledger,
    open_journal,
    open_teacher,
)

log = logging.getLogger(__name__)


class Scorer:
    """Scores answers to one test set, all on the same resamples of its texts."""

    def __init__(self, truth: np.ndarray, n_labels: int, params: EvaluateParams) -> None:
        self.truth, self.n_labels, self.params = truth, n_labels, params
        self._texts = resample_counts(len(truth), params.bootstrap_samples, np.random.default_rng([params.seed, 0]))

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
            By metric: `mean`, `std` (over runs, 0 for one), `interval` of the mean. The interval resamples the runs and
            the test texts, so that it covers both which texts were drawn for training and which stand in the test set.
        """
        # A generator of its own, so that an interval does not depend on what was scored before.
        rng = np.random.default_rng([self.params.seed, 1])
        runs = resample_counts(len(answers), self.params.bootstrap_samples, rng) / len(answers)
        scores = {
            "accuracy": (accuracy(self.truth, answers), accuracy(self.truth, answers, self._texts)),
            "macro_f1": (
                macro_f1(self.truth, answers, self.n_labels),
                macro_f1(self.truth, answers, self.n_labels, self._texts),
            ),
        }
        return {
            metric: {
                "mean": float(of_runs.mean()),
                "std": float(of_runs.std(ddof=1)) if len(answers) > 1 else 0.0,
                "interval": interval((resampled * runs).sum(axis=1), self.params.confidence),
            }
            for metric, (of_runs, resampled) in scores.items()
        }


def curve_row(source: str, size: int, answers: np.ndarray, scorer: Scorer) -> dict[str, Any]:
    """Return a row of a learning curve: accuracy on top, macro-F1 beneath."""
    scores = scorer.score_runs(answers)
    return {"source": source, "size": size, "runs": len(answers), **scores["accuracy"], "macro_f1": scores["macro_f1"]}


def overtakes_at(curve: Iterable[dict[str, Any]], teacher_accuracy: float | None) -> int | None:
    """Return the smallest size from which on the mean accuracy on synthetic texts is above the teacher's, if any."""
    found = None
    for row in sorted((row for row in curve if row["source"] == "synthetic"), key=lambda row: -row["size"]):
        if teacher_accuracy is None or row["mean"] <= teacher_accuracy:
            break
        found = row["size"]
    return found


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
    scorer = Scorer(truth, len(task.labels), params)
    teacher: dict[str, Any] = {"model": None, "accuracy": None, "macro_f1": None, "interval": None, "abstained": None}
    teacher["usage"] = {}
    teacher["note"] = "not asked (params.yaml: evaluate.zero_shot)"
    if params.zero_shot:
        said = asyncio.run(_ask_labels(task, language, test, recording, evaluated, teacher_params, budget, record_to))
        if said is None:
            teacher["note"] = f"{recording.name} holds no zero-shot answers"
        else:
            scores = scorer.score(to_classes(said["answers"], task.label_names))
            teacher |= {"model": said["model"], **scores, "abstained": said["answers"].count(None), "note": ""}
            teacher["usage"] = said["usage"]
    students = {}
    for folder in trained:
        training = read_json(require_input(folder / "train.json", "train"))
        student = training["student"]
        students[student] = {**_evaluate_student(folder, task, test, scorer), "subset": training["subset"]}
        students[student]["overtakes_teacher_at"] = overtakes_at(students[student]["curve"], teacher["accuracy"])
    evaluation = {
        "schema_version": 1,
        "task": task.name,
        "language": language,
        "labels": task.label_names,
        "n_test": len(test),
        "confidence": params.confidence,
        "teacher": teacher,
        "students": students,
    }
    _write_curves(evaluated / "curves.csv", students)
    with explained(evaluated / "journal", "write"):
        (evaluated / "journal").mkdir(exist_ok=True)  # DVC wants every output to be there, also where nothing was asked
    write_json(evaluated / "evaluation.json", evaluation)
    of_teacher = teacher["note"] if teacher["accuracy"] is None else f"{teacher['accuracy']:.1%}"
    finals = ", ".join(f"{name} {of['final']['accuracy']:.1%}" for name, of in students.items())
    log.info("test accuracy: teacher %s; %s", of_teacher, finals)


async def _ask_labels(
    task: Task,
    language: str,
    test: Sequence[Record],
    recording: Path,
    evaluated: Path,
    params: TeacherParams,
    budget: BudgetParams,
    record_to: Path | None,
) -> dict[str, Any] | None:
    """Return the teacher's model, what asking it took, and its label for each test text, None for an abstention."""
    check_target(record_to)
    async with open_teacher(params, recording) as teacher:
        if "zero-shot" not in teacher.models:
            return None
        requests = [
            ChatRequest(f"zero-shot/{record.id}", "zero-shot", render("zero-shot", task=task, text=record.text), 0.0, 0)
            for record in test
        ]
        plan = {
            "instruction": task.instruction,
            "labels": {label.name: label.description for label in task.labels},
            "language": language,
            "model": teacher.models["zero-shot"],
            "revision": teacher.revision,
            "prompts": {"zero-shot": prompt_hash("zero-shot")},
        }
        with open_journal(evaluated, "zero-shot", plan, teacher, record_to) as journal:
            outcomes = await ask_all(requests, teacher, journal, params, budget, faults_of)
            usage = ledger(journal.usage, budget)
    answers = [_read_answer(outcomes[request.id], task, language) for request in requests]
    return {"model": teacher.models["zero-shot"], "answers": answers, "usage": usage}


def _read_answer(outcome: Outcome, task: Task, language: str) -> str | None:
    if isinstance(outcome, Reply):
        # A label in half an answer, or among thoughts, may be one that the whole answer goes on to deny.
        if reply_faults(outcome):
            return None
        return read_label(answer_of(outcome.text)[0], task.labels, language)
    if outcome.refused:
        return None  # a text that the teacher will not look at is one that it has no label for
    raise TeacherError(f"the teacher did not answer every test text: {outcome.cause}; run again to ask for the rest")


def _evaluate_student(folder: Path, task: Task, test: Sequence[Record], scorer: Scorer) -> dict[str, Any]:
    path = folder / "predictions.parquet"
    with explained(path, "read"):
        table = pq.read_table(path)
    keys = list(zip(*(table[name].to_pylist() for name in ("source", "size", "run")), strict=True))
    n_texts = len(test)
    # A run's answers stand together, in the order of the test set.
    ids = [record.id for record in test] * (len(keys) // n_texts)
    if table["id"].to_pylist() != ids or not set(table["label"].unique().to_pylist()) <= set(task.label_names):
        raise DataError(f"{path} answers another test set, or with other labels; run `polydistill train` again")
    answers = to_classes(table["label"].to_pylist(), task.label_names).reshape(-1, n_texts)
    curves: dict[tuple[str, int], list[np.ndarray]] = {}
    final: dict[str, Any] = {}
    for (source, size, run), of_run in zip(keys[::n_texts], answers, strict=True):
        if run == FINAL:
            final = {"size": size, **scorer.score(of_run)}
        else:
            curves.setdefault((source, size), []).append(of_run)
    curve = [curve_row(source, size, np.array(of_size), scorer) for (source, size), of_size in curves.items()]
    return {"final": final, "curve": curve}


def _write_curves(path: Path, students: dict[str, Any]) -> None:
    with new_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["student", "source", "size", "runs", "accuracy", "std", "low", "high", "macro_f1"])
        for name, student in students.items():
            for row in student["curve"]:
                numbers = [row["mean"], row["std"], *row["interval"], row["macro_f1"]["mean"]]
                writer.writerow([name, row["source"], row["size"], row["runs"], *(f"{n:.4f}" for n in numbers)])
