"""How many planted faults the filter's checks find, and how many clean texts they take for faulty.

    python benchmarks/planted.py PAPER_DATA

PAPER_DATA holds the published data. The checks have the
settings of params.yaml. Near-duplicates and leaks are human texts with one edit each; label noise is a tenth of the
labels of the published generations changed. Faults of language have a script of their own, language.py.
"""

import argparse
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from published import GENERATED, HUMAN, LANGUAGES, NEARLY, SAME, TASKS, TEST, Edit, Labelled, read

from polydistill.checks._base import Check, Context
from polydistill.checks.doubtful_label import DoubtfulLabel
from polydistill.checks.near_duplicate import NearDuplicate
from polydistill.checks.test_leak import TestLeak
from polydistill.near import Nearness, near_repeats
from polydistill.params import FilterParams, load_params
from polydistill.records import Record, Sample, Source
from polydistill.text import fold

REPOSITORY = Path(__file__).parents[1]
PLANTED, NOISE, MOST = 0.2, 0.1, 2_000

Counts = dict[str, dict[str, list[int]]]

HELD: dict[str, Edit] = {
    "within more text": lambda text, words, rng: " ".join([*rng.choices(words, k=4), text, *rng.choices(words, k=4)]),
    "first half": lambda text, *_: " ".join(text.split()[: len(text.split()) // 2 + 1]),
}


def samples(rows: Iterable[Labelled], language: str) -> list[Sample]:
    """Return the texts as generated ones."""
    return [Sample(Record(text, label, language, "synthetic", Source())) for text, label in rows]


def plant(rows: Sequence[Labelled], edits: Mapping[str, Edit], seed: int) -> dict[str, list[tuple[int, Labelled]]]:
    """Return edited copies of texts of three words or more: by kind of edit, each with the index of its original."""
    rng = random.Random(seed)
    words = [word for text, _ in rows for word in text.split()]
    chosen = [i for i, (text, _) in enumerate(rows) if len(text.split()) > 2]
    rng.shuffle(chosen)
    planted = defaultdict(list)
    for number, i in enumerate(chosen[: max(len(edits), round(PLANTED * len(rows)))]):
        kind = list(edits)[number % len(edits)]
        text, label = rows[i]
        edited = edits[kind](text, words, rng)
        if kind in SAME or fold(edited) != fold(text):
            planted[kind].append((i, (edited, label)))
    return planted


def clean(rows: Sequence[Labelled]) -> list[Labelled]:
    """Return the texts without those that are one word apart from another one of their label."""
    found = near_repeats([text for text, _ in rows], [label for _, label in rows], Nearness(1.0, one_word=True))
    return [row for i, row in enumerate(rows) if i not in found]


def duplicates(data: Path, check: Check, languages: Sequence[str] = LANGUAGES) -> Counts:
    """Return by task and kind of edit: copies found, copies planted; as `clean`: clean texts found, all of them."""
    counts: Counts = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for task in TASKS:
        for language in languages:
            rows = clean(read(data, task, language, HUMAN)[:MOST])
            planted = plant(rows, {**SAME, **NEARLY}, seed=1) if rows else {}
            copies = [(kind, copy) for kind, of_kind in planted.items() for _, copy in of_kind]
            found = check.find(samples([*rows, *(copy for _, copy in copies)], language))
            for i, (kind, _) in enumerate(copies, start=len(rows)):
                _add(counts[task][kind], i in found)
            for i in range(len(rows)):
                _add(counts[task]["clean"], i in found)
            whole = read(data, task, language, HUMAN)[:MOST]
            counts[task]["all human texts"][0] += len(check.find(samples(whole, language)))
            counts[task]["all human texts"][1] += len(whole)
    return _with_precision(counts)


def leaks(data: Path, params: FilterParams, languages: Sequence[str] = LANGUAGES) -> Counts:
    """Return by task and kind of edit: test texts found, test texts planted; as `clean`: human texts found, and all.

    Clean are human training texts of which no test text is one word apart.
    """
    counts: Counts = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for task in TASKS:
        for language in languages:
            tests = read(data, task, language, TEST)
            human = read(data, task, language, HUMAN)[:MOST]
            texts = [text for text, _ in tests]
            check = TestLeak.open(params, Context(language, [language], tests=texts))
            for kind, of_kind in plant(tests, {**SAME, **NEARLY, **HELD}, seed=2).items():
                found = check.find(samples([copy for _, copy in of_kind], language))
                counts[task][kind][0] += len(found)
                counts[task][kind][1] += len(of_kind)
            details = check.find(samples(human, language)).values()
            near = sum(detail.startswith(("one word", "1.00")) for detail in details)
            counts[task]["clean"][0] += len(details) - near
            counts[task]["clean"][1] += len(human) - near
            counts[task]["all human texts"][0] += len(details)
            counts[task]["all human texts"][1] += len(human)
    return _with_precision(counts)


def noise(data: Path, params: FilterParams, split: str, languages: Sequence[str] = LANGUAGES) -> dict[str, list[int]]:
    """Return by task: wrong labels found, labels found, wrong labels; a tenth of the labels are made wrong."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for task in TASKS:
        for language in languages:
            rng = random.Random(3)
            rows = read(data, task, language, split)[:MOST]
            names = sorted({label for _, label in rows})
            wrong = set(rng.sample(range(len(rows)), round(NOISE * len(rows))))
            noisy = [
                (text, rng.choice([name for name in names if name != label]) if i in wrong else label)
                for i, (text, label) in enumerate(rows)
            ]
            check = DoubtfulLabel.open(params, Context(language, [language]))
            found = set(check.find(samples(noisy, language)))
            for place, n in enumerate((len(found & wrong), len(found), len(wrong))):
                counts[task][place] += n
    return counts


def _with_precision(counts: Counts) -> Counts:
    """Add what share of the texts found, planted and clean together, is planted."""
    for of_task in counts.values():
        planted = sum(found for kind, (found, _) in of_task.items() if kind not in ("clean", "all human texts"))
        of_task["precision"] = [planted, planted + of_task["clean"][0]]
    return counts


def _add(count: list[int], hit: bool) -> None:
    count[0] += hit
    count[1] += 1


def _print(title: str, counts: Mapping[str, Mapping[str, Sequence[int]]]) -> None:
    print(f"\n| {title} | " + " | ".join(counts) + " |\n| --- " + "| ---: " * len(counts) + "|")
    for kind in next(iter(counts.values())):
        cells = [f"{100 * hits / n:.2f} % of {n:,}" for hits, n in (of_task[kind] for of_task in counts.values())]
        print(f"| {kind} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    folder: Path = parser.parse_args().data
    params = load_params(REPOSITORY / "params.yaml").filter
    similarity = params.near_duplicate.similarity
    _print("near_duplicate finds", duplicates(folder, NearDuplicate(Nearness(similarity, one_word=False))))
    _print("with `one_word: true`", duplicates(folder, NearDuplicate(Nearness(similarity, one_word=True))))
    _print("test_leak finds", leaks(folder, params))
    for split, name in ((GENERATED, "generations"), (HUMAN, "human texts")):
        print(f"\n| doubtful_label on {name} | precision | recall |\n| --- | ---: | ---: |")
        for task, (hits, found, wrong) in noise(folder, params, split).items():
            print(f"| {task} | {100 * hits / found:.1f} % of {found} | {100 * hits / wrong:.1f} % of {wrong} |")


if __name__ == "__main__":
    main()
