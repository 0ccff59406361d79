"""Whether two sides are drawn from one distribution, and whether that matters.

Three questions are asked: are the labels shared out alike, are the texts of a label alike in their visible properties,
are they alike in what they are made of (words and style). Each is a permutation test, which is right at any number of
texts and of any distribution, and Holm's method joins the three, so that without drift one alarm in twenty runs is what
to expect. With many texts the smallest difference raises an alarm; a drift is *important* only where the whole interval
of its size lies beyond a limit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import random_table

from polydistill.measure.diversity import label_distance, rounded
from polydistill.measure.foreign import in_language
from polydistill.measure.sampling import MIN_TEXTS, around, matched, standard_error, whole_and_halves
from polydistill.measure.twosample import ks_distances, p_values, swaps
from polydistill.properties import text_properties
from polydistill.records import Record

SIGNIFICANCE = 0.05
PERMUTATIONS = 899  # and what was found: of 900, the sixtieth part that each of three questions may take is whole
LANGUAGE = "another language"
MAX_TEXTS = 10_000
"""Most texts of a side whose properties are compared."""

QUESTIONS = {
    "labels": "whether both sides share their texts out to the labels alike",
    "properties": "whether the texts of a label are alike in length, punctuation and the like",
    "vocabulary": "whether the texts of a label are alike in words and style",
}
_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Test:
    """One thing that may have drifted: how far it moved, from 0 to 1, and what chance says to that.

    Attributes:
        question: One of `QUESTIONS`.
        what: What the size is, for a person to read.
        effect: The size.
        interval: Where the size lies, None with too few texts.
        p_value: How often chance alone moves it as far, the other properties looked at allowed for.
    """

    question: str
    what: str
    effect: float
    interval: list[float] | None
    p_value: float


def label_test(sides: tuple[Sequence[str], Sequence[str]], permutations: int, seed: int) -> Test:
    """Test whether labels are shared out alike: chi-square, its distribution from labels dealt out at random."""
    known = sorted({*sides[0], *sides[1]})
    counts = np.array([[sum(label == name for label in side) for name in known] for side in sides])
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    expected = np.outer(rows, columns) / counts.sum()
    dealt = random_table(rows, columns).rvs(permutations, random_state=np.random.default_rng(seed))
    statistics = ((np.concatenate([counts[None], dealt]) - expected) ** 2 / expected).sum(axis=(1, 2))
    distances = label_distance(sides, seed)
    error = standard_error(distances) if rows.min() >= MIN_TEXTS else None
    what = "total variation between the label shares"
    effect = float(distances[0])
    return Test("labels", what, effect, around(effect, error, 0.0, 1.0), float(p_values(statistics)[0]))


def properties_of(texts: Sequence[str], languages: Sequence[str]) -> dict[str, np.ndarray]:
    """Return for each property its value per text: those looked at in production, and whether it is foreign.

    Args:
        texts: The texts.
        languages: The tag of the wanted language, then those of all languages of the task.
    """
    foreign = 1 - np.nan_to_num(in_language(texts, languages), nan=1.0)
    return {**text_properties(texts), LANGUAGE: foreign}


def property_tests(
    synthetic: Sequence[Record], human: Sequence[Record], languages: Sequence[str], permutations: int, seed: int
) -> dict[str, Test]:
    """Test each property of the texts, label by label, by its Kolmogorov-Smirnov distance.

    The p-values allow for there being several properties: each is how often the farthest moved of all of them moves as
    far by chance (Westfall & Young 1993, single-step maxT), which loses little where properties go together.

    Args:
        synthetic: The one side.
        human: The other, with as many texts of each label.
        languages: The tag of the wanted language, then those of all languages of the task.
        permutations: How many there are to be.
        seed: Draws them.
    """
    labels = [record.label for record in [*synthetic, *human]]
    blocks = np.unique(np.array(labels), return_inverse=True)[1]
    is_synthetic = np.arange(len(labels)) < len(synthetic)
    texts = [record.text for record in [*synthetic, *human]]
    values = properties_of(texts, languages)
    rng = np.random.default_rng(seed)
    statistics = np.empty((1 + permutations, len(values)))
    at_once = max(_AT_ONCE // len(labels), 1)
    for start in range(1, 1 + permutations, at_once):
        rows = slice(start, min(start + at_once, 1 + permutations))
        called = swaps(blocks, is_synthetic, rows.stop - start, rng)
        for column, of_texts in enumerate(values.values()):
            distances = ks_distances(of_texts, called, ~called)
            statistics[0, column], statistics[rows, column] = distances[0], distances[1:]
    # In units of its own spread by chance each property counts alike.
    spread = statistics.std(axis=0)
    standing = (statistics - statistics.mean(axis=0)) / np.where(spread > 0, spread, 1)
    farthest = standing.max(axis=1)
    of_label = labels[: len(synthetic)]  # the human side holds the same, in the same order
    halves = np.hstack([whole_and_halves(of_label, seed), whole_and_halves(of_label, seed + 1)])
    tests = {}
    for column, (name, of_texts) in enumerate(values.items()):
        distances = ks_distances(of_texts, halves & is_synthetic, halves & ~is_synthetic)
        error = standard_error(distances) if len(synthetic) >= MIN_TEXTS else None
        effect = float(distances[0])
        tests[name] = Test(
            "properties",
            "largest gap between the shares of texts up to a value (Kolmogorov-Smirnov)",
            effect,
            around(effect, error, 0.0, 1.0),
            float((farthest >= standing[0, column] - 1e-9).mean()),
        )
    return tests


def vocabulary_test(auc: Mapping[str, Any], p_value: float | None) -> Test | None:
    """Return the test whether a classifier tells the sides apart, None where there were too few texts for one."""
    if p_value is None or auc["value"] is None:
        return None
    effect, *bounds = (max(2 * value - 1, 0.0) for value in (auc["value"], *(auc["interval"] or ())))
    what = "2 AUC - 1 of a linear model of character n-grams: 0 = the sides are not told apart, 1 = always"
    return Test("vocabulary", what, effect, bounds or None, p_value)


def judged(tests: Mapping[str, Test], limits: Mapping[str, float]) -> dict[str, Any]:
    """Return what is told of the tests: each with its verdict, and one verdict over all.

    Args:
        tests: The tests by what they look at.
        limits: For each question the size from which a drift is important.
    """
    least: dict[str, float] = {}
    for test in tests.values():
        least[test.question] = min(test.p_value, least.get(test.question, 1.0))
    holm = _holm(least)
    told = {}
    for name, test in tests.items():
        # Holm's factor of its question; within a question the p-values allow for each other already.
        factor = holm[test.question] / least[test.question]
        adjusted = max(min(test.p_value * factor, 1.0), holm[test.question])
        drifted = adjusted <= SIGNIFICANCE
        important = drifted and test.interval is not None and test.interval[0] >= limits[test.question]
        told[name] = {
            "question": test.question,
            "what": test.what,
            "effect": rounded(test.effect),
            "interval": rounded(test.interval),
            "limit": rounded(limits[test.question]),
            "p_value": rounded(adjusted),
            "verdict": "important" if important else "small" if drifted else "none",
        }
    verdicts = {test["verdict"] for test in told.values()}
    overall = next(verdict for verdict in ("important", "small", "none") if verdict in {*verdicts, "none"})
    return {"verdict": overall, "significance": SIGNIFICANCE, "tests": told, "questions": QUESTIONS}


def _holm(p_of: Mapping[str, float]) -> dict[str, float]:
    adjusted, largest = {}, 0.0
    for rank, (name, value) in enumerate(sorted(p_of.items(), key=lambda item: (item[1], item[0]))):
        largest = max(largest, min(value * (len(p_of) - rank), 1.0))
        adjusted[name] = largest
    return adjusted


def find_drift(
    synthetic: Sequence[Record],
    human: Sequence[Record],
    vocabulary: Test | None,
    languages: Sequence[str],
    limits: Mapping[str, float],
    seed: int,
    permutations: int = PERMUTATIONS,
) -> dict[str, Any]:
    """Return all tests of two sides, judged.

    Args:
        synthetic: All texts of the one side.
        human: All texts of the other.
        vocabulary: What `vocabulary_test` returns.
        languages: The tag of the wanted language, then those of all languages of the task.
        limits: For each question the size from which a drift is important.
        seed: Draws texts and permutations.
        permutations: How many there are to be.
    """
    equal = matched(synthetic, human, max_texts=MAX_TEXTS, seed=seed)
    tests = {"labels": label_test(([r.label for r in synthetic], [r.label for r in human]), permutations, seed)}
    tests |= property_tests(*equal, languages, permutations, seed)
    if vocabulary is not None:
        tests["vocabulary"] = vocabulary
    return judged(tests, limits)
