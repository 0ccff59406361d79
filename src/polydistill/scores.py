"""How well answers fit the truth, and how sure that is."""

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri, stdtrit

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


def f1_marks(truth: np.ndarray, answers: np.ndarray, n_labels: int) -> np.ndarray:
    """Return a mark for each run and text, whose mean over texts is the run's macro-F1 and whose spread is its error.

    A mark says what leaving the text out would take from the score (the jackknife), so that all that is made for right
    and wrong answers, one text at a time, is at hand for macro-F1 too.

    Args:
        truth: Classes, int of shape (n_texts,).
        answers: Classes or ABSTAINED, int of shape (n_runs, n_texts).
        n_labels: How many labels there are.

    Returns:
        Float of shape (n_runs, n_texts); single marks may lie outside 0 to 1.
    """
    n_runs, n_texts = answers.shape
    right, named = answers == truth, answers != ABSTAINED
    # Where a run counts the label of a text, and the one that it names; all runs stand in one row.
    first = np.arange(n_runs)[:, np.newaxis] * n_labels
    of_truth, of_answer = first + truth, first + np.maximum(answers, 0)
    hits = np.bincount(of_truth[right], minlength=n_runs * n_labels)
    counts = np.bincount(of_truth.ravel(), minlength=len(hits)) + np.bincount(of_answer[named], minlength=len(hits))
    f1 = 2 * hits / np.maximum(counts, 1)
    # What a label loses with a text that rightly has it, and with one that should have it or wrongly has it. A label of
    # which no other text tells anything keeps its score.
    lost_right = np.where(counts > 2, f1 - 2 * (hits - 1) / np.maximum(counts - 2, 1), 0.0)
    lost_wrong = np.where(counts > 1, f1 - 2 * hits / np.maximum(counts - 1, 1), 0.0)
    lost = np.where(right, lost_right[of_truth], lost_wrong[of_truth])
    lost += np.where(named & ~right, lost_wrong[of_answer], 0.0)
    marks = (n_texts - 1) / n_labels * lost
    means = f1.reshape(n_runs, n_labels).mean(axis=1, keepdims=True)
    return np.asarray(marks - marks.mean(axis=1, keepdims=True) + means)


def run_variance(marks: np.ndarray) -> float:
    """Return the variance that the mean over all marks has because trainings differ; 0 with one run, which cannot tell.

    Runs differ in their means also where none is better, as each is wrong about other texts. That noise stands in the
    variance of texts already and is taken off here: all but 1.5 / n_runs of it, since two or three runs may agree by
    chance and would then seem to be sure.

    Args:
        marks: Bool or float of shape (n_runs, n_texts).
    """
    n_runs, n_texts = marks.shape
    if n_runs < 2 or n_texts < 2:
        return 0.0
    of_runs = marks.mean(axis=1)
    rest = marks - of_runs[:, np.newaxis] - marks.mean(axis=0) + of_runs.mean()
    noise = (rest**2).sum() / ((n_runs - 1) * (n_texts - 1))
    spread = n_texts * of_runs.var(ddof=1) - (1 - 1.5 / n_runs) * noise
    return float(max(spread, 0.0) / (n_runs * n_texts))


def mean_interval(marks: np.ndarray, confidence: float) -> list[float]:
    """Return the interval [low, high] of the mean score over trainings and texts, within 0 to 1.

    The margins of texts (normal) and of runs (t with n_runs - 1 degrees of freedom) are added as squares and laid out
    as in Wilson's interval, which leans away from 0 and 1; of right and wrong answers of one run it is just that one.
    `benchmarks/coverage.py` shows how often it holds.

    Args:
        marks: A row a run: whether each text is answered right, or what `f1_marks` returns; shape (n_runs, n_texts).
        confidence: How often the interval is to hold the mean of all trainings on all such texts. With one run it is
            about that one model on all such texts: what another training would bring is not known.
    """
    n_runs, n_texts = marks.shape
    mean = min(max(float(marks.mean()), 0.0), 1.0)
    tail = (1 - confidence) / 2
    margin = ndtri(tail) ** 2 * marks.mean(axis=0).var() / n_texts
    if n_runs > 1:
        margin += stdtrit(n_runs - 1, tail) ** 2 * run_variance(marks)
    # Where all answers are right, or all wrong, the spread tells nothing: each text counts once, however many runs.
    width = margin / (mean * (1 - mean)) if margin > 0 else ndtri(tail) ** 2 / n_texts
    middle = (mean + width / 2) / (1 + width)
    half = np.sqrt(width * mean * (1 - mean) + width**2 / 4) / (1 + width)
    return [float(max(min(middle - half, mean), 0.0)), float(min(max(middle + half, mean), 1.0))]


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
