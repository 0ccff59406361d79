"""The tables of docs/measuring.md: how often drift is found where there is none, and how much it takes to find some.

python benchmarks/drift.py PAPER_DATA [--parts alarms power intervals]

Both sides are drawn from the human training texts of the paper's data, without replacement, so that without a planted
drift they come from one distribution.
"""

import argparse
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from published import GENERATED, HUMAN, LANGUAGES, TASKS, read
from scipy.stats import chi2_contingency, ks_2samp

from polydistill.measure import Comparison, Texts
from polydistill.measure.diversity import Side, apart, auc_of
from polydistill.measure.drift import find_drift, vocabulary_test
from polydistill.measure.sampling import matched
from polydistill.measure.twosample import similarities, tell_apart
from polydistill.params import GatesParams, MeasureParams
from polydistill.properties import text_properties
from polydistill.records import Record, Source

PERMUTATIONS = 179  # a fifth of what `polydistill measure` draws: it costs some power, and nothing else
MAX_TEXTS = 500  # the default of measure.max_texts, which the classifier keeps to
LIMITS = {"labels": 0.3, "properties": 0.3, "vocabulary": 0.9}
NOT_ENGLISH = tuple(language for language in LANGUAGES if language != "en")
PARTS = ["alarms", "power", "intervals"]
SIZES = (50, 100, 200, 500)  # an intent cell holds some 2,000 texts

Rng = np.random.Generator
Sides = tuple[list[Record], list[Record]]


def read_texts(data: Path, split: str, task: str, language: str) -> list[Record]:
    """Return the texts of a file of the published data, each once."""
    rows = read(data, task, language, split)
    return [Record(text, f"{task} {label}", language, "human", Source()) for text, label in rows]


def draw(pool: Sequence[Record], n: int, rng: Rng) -> Sides:
    """Draw two sides of n texts from one pool."""
    chosen = rng.permutation(len(pool))[: 2 * n]
    texts = [pool[i] for i in chosen]
    return texts[:n], texts[n:]


def judge(sides: Sides, seed: int) -> dict[str, bool]:
    """Return whether there is an alarm, and for what, as `polydistill measure` finds it."""
    equal = matched(*sides, max_texts=MAX_TEXTS, seed=seed)
    told = tell_apart(
        similarities([r.text for side in equal for r in side]), [r.label for r in equal[0]], PERMUTATIONS, seed
    )
    both = Side.of(equal[0], seed), Side.of(equal[1], seed + 1)
    vocabulary = vocabulary_test(apart("auc", auc_of(told.scores, both, None), len(equal[0])), told.p_value)
    languages = [sides[1][0].language, *NOT_ENGLISH]
    drift = find_drift(*sides, vocabulary, languages, LIMITS, seed, PERMUTATIONS)
    found = {test["question"] for test in drift["tests"].values() if test["verdict"] != "none"}
    return {
        "any": drift["verdict"] != "none",
        **{question: question in found for question in LIMITS},
        "important": drift["verdict"] == "important",
    }


def naive(sides: Sides) -> bool:
    """Return whether a Kolmogorov-Smirnov or a chi-square test has p < 0.05, each by itself."""
    own, other = (text_properties([r.text for r in side]) for side in sides)
    p_values = [ks_2samp(own[name], other[name], method="asymp").pvalue for name in own]
    counts = [Counter(r.label for r in side) for side in sides]
    table = [[count[label] for label in sorted({*counts[0], *counts[1]})] for count in counts]
    return bool(min([*p_values, chi2_contingency(table).pvalue]) < 0.05)


def share(found: Sequence[bool]) -> str:
    """Return a share in per cent, with its Wilson interval."""
    n, p, z = len(found), float(np.mean(found)), 1.96
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return f"{100 * p:.1f} ({100 * max(low, 0):.1f}–{100 * high:.1f})"


