"""How varied each side's texts are, and how far the sides lie apart: every number with its interval and its meaning."""

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from polydistill.measure.bleu import SelfBLEU
from polydistill.measure.sampling import MIN_TEXTS, around, standard_error, whole_and_halves
from polydistill.measure.surprise import perplexity, surprises
from polydistill.measure.twosample import auc, ks_distances
from polydistill.records import Record

# With these any measure is computed, on whichever texts a row selects: boolean (n_rows, n_texts) -> float (n_rows,).
OfRows = Callable[[np.ndarray], np.ndarray]

MEANING = {
    "distinct_1": "share of the words that are different words; larger = more varied",
    "distinct_2": "share of the pairs of neighbouring words that are different pairs; larger = more varied",
    "new_words": "how many of the next 1,000 words would be new ones (Good-Turing); larger = more varied",
    "self_bleu": "how much of a text is found in the other texts, word by word (BLEU-4, 0 to 1); larger = more alike",
    "compression_ratio": "bytes before over bytes after zlib; larger = more repetitive",
    "nearest_similarity": "likeness of a text to the nearest other one (cosine of character 2- to 4-grams, 0 to 1); "
    "larger = more alike",
    "intra_class_distance": "mean distance of two texts of a label (cosine of character 2- to 4-grams); "
    "larger = more varied",
    "embedding_variance": "mean squared distance of a text's embedding from the mean one; larger = more varied in "
    "meaning",
    "mean_characters": "characters per text; larger = longer",
    "mean_words": "words per text, in scripts without spaces characters; larger = longer",
    "own_perplexity": "how surprising a text is to a character model of its own side's other texts; larger = less "
    "predictable, more varied",
    "cross_perplexity": "how surprising a text is to a character model of the other side; larger = holds more that the "
    "other side lacks",
    "language_purity": "share of the texts that may well be in the wanted language; larger = fewer in another",
    "copied_from_seeds": "share of the texts of which one seed holds at least half (character 4-grams); larger = more "
    "copied",
    "label_balance": "how evenly the labels share the texts, 1 = all alike; smaller = some labels are rare",
}
APART = {
    "auc": "how well a linear model of character n-grams tells synthetic from human texts that it has not seen "
    "(area under the ROC curve); 0.5 = not at all, 1 = always",
    "length_distance": "largest gap between the shares of texts up to a length in characters; 0 = lengths alike, "
    "1 = no overlap",
    "label_distance": "total variation between the label shares before equal numbers are drawn; 0 = alike, "
    "1 = no label in common",
}
_GROWING = {"compression_ratio", "self_bleu"}
"""Measures that grow with the number of texts."""

_SHARES = {
    "distinct_1",
    "distinct_2",
    "self_bleu",
    "nearest_similarity",
    "language_purity",
    "copied_from_seeds",
    "label_balance",
}
_QUANTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True)
class Side:
    """Texts of one side with the selections that are measured.

    Attributes:
        texts: The texts.
        labels: The label of each.
        rows: What `whole_and_halves` returns.
    """

    texts: Sequence[str]
    labels: Sequence[str]
    rows: np.ndarray

    @classmethod
    def of(cls, records: Sequence[Record], seed: int) -> "Side":
        """Return the side that holds these records."""
        labels = [record.label for record in records]
        return cls([record.text for record in records], labels, whole_and_halves(labels, seed))

    def mixed(self, seed: int) -> "Side":
        """Return the same texts with halves that need not have the same share of every label."""
        return Side(self.texts, self.labels, whole_and_halves([""] * len(self.texts), seed))

    def of_label(self, label: str | None) -> np.ndarray:
        """Return the selections among the texts of one label, or among all for None."""
        return self.rows if label is None else self.rows & (np.array(self.labels) == label)


def word_measures(words: Sequence[Sequence[str]]) -> dict[str, OfRows]:
    """Return the measures that count words."""
    ones, twos = _counts(words, 1), _counts(words, 2)
    lengths = np.array([len(of_text) for of_text in words], dtype=float)
    return {
        "distinct_1": lambda rows: _distinct(ones, rows),
        "distinct_2": lambda rows: _distinct(twos, rows),
        "new_words": lambda rows: _new_words(ones, rows),
        "self_bleu": SelfBLEU(words),
        "mean_words": lambda rows: _mean(lengths, rows),
    }


