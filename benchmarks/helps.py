"""Does it help? Students on filtered against unfiltered generations, and on chosen against random subsamples.

    python benchmarks/helps.py PATH [--judge human] [--runs 20] [--texts 500]

PATH is a checkout of the paper's published data, or a workspace in which prepare and generate have run. `linear`
students are scored on human test texts, for the record: nothing is chosen by it. `--judge human` scores them on human
training texts instead: what is to be chosen is chosen by these. Runs draw as `polydistill train` does.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from published import LANGUAGES, TASKS
from scipy import stats
from threadpoolctl import threadpool_limits

from polydistill.filter import run_filter
from polydistill.generate import run_generate
from polydistill.paper import new_paper_workspace
from polydistill.prepare import run_prepare
from polydistill.records import SAMPLE, Record, read_records, read_rows, to_record
from polydistill.scores import interval, resample_counts
from polydistill.students import make_student
from polydistill.text import fold
from polydistill.train.subsets import CHOOSE, draw, draw_by, embed
from polydistill.workspace import Cell, Workspace

SIZES = (20, 100, 300)
COMPARISONS = {
    "Filtered against unfiltered generations, random subsamples of equal size": ("random", "unfiltered"),
    "Diverse against random subsamples of the filtered generations": ("diverse", "random"),
    "Representative against random subsamples of the filtered generations": ("representative", "random"),
}


@dataclass
class Found:
    """Of one cell: accuracy of each run by way and size; of the students on all texts, whether each answer is right."""

    cell: Cell
    texts: dict[str, int]
    runs: dict[tuple[str, int], np.ndarray]
    whole: dict[str, np.ndarray]


@contextmanager
def opened(path: Path) -> Iterator[Workspace]:
    """Yield the workspace at `path`, or one of the published data at `path`."""
    if (path / "params.yaml").exists():
        yield Workspace.open(path)
        return
    with tempfile.TemporaryDirectory() as scratch:
        new_paper_workspace(path, Path(scratch), TASKS, LANGUAGES)
        workspace = Workspace.open(Path(scratch))
        params = workspace.params
        for cell in workspace.cells():
            run_prepare(cell.task_folder, cell.language, cell.room("prepared"), cell.room("heldout"), params.prepare)
            sections = (params.generate, params.filter, params.teacher, params.budget)
            run_generate(cell.room("prepared"), cell.recording, cell.room("generated"), *sections)
        yield workspace


def accepted(workspace: Workspace, cell: Cell) -> list[Record]:
    """Return what the filter, as params.yaml sets it, leaves of the generations."""
    params = workspace.params
    with tempfile.TemporaryDirectory() as scratch:
        rooms = cell.room("prepared"), cell.room("generated"), Path(scratch, "filtered")
        run_filter(*rooms, params.filter, self_revision=params.generate.self_revision)
        return read_records(rooms[2] / "accepted.parquet")


def judges(cell: Cell, judge: str, texts: int) -> list[Record]:
    """Return at most `texts` human texts to score students on."""
    room, name = ("heldout", "test") if judge == "test" else ("prepared", "human")
    human = read_records(cell.room(room) / f"{name}.parquet")
    return [human[i] for i in np.random.default_rng(0).permutation(len(human))[:texts]]


def compare(workspace: Workspace, cell: Cell, human: Sequence[Record], runs: int) -> Found:
    """Train and score all students of a cell."""
    params = workspace.params.train
    asked = {fold(record.text) for record in human}  # what a student has read it can recite, filtered or not
    samples = [to_record(row) for row in read_rows(cell.room("generated") / "samples.parquet", SAMPLE)]
    everything = {"unfiltered": samples, "filtered": accepted(workspace, cell)}
    pools = {name: [r for r in pool if fold(r.text) not in asked] for name, pool in everything.items()}
    labels = {name: [record.label for record in pool] for name, pool in pools.items()}
    vectors = embed([record.text for record in pools["filtered"]])

    def right(pool: str, chosen: np.ndarray, seed: int) -> np.ndarray:
        student = make_student("linear", params, seed)
        student.fit([pools[pool][i].text for i in chosen], [labels[pool][i] for i in chosen])
        answers = student.predict([record.text for record in human])
        return np.array([answer == record.label for answer, record in zip(answers, human, strict=True)])

    ways = {"unfiltered": ("unfiltered", partial(draw, labels["unfiltered"]))}
    ways["random"] = "filtered", partial(draw, labels["filtered"])
    for name, choose in CHOOSE.items():
        ways[name] = "filtered", partial(draw_by, choose, labels["filtered"], vectors)
    found = Found(cell, {name: len(pool) for name, pool in pools.items()}, {}, {})
    for name, (pool, subset) in ways.items():
        for size in SIZES:
            if size <= min(map(len, pools.values())):
                seeds = [params.seed + run for run in range(runs)]
                drawn = [subset(size, np.random.default_rng([seed, size, False])) for seed in seeds]
                scores = [right(pool, chosen, seed).mean() for chosen, seed in zip(drawn, seeds, strict=True)]
                found.runs[name, size] = np.array(scores)
    found.whole = {name: right(name, np.arange(len(pool)), params.seed) for name, pool in pools.items()}
    return found


def t_interval(differences: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the mean of paired differences."""
    half = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    return differences.mean() - half, differences.mean() + half


