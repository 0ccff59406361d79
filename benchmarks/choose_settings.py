"""Which settings of filter and linear student do best, told by human training texts alone; no test label is read.

    python benchmarks/choose_settings.py WORKSPACE [--texts 1500]

WORKSPACE is one that `polydistill import-paper` made and in which prepare and generate have run. Each setting filters
the generations of every cell with human training texts, trains on all that is accepted, and is scored on those texts.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from polydistill.filter import run_filter
from polydistill.records import read_records
from polydistill.students import make_student
from polydistill.workspace import Cell, Workspace

NEAR_DUPLICATE = (0.7, 0.8, 0.9)
INVERSE_REGULARIZATION = (3.0, 10.0, 30.0)


def scores(workspace: Workspace, cell: Cell, near_duplicate: float, texts: int) -> list[float]:
    """Return the accuracy on at most `texts` human training texts for each of INVERSE_REGULARIZATION."""
    human = read_records(cell.room("prepared") / "human.parquet")
    chosen = np.random.default_rng(0).permutation(len(human))[:texts]
    filtering = workspace.params.filter
    nearness = filtering.near_duplicate.model_copy(update={"similarity": near_duplicate})
    params = filtering.model_copy(update={"near_duplicate": nearness})
    with tempfile.TemporaryDirectory() as scratch:
        run_filter(cell.room("prepared"), cell.room("generated"), Path(scratch, "out"), params, self_revision=False)
        accepted = read_records(Path(scratch, "out", "accepted.parquet"))
    found = []
    for strength in INVERSE_REGULARIZATION:
        linear = workspace.params.train.linear.model_copy(update={"inverse_regularization": strength})
        student = make_student("linear", workspace.params.train.model_copy(update={"linear": linear}), seed=0)
        student.fit([record.text for record in accepted], [record.label for record in accepted])
        says = student.predict([human[i].text for i in chosen])
        found.append(statistics.mean(a == human[i].label for a, i in zip(says, chosen, strict=True)))
    return found


def main() -> None:
    """Print a Markdown table: mean accuracy over the languages of each task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--texts", type=int, default=1500, help="human training texts a cell, at most")
    arguments = parser.parse_args()
    workspace = Workspace.open(arguments.workspace)
    cells = [cell for cell in workspace.cells() if read_records(cell.room("prepared") / "human.parquet")]
    tasks = list(dict.fromkeys(cell.task for cell in cells))
    print("| near_duplicate | inverse_regularization | " + " | ".join(tasks) + " | mean |")
    print("| ---: | ---: " + "| ---: " * (len(tasks) + 1) + "|")
    with threadpool_limits(1):
        for near_duplicate in NEAR_DUPLICATE:
            by_cell = {cell.name: scores(workspace, cell, near_duplicate, arguments.texts) for cell in cells}
            for i, strength in enumerate(INVERSE_REGULARIZATION):
                means = [statistics.mean(by_cell[c.name][i] for c in cells if c.task == task) * 100 for task in tasks]
                shown = [f"{mean:.2f}" for mean in (*means, statistics.mean(means))]
                print(f"| {near_duplicate} | {strength:g} | " + " | ".join(shown) + " |", flush=True)


if __name__ == "__main__":
    main()
