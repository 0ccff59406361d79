"""Whether two sides of texts can be told apart, tested in a way that holds at any number of texts."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import rankdata
from sklearn.feature_extraction.text import TfidfVectorizer
from threadpoolctl import threadpool_limits

FOLDS = 5
MIN_TEXTS = 10
"""With fewer texts of a side no classifier is trained."""

_AT_ONCE = 2_000_000  # so many numbers stand in memory at once


class ToldApart(NamedTuple):
    """How synthetic each text looks (NaN with too few texts), and how often chance tells the sides apart as well."""

    scores: np.ndarray
    p_value: float | None


def similarities(texts: Sequence[str]) -> np.ndarray:
    """Return the cosine similarity of each two texts (TF-IDF of character 2- to 4-grams), shape (n_texts, n_texts)."""
    if not any(text.strip() for text in texts):
        return np.ones((len(texts), len(texts)))
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    rows = vectorizer.fit_transform(texts)
    return np.asarray((rows @ rows.T).toarray())


def pair_folds(labels: Sequence[str], seed: int) -> np.ndarray:
    """Return a fold for each place of a side, as even as can be within each label and over all.

    Matched sides hold the same labels in the same order, so that the folds serve both.
    """
    classes, order = np.unique(np.array(labels), return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    places = shuffled[np.argsort(order[shuffled], kind="stable")]
    folds = np.empty(len(labels), dtype=np.int64)
    folds[places] = np.arange(len(labels)) % FOLDS
    return folds


def swaps(blocks: np.ndarray, is_synthetic: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return who is called synthetic: in row 0 who is, in the others who could be, drawn anew within each block.

    Where both sides come from one distribution, within each block nothing tells row 0 from the others.

    Args:
        blocks: The number of the block of each text, int of shape (n_texts,).
        is_synthetic: Boolean of shape (n_texts,).
        count: How many rows to draw.
        rng: Draws them.

    Returns:
        Boolean array of shape (1 + count, n_texts).
    """
    by_block = np.argsort(blocks, kind="stable")
    drawn = np.argsort(blocks + rng.random((count, len(blocks))), axis=1)
    rows = np.empty((1 + count, len(blocks)), dtype=bool)
    rows[0] = is_synthetic
    np.put_along_axis(rows[1:], drawn, np.broadcast_to(is_synthetic[by_block], drawn.shape), axis=1)
    return rows


def classifier_scores(similarity: np.ndarray, folds: np.ndarray, called: np.ndarray) -> np.ndarray:
    """Return how synthetic each text looks to a linear classifier that was trained on the other folds.

    The classifier is ridge regression on TF-IDF of character n-grams, solved in its dual form: the inverse of a fold is
    computed once and serves every row of `called`, which makes a permutation test affordable.

    Args:
        similarity: What `similarities` returns.
        folds: The fold of each text.
        called: Who is called synthetic, boolean of shape (n_rows, n_texts).

    Returns:
        Float of shape (n_rows, n_texts).
    """
    target = called.T * 2.0 - 1.0
    scores = np.zeros_like(target)
    with threadpool_limits(1):  # the order of additions, so the last digits, stays the same on every machine
        for fold in np.unique(folds):
            inside, outside = folds == fold, folds != fold
            factor = cho_factor(similarity[np.ix_(outside, outside)] + np.eye(outside.sum()))
            mean = target[outside].mean(axis=0)
            weights = cho_solve(factor, target[outside] - mean)
            scores[inside] = similarity[np.ix_(inside, outside)] @ weights + mean
    return scores.T


def auc(scores: np.ndarray, called: np.ndarray) -> np.ndarray:
    """Return how often a synthetic text scores higher than another, equal scores as half, for each row.

    Not a number where a row lacks one side.
    """
    ranks = rankdata(np.round(scores, 10), axis=1)
    n = called.sum(axis=1)
    others = called.shape[1] - n
    with np.errstate(invalid="ignore"):
        return np.asarray(((ranks * called).sum(axis=1) - n * (n + 1) / 2) / (n * others))


def ks_distances(values: np.ndarray, synthetic: np.ndarray, human: np.ndarray) -> np.ndarray:
    """Return the largest distance between the cumulative shares of two sides (Kolmogorov-Smirnov), for each row.

    Args:
        values: A property of the texts, float of shape (n_texts,).
        synthetic: The texts of the one side, boolean of shape (n_rows, n_texts).
        human: Those of the other.

    Returns:
        Float of shape (n_rows,).
    """
    order = np.argsort(values, kind="stable")
    steps = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    found = np.empty(len(synthetic))
    rows_at_once = max(_AT_ONCE // len(values), 1)
    for start in range(0, len(found), rows_at_once):
        rows = slice(start, start + rows_at_once)
        shares = [
            np.cumsum(side[rows][:, order], axis=1)[:, steps] / np.maximum(side[rows].sum(axis=1), 1)[:, None]
            for side in (synthetic, human)
        ]
        found[rows] = np.abs(shares[0] - shares[1]).max(axis=1)
    return found


def tell_apart(similarity: np.ndarray, labels: Sequence[str], permutations: int, seed: int) -> ToldApart:
    """Train a classifier to tell two sides of equal size apart, and test whether it does better than chance.

    Source: the classifier two-sample test (Lopez-Paz & Oquab 2017, arXiv 1610.06545), with a permutation test in place
    of its normal approximation, which cross-validation breaks.

    Args:
        similarity: What `similarities` returns for the texts of the one side and then of the other.
        labels: The labels of the texts of either side; within a label who is synthetic is permuted.
        permutations: How many there are to be.
        seed: Draws them.
    """
    n = len(labels)
    if n < MIN_TEXTS:
        return ToldApart(np.full(2 * n, np.nan), None)
    fold = np.tile(pair_folds(labels, seed), 2)
    classes = np.unique(np.array(labels), return_inverse=True)[1]
    blocks = np.unique(np.tile(classes, 2) * FOLDS + fold, return_inverse=True)[1]
    called = swaps(blocks, np.arange(2 * n) < n, permutations, np.random.default_rng(seed))
    scores = classifier_scores(similarity, fold, called)
    return ToldApart(scores[0], float(p_values(auc(scores, called))[0]))


def p_values(statistics: np.ndarray) -> np.ndarray:
    """Return for each row of a permutation test how many rows are at least as large, as a share of all.

    Args:
        statistics: Float of shape (n_rows,) or (n_rows, n_tests); row 0 is what was found.
    """
    return np.asarray(rankdata(-np.round(statistics, 10), method="max", axis=0) / len(statistics))