def _counts(words: Sequence[Sequence[str]], n: int) -> csr_array:
    """Return how often each text holds each n-gram, shape (n_texts, n_grams)."""
    ids: dict[tuple[str, ...], int] = {}
    found = [
        (text, ids.setdefault(gram, len(ids)), count)
        for text, of_text in enumerate(words)
        for gram, count in Counter(zip(*(of_text[i:] for i in range(n)), strict=False)).items()
    ]
    text, gram, count = np.array(found, dtype=np.int64).reshape(-1, 3).T
    return csr_array((count, (text, gram)), shape=(len(words), max(len(ids), 1)))


def _distinct(counts: csr_array, rows: np.ndarray) -> np.ndarray:
    of_rows = csr_array(rows.astype(np.int64)) @ counts
    return _ratio(np.diff(of_rows.indptr), np.asarray(of_rows.sum(axis=1)))


def _new_words(counts: csr_array, rows: np.ndarray) -> np.ndarray:
    """Estimate the growth of the vocabulary by the words that stand there once (Good 1953, Biometrika 40)."""
    of_rows = csr_array(rows.astype(np.int64)) @ counts
    once = of_rows.copy()
    once.data = (once.data == 1).astype(np.int64)
    return 1000 * _ratio(np.asarray(once.sum(axis=1)), np.asarray(of_rows.sum(axis=1)))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


