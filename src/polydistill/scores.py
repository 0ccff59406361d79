"""How well answers fit the truth, and how sure that is."""

from collections.abc import Sequence

import numpy as np

ABSTAINED = -1
"""The class of an answer that names no label; it fits no truth."""


def accuracy(truth: np.ndarray, answers: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the share of right answers.

    Args:
        truth: Classes, int of shape (n_texts,).
        answers: Classes or ABSTAINED, int of shape (..., n_texts).
        weights: How often each text counts, float of shape (n_samples, n_texts); once where left out.

    Returns:
        Float of shape (...,), or (n_samples, ...) with weights.
    """
    right = (answers == truth).astype(float)
    if weights is None:
        return np.asarray(right.mean(axis=-1))
    return np.asarray(np.tensordot(weights / weights.sum(axis=1, keepdims=True), right, axes=(1, -1)))


def macro_f1(truth: np.ndarray, answers: np.ndarray, n_labels: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Return F1 averaged over the labels, each weighing the same; shapes as in `accuracy`.

    A label that is neither in the truth nor among the answers scores 0. One that the weights alone leave out, so that
    nothing is known of it, does not count there: as a 0 it would draw the scores of all bootstrap samples down.
    """
    counts = np.ones((1, len(truth))) if weights is None else weights
    total, known = np.zeros(()), np.zeros(())
    for label in range(n_labels):
        is_label, says_label = (truth == label).astype(float), (answers == label).astype(float)
        hits = np.tensordot(counts, is_label * says_label, axes=(1, -1))
        said = np.tensordot(counts, says_label, axes=(1, -1))
        there = (counts @ is_label).reshape(-1, *[1] * (answers.ndim - 1))
        total = total + 2 * hits / np.maximum(said + there, 1e-12)
        known = known + ((said + there > 0) | ~(is_label + says_label).any(axis=-1))
    mean = total / known
    return np.asarray(mean[0] if weights is None else mean)


def resample_counts(n: int, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often each of n items falls into each bootstrap sample, float of shape (samples, n)."""
    return rng.multinomial(n, np.full(n, 1 / n), size=samples).astype(float)


def interval(values: np.ndarray, confidence: float) -> list[float]:
    """Return the percentile interval of bootstrap values, shape (samples,), as [low, high]."""
    tail = (1 - confidence) / 2 * 100
    return [float(bound) for bound in np.percentile(values, [tail, 100 - tail])]


def to_classes(names: Sequence[str | None], labels: Sequence[str]) -> np.ndarray:
    """Return the index of each name among the labels, ABSTAINED for None."""
    index = {label: i for i, label in enumerate(labels)}
    return np.array([ABSTAINED if name is None else index[name] for name in names])