def false_alarms(pools: dict[str, list[Record]], repeats: dict[int, int]) -> None:
    """Print how often there is an alarm where both sides come from one pool."""
    print("| texts a side | repeats | any alarm | labels | properties | vocabulary | important | each test at 0.05 |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    mixed = [replace(r, label=f"{r.language} {r.label}") for pool in pools.values() for r in pool]
    for n, count in repeats.items():
        large = [pool for pool in pools.values() if len(pool) >= 2 * n] or [mixed]
        if n >= 10_000:
            large = [mixed]
        found, uncorrected = [], []
        for repeat in range(count):
            rng = np.random.default_rng([n, repeat])
            sides = draw(large[repeat % len(large)], n, rng)
            found.append(judge(sides, repeat))
            uncorrected.append(naive(sides))
        shown = [share([one[key] for one in found]) for key in ("any", *LIMITS, "important")]
        print(f"| {n:,} | {count} | {' | '.join(shown)} | {share(uncorrected)} |", flush=True)


def replace_some(side: list[Record], by: float, new: Callable[[Record], Record], rng: Rng) -> list[Record]:
    """Replace a share of the texts."""
    chosen = set(rng.permutation(len(side))[: round(by * len(side))].tolist())
    return [new(record) if i in chosen else record for i, record in enumerate(side)]


def other_text(pool: Sequence[Record], rng: Rng, *, same_label: bool) -> Callable[[Record], Record]:
    """Return what puts the text of another record in the place of one, of the same label or of any other."""

    def new(record: Record) -> Record:
        fitting = [r for r in pool if (r.label == record.label) == same_label]
        return replace(record, text=fitting[rng.integers(len(fitting))].text)

    return new


def fewer_of_a_label(pool: Sequence[Record], n: int, shift: float, rng: Rng) -> Sides:
    """Draw sides whose label shares differ: of the commonest label a part of the one side becomes another label's."""
    side, other = draw(pool, n, rng)
    label = Counter(r.label for r in pool).most_common(1)[0][0]
    used = {id(r) for r in (*side, *other)}
    spare = [r for r in pool if r.label != label and id(r) not in used]
    leave = [i for i, r in enumerate(side) if r.label == label][: round(shift * n)]
    for i, j in zip(leave, rng.permutation(len(spare)), strict=False):
        side[i] = spare[j]
    return side, other


def power(data: Path, repeats: int) -> None:
    """Print for planted drifts how often they are found, by the number of texts."""
    pools = {lang: read_texts(data, HUMAN, "intent", lang) for lang in LANGUAGES}
    news = {lang: read_texts(data, HUMAN, "topic", lang) for lang in NOT_ENGLISH}
    generated = {lang: read_texts(data, GENERATED, "intent", lang) for lang in NOT_ENGLISH}

    def planted(kind: str, by: float, language: str, n: int, rng: Rng) -> Sides:
        pool = pools[language]
        if kind == "labels":
            return fewer_of_a_label(pool, n, by, rng)
        side, other = draw(pool, n, rng)
        new: dict[str, Callable[[Record], Record]] = {
            "language": other_text(pools["en"], rng, same_label=True),
            "style": lambda record: replace(record, text=f"{record.text}!"),
            "vocabulary": other_text(news[language], rng, same_label=False),
            "wrong label": other_text(pool, rng, same_label=False),
            "generated": other_text(generated[language], rng, same_label=True),
        }
        return replace_some(side, by, new[kind], rng), other

    drifts = {
        "a new language: 5 % of the texts in English": ("language", 0.05),
        "a new language: 20 %": ("language", 0.2),
        "labels: 10 % of the texts go from the commonest to others": ("labels", 0.1),
        "labels: 20 %": ("labels", 0.2),
        "style: 10 % of the texts get an exclamation mark": ("style", 0.1),
        "style: 30 %": ("style", 0.3),
        "vocabulary: 10 % of the texts are news, not requests": ("vocabulary", 0.1),
        "vocabulary: 30 %": ("vocabulary", 0.3),
        "30 % of the texts stand under a wrong label": ("wrong label", 0.3),
        "10 % of the texts generated, of the same labels": ("generated", 0.1),
        "30 %, likewise": ("generated", 0.3),
    }
    print(f"| planted drift | {' | '.join(f'n = {n:,}' for n in SIZES)} | 80 % from |")
    print("| --- " + "| ---: " * (len(SIZES) + 1) + "|")
    for name, (kind, by) in drifts.items():
        shown, enough = [], ""
        for n in SIZES:
            if enough:
                shown.append("")
                continue
            found = []
            for repeat in range(repeats):
                language = NOT_ENGLISH[repeat % len(NOT_ENGLISH)]
                rng = np.random.default_rng([n, repeat])
                found.append(judge(planted(kind, by, language, n, rng), repeat)["any"])
            shown.append(f"{100 * np.mean(found):.0f} %")
            enough = f"{n:,}" if np.mean(found) >= 0.8 else ""
        print(f"| {name} | {' | '.join(shown)} | {enough or 'more'} |", flush=True)


def intervals(pools: dict[str, list[Record]], n: int, repeats: int) -> None:
    """Print how often the interval of a difference leaves 0 out where both sides come from one pool."""
    params = MeasureParams(max_texts=n, seed=1, embedding_model=None, gates=_gates())
    missed: dict[str, list[bool]] = {}
    large = [pool for pool in pools.values() if len(pool) >= 2 * n]
    for repeat in range(repeats):
        pool = large[repeat % len(large)]
        one, other = draw(pool, n, np.random.default_rng([n, repeat]))
        labels, language = sorted({r.label for r in pool}), pool[0].language
        compared = Comparison(Texts(one, other, "human", [], language, [language], labels), params)
        for name, measure in compared.measures().items():
            if (bounds := measure["intervals"]["difference"]) is not None:
                missed.setdefault(name, []).append(not bounds[0] <= 0 <= bounds[1])
    print(f"| measure ({n} texts a side, {repeats} repeats) | intervals that leave 0 out |")
    print("| --- | ---: |")
    for name, found in missed.items():
        print(f"| {name} | {share(found)} |")


def _gates() -> GatesParams:
    gate = {"action": "off", "limit": 0.5}
    return GatesParams.model_validate(dict.fromkeys(GatesParams.model_fields, gate))


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder that holds data/ of the published data")
    parser.add_argument("--repeats", type=int, default=300, help="of the quick parts; the slow ones have fewer")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    args = parser.parse_args()
    most = args.repeats
    started = time.monotonic()
    found = {(t, lang): read_texts(args.data, HUMAN, t, lang) for t in TASKS for lang in LANGUAGES}
    pools = {f"{task}/{language}": texts for (task, language), texts in found.items() if texts}
    for part in args.parts:
        if part == "alarms":
            false_alarms(pools, {50: most, 200: most, 1_000: most // 3, 10_000: most // 10})
        elif part == "power":
            power(args.data, most // 10)
        else:
            intervals(pools, 100, most // 3)
        print()
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
