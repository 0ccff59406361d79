"""Texts that a student, trained on the others, would put under another label."""

from collections.abc import Sequence
from typing import Self

import numpy as np

from polydistill.checks._base import Check, Context
from polydistill.near import code_grams, mixed
from polydistill.params import FilterParams
from polydistill.records import Sample
from polydistill.text import fold

_FEATURES = 2**18  # 3-grams are told apart by as many hashes at most
_CHUNK = 10_000  # texts looked at at once
_SMOOTHING = 0.1  # added to how often a label has a 3-gram


class DoubtfulLabel(Check):
    """Finds likely wrong labels by confident learning, with naive Bayes on character 3-grams for a student.

    The texts fall into `folds` parts by their content; of each part, a student of the other parts says how likely the
    labels are. The label of a text is doubtful where another one is likelier, as likely as the texts of that one find
    their own label on average, and at least `min_probability`, since a student of few texts is often wrong but seldom
    so sure.

    Source: Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels" (arXiv:1911.00068).
    """

    meaning = "a student trained on the other texts is confident of another label"
    compares = True

    def __init__(self, folds: int, min_probability: float) -> None:
        self.folds, self.min_probability = folds, min_probability

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check with the settings of `params`."""
        return cls(params.doubtful_label.folds, params.doubtful_label.min_probability)

    def find(self, samples: Sequence[Sample]) -> dict[int, str]:
        """Look until nothing more is doubtful among the rest, so that to look at the rest again finds nothing."""
        labels = sorted({sample.record.label for sample in samples})
        if len(labels) < 2:
            return {}
        numbers = {label: number for number, label in enumerate(labels)}
        given = np.array([numbers[sample.record.label] for sample in samples])
        folds = np.array([int(sample.record.id, 16) % self.folds for sample in samples])
        features, ends = _features([sample.record.text for sample in samples])
        left = np.arange(len(samples))
        found: dict[int, str] = {}
        while True:
            likely = _cross_validated(features, ends, left, given, folds, len(labels))
            other = confident(likely, given[left], len(labels), self.min_probability)
            for i, label, values in zip(left[other >= 0], other[other >= 0], likely[other >= 0], strict=True):
                found[int(i)] = f"rather {labels[label]}, {values[label]:.2f} against {values[given[i]]:.2f}"
            if not (other >= 0).any():
                return dict(sorted(found.items()))
            left = left[other < 0]


def _features(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the 3-grams of all texts one after the other, as numbers from 0, and where each text begins and ends.

    Returns:
        int32 of shape (n_grams,) and int64 of shape (n_texts + 1,).
    """
    hashes, counts = [], []
    for start in range(0, len(texts), _CHUNK):
        grams, ends = code_grams([fold(text) for text in texts[start : start + _CHUNK]])
        hashes.append((mixed(grams) % np.uint64(_FEATURES)).astype(np.int32))
        counts.append(np.diff(ends))
    features = np.concatenate(hashes)
    occurs = np.bincount(features, minlength=_FEATURES) > 0
    numbers = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
    return numbers[features], np.concatenate([[0], np.cumsum(np.concatenate(counts))])


def _cross_validated(
    features: np.ndarray, ends: np.ndarray, left: np.ndarray, given: np.ndarray, folds: np.ndarray, n_labels: int
) -> np.ndarray:
    """Return how likely each label is for each text that is left, by a student of the texts of the other folds.

    Args:
        features: The 3-grams of all texts one after the other, as numbers from 0.
        ends: Where the 3-grams of each text begin and end, int64 of shape (n_texts + 1,).
        left: Indices of the texts to look at.
        given: The label of each text, as a number.
        folds: The fold of each text.
        n_labels: How many labels there are.

    Returns:
        float64 of shape (n_left, n_labels); a row adds up to 1.
    """
    parts = [left[folds[left] == part] for part in np.unique(folds[left])]
    counts = [_counts(features, ends, part, given, n_labels) for part in parts]
    total = np.sum(counts, axis=0)
    likely = np.empty((len(given), n_labels))
    for some, of_part in zip(parts, counts, strict=True):
        others = total - of_part + np.float32(_SMOOTHING)
        likely[some] = probabilities(features, ends, some, np.log(others / others.sum(axis=1, keepdims=True)))
    of_left: np.ndarray = likely[left]
    return of_left


def _counts(features: np.ndarray, ends: np.ndarray, rows: np.ndarray, given: np.ndarray, n_labels: int) -> np.ndarray:
    """Return how often the texts of each label have each feature, float32 of shape (n_labels, n_features)."""
    places, lengths = _places(ends, rows)
    n_features = int(features.max()) + 1
    cells = np.repeat(given[rows] * n_features, lengths) + features[places]
    counts: np.ndarray = np.bincount(cells, minlength=n_labels * n_features).reshape(n_labels, n_features)
    return counts.astype(np.float32)


def probabilities(features: np.ndarray, ends: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return how likely the labels are by logarithms of how often each has each feature; labels are equals before."""
    places, lengths = _places(ends, rows)
    starts = np.cumsum(lengths) - lengths
    scores = np.stack([np.add.reduceat(of_label[features[places]], starts) for of_label in weights], axis=1)
    # 3-grams that overlap are no independent witnesses, so the sum of what they say is cut to its square root.
    scores /= np.sqrt(lengths)[:, None]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities: np.ndarray = scores / scores.sum(axis=1, keepdims=True)
    return probabilities


def _places(ends: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the features of the rows stand, and how many each row has."""
    lengths = ends[rows + 1] - ends[rows]
    starts = np.cumsum(lengths) - lengths
    return np.repeat(ends[rows] - starts, lengths) + np.arange(lengths.sum()), lengths


def confident(likely: np.ndarray, given: np.ndarray, n_labels: int, least: float) -> np.ndarray:
    """Return for each text the label that it should rather have, -1 where the given one may be right."""
    own = likely[np.arange(len(given)), given]
    texts = np.bincount(given, minlength=n_labels)
    usual = np.where(texts > 0, np.bincount(given, weights=own, minlength=n_labels) / np.maximum(texts, 1), np.inf)
    sure = np.where(likely >= np.maximum(usual, least), likely, 0)
    best = sure.argmax(axis=1)
    return np.where((sure.max(axis=1) > 0) & (best != given), best, -1)
