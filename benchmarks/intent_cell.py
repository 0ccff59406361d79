"""How long the learning curves of one real cell take: intent, 8 sizes x 20 runs x 2 sources, the linear student.

    python benchmarks/intent_cell.py [--data DIR] [--language sl]

DIR is a checkout of the paper's published data; else $POLYDISTILL_PAPER_DATA, else ../shared/paper-data.
"""

import argparse
import os
import platform
import resource
import tempfile
import time
from pathlib import Path

from polydistill.filter import run_filter
from polydistill.generate import run_generate
from polydistill.paper import new_paper_workspace
from polydistill.prepare import run_prepare
from polydistill.records import read_rows
from polydistill.runs import SCORES
from polydistill.train import run_train
from polydistill.workspace import Workspace

BESIDE = Path(__file__).resolve().parent.parent.parent / "shared" / "paper-data"


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("POLYDISTILL_PAPER_DATA", BESIDE)))
    parser.add_argument("--language", default="sl")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        new_paper_workspace(arguments.data, Path(scratch), ["intent"], [arguments.language])
        workspace = Workspace.open(Path(scratch))
        params, [cell] = workspace.params, workspace.cells()
        # The published sizes end with 2000, which is more than most cells have left after filtering.
        grid = params.train.model_copy(update={"sizes": [10, 20, 50, 100, 200, 500, 1000, 1500]})
        prepared, filtered, trained = cell.room("prepared"), cell.room("filtered"), cell.trained("linear")
        run_prepare(cell.task_folder, cell.language, prepared, cell.room("heldout"), params.prepare)
        run_generate(prepared, cell.recording, cell.room("generated"), params.generate, params.teacher)
        run_filter(prepared, cell.room("generated"), filtered, params.filter, self_revision=False)
        started = time.perf_counter()
        run_train(prepared, filtered, trained, "linear", grid)
        took = time.perf_counter() - started
        runs = read_rows(trained / "scores.parquet", SCORES)
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}\n")
    curves = {(run["source"], run["size"]) for run in runs if run["run"] >= 0}
    print(f"intent/{arguments.language}: {len(runs)} runs ({len(curves)} points of source and size) in {took:.1f} s")
    print(f"wanted: 120 s at most; peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
