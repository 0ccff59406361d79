"""How many planted faults the filter's checks find, and how many clean texts they take for faulty.

    python benchmarks/planted.py PAPER_DATA

PAPER_DATA is the folder of the published data that holds data/<task>/<language>-<split>.csv. The checks have the
settings of params.yaml. Near-duplicates and leaks are human texts with one edit each; label noise is a tenth of the
labels of the published generations changed. Faults of language have a script of their own, language.py.
"""

import argparse
import csv
import random
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from polydistill.checks._base import Check, Context
from polydistill.checks.doubtful_label import DoubtfulLabel
from polydistill.checks.near_duplicate import NearDuplicate
from polydistill.checks.test_leak import TestLeak
from polydistill.near import Nearness, near_repeats
from polydistill.params import FilterParams, load_params
from polydistill.records import Record, Sample, Source
from polydistill.text import fold

REPOSITORY = Path(__file__).parents[1]
TASKS = ("intent", "topic", "sentiment")
LANGUAGES = ("az", "de", "en", "sl", "sw", "te")
PLANTED, NOISE, MOST = 0.2, 0.1, 2_000
LETTERS = "aeiostrn"

Labelled = tuple[str, str]
Counts = dict[str, dict[str, list[int]]]
Edit = Callable[[str, Sequence[str], random.Random], str]
"""Changes a text, with words of its language at hand."""


def read(data: Path, task: str, language: str, split: str) -> list[Labelled]:
    """Return the texts of a file with their labels, each text once; nothing where there is no such file."""
    file = data / task / f"{language}-{split}.csv"
    rows: dict[str, Labelled] = {}
    if file.exists():
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                if text := (row["text"] or "").strip():
                    rows.setdefault(fold(text), (text, row["label"]))
    return list(rows.values())


def _on_words(change: Callable[[list[str], int, str], None]) -> Edit:
    def edit(text: str, words: Sequence[str], rng: random.Random) -> str:
        parts = text.split()
        change(parts, rng.randrange(len(parts)), rng.choice(words))
        return " ".join(parts)

    return edit


def _swap(parts: list[str], place: int, _: str) -> None:
    place = min(place, len(parts) - 2)
    parts[place], parts[place + 1] = parts[place + 1], parts[place]


def _typo(text: str, _: Sequence[str], rng: random.Random) -> str:
    place = rng.choice([i for i, c in enumerate(text) if c.isalpha()])
    return text[:place] + rng.choice(LETTERS) + text[place + 1 :]


def _wide(text: str, *_: object) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in unicodedata.normalize("NFD", text))


ONE_WORD: dict[str, Edit] = {
    "word replaced": _on_words(lambda parts, i, word: parts.__setitem__(i, word)),
    "word inserted": _on_words(lambda parts, i, word: parts.insert(i, word)),
    "word deleted": _on_words(lambda parts, i, word: parts.__delitem__(i)),
    "words swapped": _on_words(_swap),
}
SAME: dict[str, Edit] = {
    "exact": lambda text, *_: text,
    "case": lambda text, *_: text.upper(),
    "punctuation": lambda text, *_: f"«{text.replace(' ', ', ', 1)}»!?",
    "white space": lambda text, *_: f"  {text.replace(' ', chr(0xA0) + ' ')}\n",
    "zero-width": lambda text, *_: "\u200b".join(text),
    "NFKC": _wide,
}
NEARLY: dict[str, Edit] = {**ONE_WORD, "typo": _typo}
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
            rows = clean(read(data, task, language, "train_human_parsed")[:MOST])
            planted = plant(rows, {**SAME, **NEARLY}, seed=1) if rows else {}
            copies = [(kind, copy) for kind, of_kind in planted.items() for _, copy in of_kind]
            found = check.find(samples([*rows, *(copy for _, copy in copies)], language))
            for i, (kind, _) in enumerate(copies, start=len(rows)):
                _add(counts[task][kind], i in found)
            for i in range(len(rows)):
                _add(counts[task]["clean"], i in found)
            whole = read(data, task, language, "train_human_parsed")[:MOST]
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
            tests = read(data, task, language, "test")
            human = read(data, task, language, "train_human_parsed")[:MOST]
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
    folder = folder / "data" if (folder / "data").is_dir() else folder
    params = load_params(REPOSITORY / "params.yaml").filter
    similarity = params.near_duplicate.similarity
    _print("near_duplicate finds", duplicates(folder, NearDuplicate(Nearness(similarity, one_word=False))))
    _print("with `one_word: true`", duplicates(folder, NearDuplicate(Nearness(similarity, one_word=True))))
    _print("test_leak finds", leaks(folder, params))
    for split, name in (("train_full", "generations"), ("train_human_parsed", "human texts")):
        print(f"\n| doubtful_label on {name} | precision | recall |\n| --- | ---: | ---: |")
        for task, (hits, found, wrong) in noise(folder, params, split).items():
            print(f"| {task} | {100 * hits / found:.1f} % of {found} | {100 * hits / wrong:.1f} % of {wrong} |")


if __name__ == "__main__":
    main()
