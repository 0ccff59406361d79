"""Decides which texts a student learns from, run by run, and keeps what it answers."""

import json
import logging
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from polydistill.errors import DataError
from polydistill.files import new_folder, read_json, require_input, write_json
from polydistill.params import BudgetParams, StudentKind, TeacherParams, TrainParams
from polydistill.progress import progress
from polydistill.records import QUESTION, read_records, read_rows, read_validation, write_rows
from polydistill.runs import FINAL, PREDICTIONS, SCORES, SUBSAMPLES, VERSION
from polydistill.scores import ABSTAINED, accuracy, macro_f1, to_classes
from polydistill.students import Context, Labelled, student_class
from polydistill.task import Task
from polydistill.train.finished import FinishedRuns, Outcome
from polydistill.train.plan import LEAST_PER_LABEL, Drawer, plan_runs
from polydistill.train.trainer import Trainer

log = logging.getLogger(__name__)


def run_train(
    prepared: Path,
    filtered: Path,
    trained: Path,
    finished: Path,
    kind: StudentKind,
    params: TrainParams,
    *,
    teacher: TeacherParams | None = None,
    budget: BudgetParams | None = None,
    recording: Path | None = None,
) -> None:
    """Train one kind of student: the runs of its learning curves and the final one.

    Args:
        prepared: What `prepare` wrote; of the test set only the texts without their labels are there to be answered.
        filtered: What `filter` wrote.
        trained: Folder to write: scores.parquet (a row a run: its score on the validation texts), subsamples.parquet
            (which texts it learned from), validation.parquet and predictions.parquet (its answers to the validation
            and to the test texts), train.json and model/ (the final student).
        finished: Folder that keeps what came of each run, so that none is trained again after a kill, nor where more
            sizes or runs are asked for.
        kind: Kind of student.
        params: Section `train` of params.yaml.
        teacher: Section `teacher` of params.yaml, for a student that asks an LLM.
        budget: Section `budget` of params.yaml, for the same.
        recording: Recorded replies of the cell; read only where a student asks a recorded LLM.

    Raises:
        DataError: If there are no accepted texts, or all have one label.
    """
    synthetic = read_records(require_input(filtered / "accepted.parquet", "filter"))
    human = read_records(require_input(prepared / "human.parquet", "prepare"))
    validation, spare = read_validation(prepared)
    questions = read_rows(prepared / "questions.parquet", QUESTION)
    if len({record.label for record in synthetic}) < 2:
        raise DataError(
            f"{filtered / 'accepted.parquet'} holds texts of fewer than two labels; see filter.json for why"
        )
    facts = read_json(prepared / "prepare.json")
    task = Task.model_validate(facts["task"])
    drawer = Drawer(synthetic, human, params.subset)
    trainer = Trainer(
        kind,
        params,
        Context(task, facts["language"], teacher, budget, recording, finished),
        drawer,
        [record.text for record in validation] + [question["text"] for question in questions],
        Labelled([record.text for record in spare], [record.label for record in spare]),
        FinishedRuns.open(finished),
    )
    runs = plan_runs(drawer.available, len(task.labels), params)
    outcomes = trainer.ended(runs)
    missing = [run for run in runs if run not in outcomes]
    if outcomes and missing:
        log.info("%d of %d runs have ended before, and are not trained again", len(outcomes), len(runs))
    with progress(f"training {kind} students") as show:
        for done, (run, outcome) in enumerate(trainer.outcomes(missing), start=1):
            outcomes[run] = outcome
            show(done, len(missing))
    model = trainer.finished.model(trainer.key(runs[0]))
    scores, subsamples, checked, predictions = [], [], [], []
    for run in runs:
        says = [None if answer == ABSTAINED else task.label_names[answer] for answer in outcomes[run].answers]
        of_validation, of_test = says[: len(validation)], says[len(validation) :]
        score = _score([record.label for record in validation], of_validation, task.label_names)
        training = json.dumps(dict(outcomes[run].training), sort_keys=True)
        scores.append({**run.facts, "split": "validation", **score, "training": training})
        subsamples.append({**run.facts, "ids": [record.id for record in drawer.draw(run)]})
        checked += [{**run.facts, "id": r.id, "label": a} for r, a in zip(validation, of_validation, strict=True)]
        predictions += [{**run.facts, "id": q["id"], "label": a} for q, a in zip(questions, of_test, strict=True)]
    planned = {(run.source, run.size) for run in runs if run.run != FINAL}
    passed_over = {
        source: [size for size in sorted({*params.sizes}) if (source, size) not in planned] for source in params.sources
    }
    with new_folder(trained) as out:
        write_rows(out / "scores.parquet", scores, SCORES)
        write_rows(out / "subsamples.parquet", subsamples, SUBSAMPLES)
        write_rows(out / "validation.parquet", checked, PREDICTIONS)
        write_rows(out / "predictions.parquet", predictions, PREDICTIONS)
        shutil.copytree(model, out / "model")
        content: dict[str, Any] = {
            "student": kind,
            "labels": task.label_names,
            "subset": params.subset,
            "passed_over": passed_over,
        }
        content |= {"servable": student_class(kind).servable, **_told(outcomes.values())}
        write_json(out / "train.json", {"schema_version": VERSION, **content})
    trainer.finished.forget_models(but=model)
    for source, left_out in passed_over.items():
        available = drawer.available[source]
        if not available:
            log.info("there are no %s texts, so no curve of them", source)
        elif left_out:
            least = LEAST_PER_LABEL * len(task.labels)
            log.info("%s: sizes %s are passed over; %d to %d texts can be drawn", source, left_out, least, available)
    if content["restarted"]:
        log.warning(
            "%d trainings collapsed and were begun again, %d of them in vain",
            content["restarted"],
            content["collapsed"],
        )
    log.info("%s: %d runs, final student trained on %d texts", kind, len(runs), len(synthetic))


def _score(truth: Sequence[str], answers: Sequence[str | None], labels: Sequence[str]) -> dict[str, float]:
    right, said = to_classes(truth, labels), to_classes(answers, labels)
    of_both = {"accuracy": accuracy(right, said), "macro_f1": macro_f1(right, said, len(labels))}
    return {"n": len(truth), **{metric: float(value) for metric, value in of_both.items()}}


def _told(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Return how many trainings collapsed and were begun again, and how many stayed so."""
    facts = [outcome.training for outcome in outcomes]
    return {
        "restarted": sum(bool(of_run.get("restarts")) for of_run in facts),
        "collapsed": sum(bool(of_run.get("collapsed")) for of_run in facts),
    }
