"""The arithmetic of the linear student: naive Bayes and ridge regression on the same counts of n-grams.

After NB-SVM (Wang and Manning 2012): the log-ratios of naive Bayes weigh the n-grams of a linear model. There each
label weighs them in its own way; here all share one weight, so that one kernel of the texts serves every label.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve

SMOOTHING = 0.03
"""Added to what a label has of an n-gram, so that nothing is impossible; chosen on human training texts."""
MOST_FOR_KERNEL = 4000
"""With more texts their kernel, a number a pair, is too large to be solved at once."""
_TOLERANCE = 1e-4  # of the residual, relative
_MAX_STEPS = 500


@dataclass(frozen=True)
class Parts:
    """What is learned from texts, for each way to regularise.

    Attributes:
        telling: How much each n-gram tells of labels, float32 of shape (n_terms,), 0 for one that no text holds. A text
            is the vector of its counts times these, brought to length 1.
        bayes: Weights of naive Bayes, float32 of shape (n_labels, n_terms), for counts divided by that length.
        ridge: The same of ridge regression, one for each regularization.
    """

    telling: np.ndarray
    bayes: np.ndarray
    ridge: list[np.ndarray]


def learn(
    counts: sp.csr_matrix, classes: np.ndarray, text_weights: np.ndarray, regularizations: Sequence[float]
) -> Parts:
    """Learn to tell labels by n-grams.

    Args:
        counts: Float32 of shape (n_texts, n_terms).
        classes: The number of each text's label, of which none is left out.
        text_weights: How much each text counts.
        regularizations: Strengths of the ridge regression, one after the other.
    """
    bayes = _log_ratios(counts, classes, text_weights)
    telling = (bayes**2).mean(axis=0)
    vectors = sp.csr_matrix(counts, copy=True)
    vectors.data *= telling[vectors.indices]
    vectors.data /= np.repeat(_lengths(counts, telling), np.diff(counts.indptr))
    targets = np.eye(bayes.shape[0], dtype=np.float32)[classes]
    targets -= (text_weights / text_weights.sum()) @ targets
    solve = _by_kernel if len(classes) <= MOST_FOR_KERNEL else _by_steps
    solutions = solve(vectors, targets, [(strength / text_weights).astype(np.float32) for strength in regularizations])
    return Parts(telling, bayes, [(vectors.T @ solution).T * telling for solution in solutions])


def scores(counts: sp.csr_matrix, telling: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return what weights of `Parts` say of texts, float32 of shape (n_texts, n_labels); 0 of one without a term."""
    said: np.ndarray = (counts @ weights.T) / _lengths(counts, telling)[:, None]
    return said


def _lengths(counts: sp.csr_matrix, telling: np.ndarray) -> np.ndarray:
    squares = sp.csr_matrix((counts.data**2, counts.indices, counts.indptr), shape=counts.shape)
    lengths: np.ndarray = np.sqrt(squares @ telling**2)
    lengths[lengths == 0] = 1
    return lengths


def _log_ratios(counts: sp.csr_matrix, classes: np.ndarray, text_weights: np.ndarray) -> np.ndarray:
    """Return the logarithm of how much likelier an n-gram is with a label than with the others.

    Long texts count as much as short ones. The square root keeps an n-gram that comes again and again in generated
    texts from outweighing all others.
    """
    n_texts, n_terms = counts.shape
    share = (text_weights / _lengths(counts, np.ones(n_terms, np.float32))).astype(np.float32)
    by_label = sp.csr_matrix((share, (classes, np.arange(n_texts))), shape=(classes.max() + 1, n_texts))
    of_label = (by_label @ counts).toarray()
    total = of_label.sum(axis=0)
    occurs = total > 0
    ratios: np.ndarray = np.zeros_like(of_label)
    ratios[:, occurs] = _logs(of_label[:, occurs]) - _logs(np.maximum(total - of_label, 0)[:, occurs])
    return ratios


def _logs(found: np.ndarray) -> np.ndarray:
    smoothed = np.sqrt(found) + np.float32(SMOOTHING)
    logs: np.ndarray = np.log(smoothed / smoothed.sum(axis=1, keepdims=True))
    return logs


def _by_kernel(vectors: sp.csr_matrix, targets: np.ndarray, penalties: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Solve (kernel + penalty) x = targets, for each penalty a text."""
    # Few n-grams make up most of the products: dense arithmetic for the frequent ones, sparse for the many rare ones.
    often = vectors.getnnz(axis=0) > vectors.shape[0] / 32
    frequent, rare = vectors[:, often].toarray(), vectors[:, ~often]
    kernel = frequent @ frequent.T + (rare @ rare.T).toarray()
    return [cho_solve(_factor(kernel, penalty), targets, check_finite=False) for penalty in penalties]


def _factor(kernel: np.ndarray, penalty: np.ndarray) -> tuple[np.ndarray, bool]:
    system = kernel.copy(order="F")
    np.fill_diagonal(system, kernel.diagonal() + penalty)
    factor: tuple[np.ndarray, bool] = cho_factor(system, overwrite_a=True, check_finite=False)
    return factor


def _by_steps(vectors: sp.csr_matrix, targets: np.ndarray, penalties: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Solve the same by conjugate gradients, all labels at once, without ever holding the kernel."""
    return [_conjugate_gradients(vectors, targets, penalty[:, None]) for penalty in penalties]


def _conjugate_gradients(vectors: sp.csr_matrix, targets: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    solution, residual = np.zeros_like(targets), targets.copy()
    direction, size = residual.copy(), (residual**2).sum(axis=0)
    enough = _TOLERANCE**2 * size
    for _ in range(_MAX_STEPS):
        image = vectors @ (vectors.T @ direction) + penalty * direction
        step = size / np.maximum((direction * image).sum(axis=0), np.finfo(np.float32).tiny)
        solution += step * direction
        residual -= step * image
        previous, size = size, (residual**2).sum(axis=0)
        if (size <= enough).all():
            break
        direction = residual + size / np.maximum(previous, np.finfo(np.float32).tiny) * direction
    return solution
