"""Decides which student serves a language, from validation scores alone: no test text is within its reach."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polydistill.files import digest, new_folder, read_json, require_input, write_json
from polydistill.params import SelectParams
from polydistill.properties import REFERENCE, text_properties
from polydistill.records import read_records, read_rows, write_rows
from polydistill.runs import FINAL, SCORES
from polydistill.students import load_student

log = logging.getLogger(__name__)


def choose(validation: Mapping[str, Mapping[str, float]], metric: str) -> tuple[str, str]:
    """Return the student with the best validation score, and why; of equals the smaller one."""
    ranked = sorted(validation, key=lambda name: (-validation[name][metric], validation[name]["bytes"], name))
    best = ranked[0]
    if len(ranked) == 1:
        return best, "the only student that was trained"
    score, second = validation[best][metric], validation[ranked[1]][metric]
    if score == second:
        return best, f"validation {metric} {score:.3f}, as {ranked[1]}, and smaller"
    return best, f"validation {metric} {score:.3f} against {second:.3f} of {ranked[1]}"


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
    """
    facts = read_json(require_input(prepared / "prepare.json", "prepare"))
    candidates = {read_json(require_input(folder / "train.json", "train"))["student"]: folder for folder in trained}
    validation = {name: _validation_scores(folder) for name, folder in candidates.items()}
    name, reason = choose(validation, params.metric)
    model = candidates[name] / "model"
    synthetic = read_records(filtered / "accepted.parquet")
    record = {
        "schema_version": 1,
        "task": facts["task"]["name"],
        "language": facts["language"],
        "labels": [label["name"] for label in facts["task"]["labels"]],
        "student": name,
        "metric": params.metric,
        "validation": validation,
        "reason": reason,
        "teacher": sorted({str(record.source.teacher) for record in synthetic}),
        "prompts": sorted({str(record.source.prompt) for record in synthetic}),
        "digests": {"model": digest(model), "accepted": digest(filtered / "accepted.parquet")},
    }
    with new_folder(winner) as out:
        shutil.copytree(model, out / "model")
        student = load_student(out / "model")
        seeds, human = read_records(prepared / "seeds.parquet"), read_records(prepared / "human.parquet")
        probabilities = student.predict_proba([seed.text for seed in seeds])
        answers = [
            {"text": seed.text, "label": student.classes_[row.argmax()], "probability": float(row.max())}
            for seed, row in zip(seeds, probabilities, strict=True)
        ]
        write_json(out / "known_answers.json", answers)
        texts = [record.text for record in human or seeds]
        columns = text_properties(texts)
        says = student.predict(texts)
        rows = [{"label": says[i], **{name: columns[name][i] for name in columns}} for i in range(len(texts))]
        write_rows(out / "reference.parquet", rows, REFERENCE)
        write_json(out / "winner.json", record)
    with new_folder(selected) as out:
        write_json(out / "winner.json", record)
    log.info("winner: %s (%s)", name, reason)


def _validation_scores(folder: Path) -> dict[str, Any]:
    final = next(row for row in read_rows(folder / "scores.parquet", SCORES) if row["run"] == FINAL)
    size = sum(file.stat().st_size for file in (folder / "model").rglob("*") if file.is_file())
    return {"accuracy": final["accuracy"], "macro_f1": final["macro_f1"], "n": final["n"], "bytes": size}
