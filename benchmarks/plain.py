"""What plain TF-IDF with logistic regression reaches on generations: unfiltered, without leaks, and filtered.

    python benchmarks/plain.py WORKSPACE

WORKSPACE is one of the paper's data in which `polydistill filter` ran. A report: nothing is chosen by it.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from polydistill.records import REJECTED, SAMPLE, Record, read_records, read_rows, to_record
from polydistill.workspace import Cell, Workspace

FEATURES = {"characters 1 to 5": (1, 5), "characters 2 to 5": (2, 5), "characters 2 to 4": (2, 4)}
TEXTS = ("unfiltered", "without leaks", "filtered")


def texts_of(cell: Cell) -> dict[str, list[Record]]:
    """Return what there is to learn from, by `TEXTS`."""
    generated = [to_record(row) for row in read_rows(cell.room("generated") / "samples.parquet", SAMPLE)]
    rejected = read_rows(cell.room("filtered") / "rejected.parquet", REJECTED)
    leaks = {row["text"] for row in rejected if row["reason"] == "test_leak"}
    without = [record for record in generated if record.text not in leaks]
    filtered = read_records(cell.room("filtered") / "accepted.parquet")
    return dict(zip(TEXTS, (generated, without, filtered), strict=True))


def accuracy(learnt: list[Record], test: list[Record], characters: tuple[int, int]) -> float:
    """Return the share of the test texts that the model gets right."""
    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=characters)
    model = make_pipeline(vectors, LogisticRegression(C=10, max_iter=1000))
    model.fit([record.text for record in learnt], [record.label for record in learnt])
    says = model.predict([record.text for record in test])
    return float(np.mean(says == np.array([record.label for record in test])))


def main() -> None:
    """Print a Markdown table: accuracy in per cent, means over the languages of each task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    cells = Workspace.open(parser.parse_args().workspace).cells()
    print(f"| task | n-grams | {' | '.join(TEXTS)} |\n| --- | --- {'| ---: ' * len(TEXTS)}|")
    with threadpool_limits(1):
        for task in dict.fromkeys(cell.task for cell in cells):
            of_task = [
                (texts_of(cell), read_records(cell.room("heldout") / "test.parquet"))
                for cell in cells
                if cell.task == task
            ]
            for name, characters in FEATURES.items():
                shown = [
                    f"{100 * statistics.mean(accuracy(texts[kind], test, characters) for texts, test in of_task):.2f}"
                    for kind in TEXTS
                ]
                print(f"| {task} | {name} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