def shown(difference: float, bounds: Sequence[float]) -> str:
    """Return a difference and its interval in points, in bold where the interval leaves 0 out."""
    text = f"{difference * 100:+.1f} ({bounds[0] * 100:+.1f} to {bounds[1] * 100:+.1f})"
    return f"**{text}**" if bounds[0] > 0 or bounds[1] < 0 else text


def print_runs(title: str, better: str, base: str, found: Sequence[Found]) -> None:
    """Print a row a cell, a row a task, and one for all: accuracy of `base`, and what `better` adds to it."""
    print(f"\n### {title}\n")
    print("| cell | " + " | ".join(f"{size}: {base} | difference" for size in SIZES) + " |")
    print("| --- " + "| ---: | ---: " * len(SIZES) + "|")
    tasks = list(dict.fromkeys(cell.cell.task for cell in found))
    groups = {f.cell.name: [f] for f in found}
    groups |= {f"**{task}, mean**": [f for f in found if f.cell.task == task] for task in tasks}
    groups["**all cells, mean**"] = list(found)
    above = below = cells = 0
    for name, members in groups.items():
        line = []
        for size in SIZES:
            of_size = [f.runs for f in members if (base, size) in f.runs]
            if not of_size:
                line.append("| – | – ")
                continue
            level = np.mean([runs[base, size] for runs in of_size])
            # Runs of different cells have nothing in common: the mean over cells is one of each run.
            differences = np.mean([runs[better, size] - runs[base, size] for runs in of_size], axis=0)
            bounds = t_interval(differences)
            if len(members) == 1:
                above, below, cells = above + (bounds[0] > 0), below + (bounds[1] < 0), cells + 1
            line.append(f"| {level * 100:.1f} | {shown(differences.mean(), bounds)} ")
        print(f"| {name} " + "".join(line) + "|")
    print(
        f"\nOf {cells} intervals of single cells {above} lie above 0 and {below} below; chance puts 2.5 % on each side."
    )


def print_whole(found: Sequence[Found]) -> None:
    """Print a row a cell: the students on all filtered and on all unfiltered generations."""
    print("\n### All filtered against all unfiltered generations\n")
    print("| cell | unfiltered texts | filtered texts | unfiltered | difference |\n| --- | ---: | ---: | ---: | ---: |")
    resampled = []
    rng = np.random.default_rng(0)
    for f in found:
        difference = f.whole["filtered"].astype(float) - f.whole["unfiltered"]
        counts = resample_counts(len(difference), 1000, rng)
        resampled.append(counts @ difference / len(difference))
        texts = f"{f.texts['unfiltered']} | {f.texts['filtered']}"
        level = f.whole["unfiltered"].mean() * 100
        print(f"| {f.cell.name} | {texts} | {level:.1f} | {shown(difference.mean(), interval(resampled[-1], 0.95))} |")
    level = np.mean([f.whole["unfiltered"].mean() for f in found]) * 100
    difference = np.mean([f.whole["filtered"].mean() - f.whole["unfiltered"].mean() for f in found])
    bounds = interval(np.mean(resampled, axis=0), 0.95)
    print(f"| **all cells, mean** | | | {level:.1f} | {shown(float(difference), bounds)} |")


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--judge", choices=("test", "human"), default="test", help="human: human training texts")
    parser.add_argument("--runs", type=int, default=20, help="runs a size, 2 or more")
    parser.add_argument("--texts", type=int, default=500, help="human texts a cell to score on, at most")
    arguments = parser.parse_args()
    with opened(arguments.path) as workspace, threadpool_limits(1):
        found = []
        for cell in workspace.cells():
            print(cell.name, file=sys.stderr)
            if human := judges(cell, arguments.judge, arguments.texts):
                found.append(compare(workspace, cell, human, arguments.runs))
    for title, (better, base) in COMPARISONS.items():
        print_runs(title, better, base, found)
    print_whole(found)


if __name__ == "__main__":
    main()
