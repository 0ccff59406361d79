"""Whether `measure --compare-teachers` finds the better of generations that were made worse on purpose.

python benchmarks/teachers.py WORKSPACE CELL...

The accepted texts of a cell are dealt to three teachers at random; two of them are then spoiled, by wrong labels or by
fewer different texts. WORKSPACE is one in which `polydistill filter` ran, such as that of the paper's data.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from polydistill.measure.teachers import cross_scores, equal_generations, find_generation, rank
from polydistill.records import Record, read_records


def mislabelled(records: Sequence[Record], share: float, rng: np.random.Generator) -> list[Record]:
    """Give a share of the texts another label at random."""
    labels = sorted({record.label for record in records})
    found = []
    for record in records:
        if rng.random() < share:
            others = [label for label in labels if label != record.label]
            record = replace(record, label=str(rng.choice(others)))
        found.append(record)
    return found


def generations(records: Sequence[Record], kind: str, rng: np.random.Generator) -> dict[str, list[Record]]:
    """Return three generations, the best first."""
    order, size = rng.permutation(len(records)), len(records) // 3
    parts = [[records[i] for i in order[start : start + size]] for start in (0, size, 2 * size)]
    if kind == "wrong labels":
        return {
            "none": parts[0],
            "10 %": mislabelled(parts[1], 0.1, rng),
            "30 %": mislabelled(parts[2], 0.3, rng),
        }
    return {"all": parts[0], "half": parts[1][: size // 2] * 2, "a tenth": parts[2][: size // 10] * 10}


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("cells", nargs="+", metavar="CELL")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    print("| cell | spoiled by | generations | on the same tests | RoSE | in order by the one | by the other |")
    print("| --- | --- | --- | --- | --- | ---: | ---: |")
    for cell in args.cells:
        records = read_records(find_generation(args.workspace, cell))
        for kind in ("wrong labels", "fewer different texts"):
            names: list[str] = []
            scores = []
            for repeat in range(args.repeats):
                made = generations(records, kind, np.random.default_rng(repeat))
                names = list(made)
                labels, equal = equal_generations(made, seed=1)
                ranked = {of.name: of for of in rank(names, *cross_scores(equal, labels, seed=1))}
                scores.append([(ranked[name].adjusted, ranked[name].rose) for name in names])
            table = np.array(scores)
            means = [" / ".join(f"{100 * mean:.1f}" for mean in table[:, :, column].mean(axis=0)) for column in (0, 1)]
            right = [int((np.diff(table[:, :, column], axis=1) < 0).all(axis=1).sum()) for column in (0, 1)]
            counts = " | ".join(f"{count} of {args.repeats}" for count in right)
            print(f"| {cell} | {kind} | {' / '.join(names)} | {' | '.join(means)} | {counts} |", flush=True)


if __name__ == "__main__":
    main()
