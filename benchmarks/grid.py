"""How long the learning curves of one real cell take: intent, 8 sizes x 20 runs x 2 sources, the linear student.

    python benchmarks/grid.py [--data DIR] [--language sl]

Beside it, in the same run and on the same texts, a plain loop: TF-IDF of characters within words and logistic
regression from scikit-learn, each training with its own vectorizer. Accuracy on the test texts is a report: nothing is
chosen by it. DIR is a checkout of the paper's published data; else $POLYDISTILL_PAPER_DATA, else ../shared/paper-data.
"""

import argparse
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from polydistill.filter import run_filter
from polydistill.generate import run_generate
from polydistill.paper import new_paper_workspace
from polydistill.prepare import run_prepare
from polydistill.records import Record, read_records, read_rows
from polydistill.runs import FINAL, PREDICTIONS, SUBSAMPLES
from polydistill.train import run_train
from polydistill.workspace import Cell, Workspace

BESIDE = Path(__file__).resolve().parent.parent.parent / "shared" / "paper-data"
SIZES = [20, 50, 100, 200, 300, 500, 1000, 1500]
SECONDS, TIMES = 20, 5
Answers = dict[tuple[str, int], list[list[str]]]
"""What each run of a source and size said of the test texts."""


def grid(workspace: Workspace, cell: Cell) -> Answers:
    """Train as `polydistill train` does."""
    params = workspace.params.train.model_copy(update={"sizes": SIZES, "runs": 20, "sources": ["synthetic", "human"]})
    rooms = cell.room("prepared"), cell.room("filtered"), cell.trained("linear"), cell.finished("linear")
    run_train(*rooms, "linear", params)
    said: dict[tuple[str, int, int], list[str]] = {}
    for row in read_rows(cell.trained("linear") / "predictions.parquet", PREDICTIONS):
        said.setdefault((row["source"], row["size"], row["run"]), []).append(row["label"])
    found: Answers = {}
    for (source, size, run), labels in said.items():
        if run != FINAL:
            found.setdefault((source, size), []).append(labels)
    return found


def loop(cell: Cell, asked: Sequence[str]) -> Answers:
    """Train a pipeline of scikit-learn on the same texts, run after run."""
    rooms = {
        "synthetic": cell.room("filtered") / "accepted.parquet",
        "human": cell.room("prepared") / "human.parquet",
    }
    pools = {source: {record.id: record for record in read_records(path)} for source, path in rooms.items()}
    found: Answers = {}
    for row in read_rows(cell.trained("linear") / "subsamples.parquet", SUBSAMPLES):
        if row["run"] == FINAL:
            continue
        texts = [pools[row["source"]][id] for id in row["ids"]]
        vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
        model = make_pipeline(vectors, LogisticRegression(C=10, max_iter=1000))
        model.fit([record.text for record in texts], [record.label for record in texts])
        found.setdefault((row["source"], row["size"]), []).append(list(model.predict(asked)))
    return found


def timed(work: Callable[[], Answers]) -> tuple[Answers, float, float]:
    """Return what the work returns, its seconds, and the CPU seconds of all its processes."""
    started, before = time.perf_counter(), _cpu()
    found = work()
    return found, time.perf_counter() - started, _cpu() - before


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(of.ru_utime + of.ru_stime for of in used)


def accuracies(answers: Answers, truth: Sequence[Record]) -> dict[tuple[str, int], float]:
    """Return the mean accuracy of each source and size, in per cent."""
    labels = [record.label for record in truth]
    return {
        point: 100 * statistics.mean(a == b for said in runs for a, b in zip(said, labels, strict=True))
        for point, runs in answers.items()
    }


def main() -> None:
    """Measure and print two Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("POLYDISTILL_PAPER_DATA", BESIDE)))
    parser.add_argument("--language", default="sl")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        new_paper_workspace(arguments.data, Path(scratch), ["intent"], [arguments.language])
        workspace = Workspace.open(Path(scratch))
        params, [cell] = workspace.params, workspace.cells()
        prepared, generated = cell.room("prepared"), cell.room("generated")
        run_prepare(cell.task_folder, cell.language, prepared, cell.room("heldout"), params.prepare)
        sections = (params.generate, params.filter, params.teacher, params.budget)
        run_generate(prepared, cell.recording, generated, *sections)
        run_filter(prepared, generated, cell.room("filtered"), params.filter, self_revision=False)
        test = read_records(cell.room("heldout") / "test.parquet")
        ours, seconds, cpu = timed(lambda: grid(workspace, cell))
        with threadpool_limits(1):
            plain, of_plain, cpu_of_plain = timed(lambda: loop(cell, [record.text for record in test]))
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}\n")
    print(f"intent/{arguments.language}, {sum(map(len, ours.values()))} runs\n")
    print("| | seconds | CPU seconds |\n| --- | ---: | ---: |")
    print(f"| `polydistill train` | {seconds:.1f} | {cpu:.1f} |")
    print(f"| plain loop | {of_plain:.1f} | {cpu_of_plain:.1f} |\n")
    print(f"wanted: {SECONDS} s at most, {TIMES} times the plain loop; it is {of_plain / seconds:.1f} times\n")
    print("| source | texts | accuracy | of the plain loop |\n| --- | ---: | ---: | ---: |")
    of_ours, of_loop = accuracies(ours, test), accuracies(plain, test)
    for source, size in of_ours:
        print(f"| {source} | {size} | {of_ours[source, size]:.1f} | {of_loop[source, size]:.1f} |")


if __name__ == "__main__":
    main()
