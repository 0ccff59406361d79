"""Decides which texts a student learns from, run by run, and keeps what it answers."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from threadpoolctl import threadpool_limits

from polydistill.errors import DataError
from polydistill.files import new_folder, read_json, require_input, write_json
from polydistill.params import StudentKind, TrainParams
from polydistill.progress import progress
from polydistill.records import QUESTION, Record, read_records, read_rows, write_rows
from polydistill.runs import FINAL, PREDICTIONS, SCORES
from polydistill.scores import accuracy, macro_f1, to_classes
from polydistill.students import Student, make_student
from polydistill.train.subsets import CHOOSE, draw, draw_by, embed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One training: on `size` texts of `source`, drawn with `seed`."""

    source: Literal["synthetic", "human"]
    size: int
    run: int
    seed: int


def plan_runs(available: dict[str, int], params: TrainParams) -> list[Run]:
    """Return the runs of the learning curves, of every size that there are texts for, and the final run first."""
    runs = [Run("synthetic", available["synthetic"], FINAL, params.seed)]
    for source in params.sources:
        for size in sorted(set(params.sizes)):
            if size <= available.get(source, 0):
                runs += [Run(source, size, number, params.seed + number) for number in range(params.runs)]
    return runs


def run_train(prepared: Path, filtered: Path, trained: Path, kind: StudentKind, params: TrainParams) -> None:
    """Train one kind of student: the runs of its learning curves and the final one.

    Args:
        prepared: What `prepare` wrote; of the test set only the texts without their labels are there to be answered.
        filtered: What `filter` wrote.
        trained: Folder to write: scores.parquet (a row a run: its score on the validation texts, which are the seeds),
            predictions.parquet (its answers to the test texts), train.json and model/ (the final student).
        kind: Kind of student.
        params: Section `train` of params.yaml.

    Raises:
        DataError: If there are no accepted texts, or all have one label.
    """
    synthetic = read_records(require_input(filtered / "accepted.parquet", "filter"))
    human = read_records(require_input(prepared / "human.parquet", "prepare"))
    validation = read_records(prepared / "seeds.parquet")
    questions = read_rows(prepared / "questions.parquet", QUESTION)
    if len({record.label for record in synthetic}) < 2:
        raise DataError(
            f"{filtered / 'accepted.parquet'} holds texts of fewer than two labels; see filter.json for why"
        )
    pools = {"synthetic": synthetic, "human": human}
    runs = plan_runs({source: len(pool) for source, pool in pools.items()}, params)
    labels = [label["name"] for label in read_json(prepared / "prepare.json")["task"]["labels"]]
    scores, predictions = [], []
    with new_folder(trained) as out, progress(f"training {kind} students") as show:
        for done, (run, student) in enumerate(_train(runs, pools, kind, params), start=1):
            facts = {"source": run.source, "size": run.size, "run": run.run, "seed": run.seed}
            scores.append({**facts, "split": "validation", **_score(student, validation, labels)})
            answers = student.predict([question["text"] for question in questions])
            predictions += [{**facts, "id": q["id"], "label": a} for q, a in zip(questions, answers, strict=True)]
            if run.run == FINAL:
                (out / "model").mkdir()
                student.save(out / "model")
            show(done, len(runs))
        write_rows(out / "scores.parquet", scores, SCORES)
        write_rows(out / "predictions.parquet", predictions, PREDICTIONS)
        passed_over = {
            source: [size for size in params.sizes if size > len(pools[source])] for source in params.sources
        }
        content = {"student": kind, "labels": labels, "subset": params.subset, "passed_over": passed_over}
        write_json(out / "train.json", {"schema_version": 1, **content})
    for source, sizes in passed_over.items():
        if not pools[source]:
            log.info("there are no %s texts, so no curve of them", source)
        elif sizes:
            log.info("%s: %d texts, so sizes %s are passed over", source, len(pools[source]), sizes)
    log.info("%s: %d runs, final student trained on %d texts", kind, len(runs), len(synthetic))


def _train(
    runs: Sequence[Run], pools: dict[str, list[Record]], kind: StudentKind, params: TrainParams
) -> Iterator[tuple[Run, Student]]:
    # One thread: these problems are too small for more, and the order of additions, so the result, stays the same.
    with threadpool_limits(1):
        drawers = {source: _drawer(pools[source], params) for source in dict.fromkeys(run.source for run in runs)}
        for run in runs:
            rng = np.random.default_rng([run.seed, run.size, run.source == "human"])
            chosen = [pools[run.source][i] for i in drawers[run.source](run.size, rng)]
            student = make_student(kind, params, run.seed)
            yield run, student.fit([record.text for record in chosen], [record.label for record in chosen])


def _drawer(pool: Sequence[Record], params: TrainParams) -> Callable[[int, np.random.Generator], np.ndarray]:
    """Return what draws subsamples of a size from the pool, as `subset` asks; all texts are looked at once."""
    labels = [record.label for record in pool]
    if params.subset == "random":
        return partial(draw, labels)
    return partial(draw_by, CHOOSE[params.subset], labels, embed([record.text for record in pool]))


def _score(student: Student, records: Sequence[Record], labels: Sequence[str]) -> dict[str, float]:
    truth = to_classes([record.label for record in records], labels)
    answers = to_classes(student.predict([record.text for record in records]), labels)
    right, f1 = accuracy(truth, answers), macro_f1(truth, answers, len(labels))
    return {"n": len(records), "accuracy": float(right), "macro_f1": float(f1)}
