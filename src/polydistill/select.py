"""Decides which student serves a language, from validation texts alone: no test text is within its reach."""

import logging
import math
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polydistill.errors import DataError
from polydistill.files import digest, new_folder, read_json, require_input, write_json
from polydistill.params import SelectParams
from polydistill.properties import REFERENCE, text_properties
from polydistill.records import Record, read_records, read_rows, read_validation, write_rows
from polydistill.runs import FINAL, PREDICTIONS, read_training
from polydistill.scores import accuracy, f1_marks, macro_f1, to_classes
from polydistill.students import Student, load_student
from polydistill.verdict import choose

log = logging.getLogger(__name__)

_TIMED_TEXTS = 50
_TIMED_ROUNDS = 3


def milliseconds_a_text(student: Student, texts: Sequence[str]) -> float:
    """Return how long the student takes to answer one text that comes alone: the median, the first answer left out."""
    texts = texts[:_TIMED_TEXTS]
    student.predict_proba(texts[:1])
    took = []
    for text in [*texts] * _TIMED_ROUNDS:
        started = time.perf_counter()
        student.predict_proba([text])
        took.append(1000 * (time.perf_counter() - started))
    return statistics.median(took)


def run_select(
    prepared: Path, filtered: Path, trained: Sequence[Path], selected: Path, winner: Path, params: SelectParams
) -> None:
    """Choose the winner of a cell.

    Args:
        prepared: What `prepare` wrote.
        filtered: What `filter` wrote; its digest goes into the record.
        trained: What `train` wrote, a folder a student.
        selected: Folder to write: winner.json.
        winner: Folder to write: all that packaging and monitoring need of the winner (winner.json, model/,
            known_answers.json, reference.parquet).
        params: Section `select` of params.yaml.

    Raises:
        DataError: If no student can be served, or there are no validation texts.
    """
    facts = read_json(require_input(prepared / "prepare.json", "prepare"))
    labels = [label["name"] for label in facts["task"]["labels"]]
    training = {folder: read_training(folder) for folder in trained}
    candidates = {of["student"]: folder for folder, of in training.items() if of["servable"]}
    others = sorted(of["student"] for of in training.values() if not of["servable"])
    if not candidates:
        raise DataError(
            f"no service can answer with {', '.join(others)} alone; add another kind to params.yaml:train.students"
        )
    validation, _ = read_validation(prepared)
    if not validation:
        raise DataError(f"{prepared} holds no validation texts; add some to seeds.csv and run `polydistill prepare`")
    truth = to_classes([record.label for record in validation], labels)
    answers = {kind: _answers(folder, validation, labels) for kind, folder in candidates.items()}
    scores = {
        kind: {
            "accuracy": float(accuracy(truth, said)),
            "macro_f1": float(macro_f1(truth, said, len(labels))),
            "n": len(validation),
            **_cost(candidates[kind] / "model", validation, timed=len(candidates) > 1),
        }
        for kind, said in answers.items()
    }
    marks = {kind: _marks(truth, said, len(labels), params.metric) for kind, said in answers.items()}
    choice = choose(marks, {kind: _rank(of_kind) for kind, of_kind in scores.items()}, params.confidence)
    standings = {s.name: {k: v for k, v in s._asdict().items() if k not in ("name", "cost")} for s in choice.table}
    synthetic = read_records(filtered / "accepted.parquet")
    model = candidates[choice.winner] / "model"
    record = {
        "schema_version": 2,
        "task": facts["task"]["name"],
        "language": facts["language"],
        "labels": labels,
        "student": choice.winner,
        "metric": params.metric,
        "validation": {kind: {**of_kind, **standings[kind]} for kind, of_kind in scores.items()},
        "no_candidates": others,
        "reason": choice.reason,
        "teacher": sorted({str(record.source.teacher) for record in synthetic}),
        "prompts": sorted({str(record.source.prompt) for record in synthetic}),
        "digests": {"model": digest(model), "accepted": digest(filtered / "accepted.parquet")},
    }
    with new_folder(winner) as out:
        shutil.copytree(model, out / "model")
        student = load_student(out / "model")
        probabilities = student.predict_proba([record.text for record in validation])
        known = [
            {"text": record.text, "label": student.classes_[row.argmax()], "probability": float(row.max())}
            for record, row in zip(validation, probabilities, strict=True)
        ]
        write_json(out / "known_answers.json", known)
        texts = [record.text for record in read_records(prepared / "human.parquet") or validation]
        columns = text_properties(texts)
        says = student.predict(texts)
        rows = [{"label": says[i], **{name: columns[name][i] for name in columns}} for i in range(len(texts))]
        write_rows(out / "reference.parquet", rows, REFERENCE)
        write_json(out / "winner.json", record)
    with new_folder(selected) as out:
        write_json(out / "winner.json", record)
    log.info("winner: %s (%s)", choice.winner, choice.reason)


def _answers(folder: Path, validation: Sequence[Record], labels: Sequence[str]) -> np.ndarray:
    """Return the final student's answers to the validation texts, as classes."""
    path = folder / "validation.parquet"
    rows = [row for row in read_rows(path, PREDICTIONS) if row["run"] == FINAL]
    if [row["id"] for row in rows] != [record.id for record in validation]:
        raise DataError(f"{path} answers other texts than the seeds; run `polydistill train` again")
    return to_classes([row["label"] for row in rows], labels)


def _marks(truth: np.ndarray, answers: np.ndarray, n_labels: int, metric: str) -> np.ndarray:
    one_run = answers[np.newaxis]
    return np.asarray(one_run == truth) if metric == "accuracy" else f1_marks(truth, one_run, n_labels)


def _cost(model: Path, validation: Sequence[Record], *, timed: bool) -> dict[str, float | int | None]:
    """Return what serving costs: the size, and the time, which no two measurings agree in, where it may decide."""
    took = milliseconds_a_text(load_student(model), [record.text for record in validation]) if timed else None
    return {"bytes": sum(file.stat().st_size for file in model.rglob("*") if file.is_file()), "ms_a_text": took}


def _rank(scores: Mapping[str, Any]) -> tuple[int, int]:
    """Return what ranks by cost: the time, and where that is the same but for a quarter or so, the size."""
    return round(math.log(scores["ms_a_text"] or 1.0, 1.25)), scores["bytes"]