def _mean(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    known = rows & ~np.isnan(values)
    return _ratio((known * np.nan_to_num(values)).sum(axis=1), known.sum(axis=1))


def text_measures(texts: Sequence[str], labels: Sequence[str], similarity: np.ndarray) -> dict[str, OfRows]:
    """Return the measures that need the characters of the texts and how alike each two are."""
    lengths = np.array([len(text) for text in texts], dtype=float)
    same_label = np.array(labels)[:, None] == np.array(labels)
    return {
        "compression_ratio": lambda rows: np.array([_compression(texts, row) for row in rows]),
        "nearest_similarity": lambda rows: np.array([_nearest(similarity, row) for row in rows]),
        "intra_class_distance": lambda rows: np.array([_within(similarity, same_label, row) for row in rows]),
        "mean_characters": lambda rows: _mean(lengths, rows),
    }


def _compression(texts: Sequence[str], row: np.ndarray) -> float:
    raw = "\n".join(texts[i] for i in np.flatnonzero(row).tolist()).encode()
    return len(raw) / len(zlib.compress(raw, 9)) if raw else float("nan")


def _nearest(similarity: np.ndarray, row: np.ndarray) -> float:
    chosen = np.flatnonzero(row)
    if len(chosen) < 2:
        return float("nan")
    among = similarity[np.ix_(chosen, chosen)]
    np.fill_diagonal(among, -1)
    return float(np.clip(among.max(axis=1), 0, 1).mean())


def _within(similarity: np.ndarray, same_label: np.ndarray, row: np.ndarray) -> float:
    """Return the mean distance of two texts of a label, each label weighted by its texts."""
    chosen = np.flatnonzero(row)
    pairs = same_label[np.ix_(chosen, chosen)]
    partners = pairs.sum(axis=1) - 1
    if not partners.any():
        return float("nan")
    alike = (similarity[np.ix_(chosen, chosen)] * pairs).sum(axis=1) - similarity[chosen, chosen]
    has_partner = partners > 0
    return float(1 - (alike[has_partner] / partners[has_partner]).mean())


def embedding_variance(embeddings: np.ndarray) -> OfRows:
    """Return the measure of how far embeddings of length 1 lie from their mean."""

    def variance(rows: np.ndarray) -> np.ndarray:
        n = rows.sum(axis=1)
        means = (rows @ embeddings) / np.maximum(n, 1)[:, None]
        return np.where(n > 0, 1 - (means**2).sum(axis=1), np.nan)

    return variance


def perplexities(sides: tuple[Side, Side], folds: np.ndarray) -> tuple[dict[str, OfRows], dict[str, OfRows]]:
    """Return for both sides the measures by character models of this and of the other side."""
    n = len(sides[0].texts)
    found = surprises((sides[0].texts, sides[1].texts), (folds, folds))

    def measures(own: int, texts: slice) -> dict[str, OfRows]:
        return {
            "own_perplexity": lambda rows: perplexity(found[own, texts], rows),
            "cross_perplexity": lambda rows: perplexity(found[1 - own, texts], rows),
        }

    return measures(0, slice(0, n)), measures(1, slice(n, None))


def share(of_texts: np.ndarray) -> OfRows:
    """Return the measure that is the share of the texts with a property, those not known (NaN) left out."""
    return lambda rows: _mean(of_texts, rows)


def balance(labels: Sequence[str], known: Sequence[str]) -> OfRows:
    """Return the measure of how evenly the texts fall to the known labels: entropy as a share of the largest."""
    is_label = np.array(labels)[:, None] == np.array(sorted(known))

    def evenness(rows: np.ndarray) -> np.ndarray:
        counts = rows.astype(np.int64) @ is_label.astype(np.int64)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        logs = np.log(np.where(shares > 0, shares, 1))
        return np.asarray(-(shares * logs).sum(axis=1) / np.log(max(len(known), 2)))

    return evenness


def beside(
    name: str, measures: tuple[OfRows, OfRows | None], sides: tuple[Side, Side], *, label: str | None
) -> dict[str, Any]:
    """Return what is told of a measure: both sides and their difference, each with its interval, and the meaning.

    What cannot be measured is None; so is an interval of fewer than `MIN_TEXTS` texts.
    """
    low, high = (0.0, 1.0) if name in _SHARES else (0.0, float("inf"))
    values: list[float | None] = []
    errors: list[float | None] = []
    for measure, side in zip(measures, sides, strict=True):
        of_side = side.of_label(label)
        found = np.full(len(of_side), np.nan) if measure is None else measure(of_side)
        values.append(None if np.isnan(found[0]) else float(found[0]))
        errors.append(standard_error(found, growing=name in _GROWING) if of_side[0].sum() >= MIN_TEXTS else None)
    synthetic, human = values
    difference = None if synthetic is None or human is None else synthetic - human
    error = None if None in errors else float(np.hypot(*errors))  # type: ignore[arg-type]
    return {
        "synthetic": rounded(synthetic),
        "human": rounded(human),
        "difference": rounded(difference),
        "intervals": {
            side: rounded(None if value is None else around(value, spread, *bounds))
            for side, value, spread, bounds in (
                ("synthetic", synthetic, errors[0], (low, high)),
                ("human", human, errors[1], (low, high)),
                ("difference", difference, error, (float("-inf"), float("inf"))),
            )
        },
        "meaning": MEANING[name],
    }


def apart(name: str, found: np.ndarray, texts: int) -> dict[str, Any]:
    """Return what is told of a distance between the sides, from its values on the whole and on halves of both."""
    value = None if np.isnan(found[0]) else float(found[0])
    error = standard_error(found) if texts >= MIN_TEXTS else None
    return {
        "value": rounded(value),
        "interval": rounded(None if value is None else around(value, error, 0.0, 1.0)),
        "meaning": APART[name],
    }


def length_quantiles(lengths: Sequence[int]) -> dict[str, float]:
    """Return quantiles of how long texts are, by the share of texts in per cent that is not longer."""
    return {f"{q} %": float(np.percentile(lengths, q)) for q in _QUANTILES}


def auc_of(scores: np.ndarray, sides: tuple[Side, Side], label: str | None) -> np.ndarray:
    """Return the AUC of a classifier's scores of both sides, on the whole and on halves of one label or of all."""
    rows = [side.of_label(label) for side in sides]
    called = np.repeat([True, False], [rows[0].shape[1], rows[1].shape[1]])
    found = []
    for chosen in np.hstack(rows):
        found.append(auc(scores[chosen][None], called[chosen][None])[0])
    return np.array(found)


def length_distance(sides: tuple[Side, Side], label: str | None) -> np.ndarray:
    """Return the Kolmogorov-Smirnov distance of the lengths in characters, on the whole and on halves."""
    lengths = np.array([len(text) for side in sides for text in side.texts], dtype=float)
    n = len(sides[0].texts)
    rows = np.hstack([side.of_label(label) for side in sides])
    is_synthetic = np.arange(len(lengths)) < n
    return ks_distances(lengths, rows & is_synthetic, rows & ~is_synthetic)


def label_distance(sides: tuple[Sequence[str], Sequence[str]], seed: int) -> np.ndarray:
    """Return the total variation between the label shares of two sides, on the whole and on halves."""
    labels = sorted({*sides[0], *sides[1]})
    shares = []
    for number, side in enumerate(sides):
        counts = Counter(side)
        whole = np.array([counts[label] for label in labels])
        rng = np.random.default_rng([seed, number])
        halves = rng.multivariate_hypergeometric(whole, (len(side) + 1) // 2, size=100)
        rows = np.vstack([whole, halves])
        shares.append(rows / rows.sum(axis=1, keepdims=True))
    return np.asarray(np.abs(shares[0] - shares[1]).sum(axis=1) / 2)


def rounded(value: Any) -> Any:
    """Return a number, or those in a list, with six digits: further ones may differ from machine to machine."""
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
