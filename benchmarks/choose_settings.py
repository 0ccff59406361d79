"""Which settings of filter and linear student do best, told by human training texts alone; no test label is read.

    python benchmarks/choose_settings.py WORKSPACE [--texts 1500] [--human 400]

WORKSPACE is one that `polydistill import-paper` made and in which prepare and generate have run. Students train on all
generations that the filter accepts, and are scored on human training texts. With `--human` they train on that many
human texts, and are scored on others.
"""

import argparse
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from polydistill.filter import run_filter
from polydistill.records import Record, read_records
from polydistill.students import make_student
from polydistill.workspace import Cell, Workspace

NEAR_DUPLICATE = (0.7, 0.8, 0.9)
LINEAR: tuple[Mapping[str, Any], ...] = (
    {},
    *({"max_char_ngram": [longest]} for longest in (4, 5, 7)),
    *({"max_word_ngram": longest} for longest in (1, 3)),
    *({"class_weight": weights} for weights in (["balanced"], ["none", "balanced"])),
    *({"regularization": [strength]} for strength in (0.1, 0.3, 1.0, 3.0)),
    {"folds": 5},
)
"""What differs from the settings of the workspace, one after the other."""


def accepted(workspace: Workspace, cell: Cell, near_duplicate: float) -> list[Record]:
    """Return the generations that the filter leaves with this limit of similarity."""
    filtering = workspace.params.filter
    nearness = filtering.near_duplicate.model_copy(update={"similarity": near_duplicate})
    params = filtering.model_copy(update={"near_duplicate": nearness})
    with tempfile.TemporaryDirectory() as scratch:
        run_filter(cell.room("prepared"), cell.room("generated"), Path(scratch, "out"), params, self_revision=False)
        return read_records(Path(scratch, "out", "accepted.parquet"))


def score(workspace: Workspace, learnt: list[Record], judges: list[Record], changes: Mapping[str, Any]) -> float:
    """Return the accuracy, in per cent, of a student with these settings."""
    train = workspace.params.train
    assert train.linear is not None
    params = train.model_copy(update={"linear": train.linear.model_copy(update=dict(changes))})
    student = make_student("linear", params, seed=0)
    student.fit([record.text for record in learnt], [record.label for record in learnt])
    says = student.predict([record.text for record in judges])
    return 100 * statistics.mean(a == record.label for a, record in zip(says, judges, strict=True))


def main() -> None:
    """Print a Markdown table: mean accuracy over the languages of each task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--texts", type=int, default=1500, help="human training texts a cell to score on, at most")
    parser.add_argument("--human", type=int, default=0, help="human texts to learn from, in place of generations")
    arguments = parser.parse_args()
    workspace = Workspace.open(arguments.workspace)
    human = {cell: read_records(cell.room("prepared") / "human.parquet") for cell in workspace.cells()}
    human = {
        cell: [records[i] for i in np.random.default_rng(0).permutation(len(records))]
        for cell, records in human.items()
        if records
    }
    judges = {cell: records[arguments.human :][: arguments.texts] for cell, records in human.items()}
    tasks = list(dict.fromkeys(cell.task for cell in human))
    print(f"| near_duplicate | linear | {' | '.join(tasks)} | mean |\n| --- | --- {'| ---: ' * (len(tasks) + 1)}|")
    usual = workspace.params.filter.near_duplicate.similarity
    with threadpool_limits(1):
        for similarity in (usual, *(other for other in NEAR_DUPLICATE if other != usual and not arguments.human)):
            learnt = {
                cell: records[: arguments.human] if arguments.human else accepted(workspace, cell, similarity)
                for cell, records in human.items()
            }
            for changes in LINEAR if similarity == usual else LINEAR[:1]:
                found = {cell: score(workspace, learnt[cell], judges[cell], changes) for cell in human}
                means = [statistics.mean(found[cell] for cell in human if cell.task == task) for task in tasks]
                what = ", ".join(f"{key} {value}" for key, value in changes.items()) or "as in params.yaml"
                shown = " | ".join(f"{mean:.2f}" for mean in (*means, statistics.mean(means)))
                print(f"| {'–' if arguments.human else similarity} | {what} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
