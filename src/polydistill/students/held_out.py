"""Cross-validation of the linear student inside its training texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize
from scipy.special import log_softmax

from polydistill.students.bayes_ridge import learn, scores

_SHARPNESS = (0.05, 50.0)  # where the best one is looked for
_PRIOR = (0.0, 1.5)


@dataclass(frozen=True)
class Factors:
    """By what to multiply the scores and the log-prior, so that their sum, as logits, has the smallest loss.

    Attributes:
        bayes: Of naive Bayes; it has the same spread as ridge regression then.
        ridge: Of ridge regression.
        prior: Of the log-prior: how much likelier a label is for being frequent, beyond what the scores hold of it.
        loss: Mean log-loss of the texts that were held out; 0 where none was.
        accuracy: The share of them that was right; None where none was.
    """

    bayes: float
    ridge: float
    prior: float
    loss: float
    accuracy: float | None


def weigh(classes: np.ndarray, class_weight: str) -> np.ndarray:
    """Return how much each text counts: 1, or for `balanced` so much that each label counts the same."""
    if class_weight == "none":
        return np.ones(len(classes), np.float32)
    sizes = np.bincount(classes)
    weights: np.ndarray = (len(classes) / (len(sizes) * sizes[classes])).astype(np.float32)
    return weights


def log_prior(classes: np.ndarray) -> np.ndarray:
    """Return the logarithm of each label's share of the texts."""
    prior: np.ndarray = np.log(np.bincount(classes) / len(classes))
    return prior


def sample(classes: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Return the numbers of about `most` texts, of each label its share and one at least; all where there are fewer."""
    if len(classes) <= most:
        return np.arange(len(classes))
    chosen = [
        rng.permutation(np.flatnonzero(classes == label))[: -(-size * most // len(classes))]
        for label, size in enumerate(np.bincount(classes))
    ]
    return np.sort(np.concatenate(chosen))


def fold(classes: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Return the fold of each text, each label spread evenly; -1 for one that is never held out.

    There are no more folds than texts of a label, so that each fold leaves some of it, and the only text of a label is
    never held out.
    """
    sizes = np.bincount(classes)
    repeated = sizes[sizes > 1]
    folds = min(folds, repeated.min(initial=folds))
    fold_of = np.full(len(classes), -1)
    dealt = 0
    for label in np.flatnonzero(sizes > 1):
        fold_of[rng.permutation(np.flatnonzero(classes == label))] = (dealt + np.arange(sizes[label])) % folds
        dealt += sizes[label]
    return fold_of


def held_out_scores(
    counts: sp.csr_matrix,
    classes: np.ndarray,
    fold_of: np.ndarray,
    class_weight: str,
    regularizations: Sequence[float],
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return what naive Bayes, and ridge regression for each regularization, say of texts that were held out.

    Where none is ever held out it is what they say of the texts that they learned from.

    Returns:
        Float32 of shape (n_texts, n_labels), for texts that are never held out 0.
    """
    bayes = np.zeros((len(classes), classes.max() + 1), np.float32)
    ridge = [np.zeros_like(bayes) for _ in regularizations]
    for number in range(fold_of.max() + 1) if fold_of.max() >= 0 else [-1]:
        held, rest = fold_of == number, fold_of != number
        if number == -1:
            rest = held
        parts = learn(counts[rest], classes[rest], weigh(classes[rest], class_weight), regularizations)
        of_held = counts[held]
        bayes[held] = scores(of_held, parts.telling, parts.bayes)
        for said, weights in zip(ridge, parts.ridge, strict=True):
            said[held] = scores(of_held, parts.telling, weights)
    return bayes, ridge


def add_up(
    bayes: np.ndarray, ridge: np.ndarray, prior: np.ndarray, classes: np.ndarray, fold_of: np.ndarray
) -> Factors:
    """Return how to add up two scores that `held_out_scores` returned so that they are calibrated."""
    held = fold_of >= 0
    if not held.any():
        return Factors(_one_over(bayes.std()), _one_over(ridge.std()), 1.0, 0.0, None)
    of_bayes, of_ridge = _one_over(bayes[held].std()), _one_over(ridge[held].std())
    total, truth = (of_bayes * bayes[held] + of_ridge * ridge[held]).astype(np.float64), classes[held]
    # Platt's targets: without them texts that are told apart with ease would ask for probabilities of 0 and 1.
    targets = np.full(total.shape, 1 / (len(truth) + total.shape[1]))
    targets[np.arange(len(truth)), truth] += len(truth) / (len(truth) + total.shape[1])

    def loss(factors: np.ndarray) -> tuple[float, np.ndarray]:
        logs = log_softmax(factors[0] * total + factors[1] * prior, axis=1)
        too_much = (np.exp(logs) - targets) / len(truth)
        return float(-(targets * logs).sum() / len(truth)), np.array(
            [(too_much * part).sum() for part in (total, prior)]
        )

    best = minimize(loss, [3.0, 0.5], jac=True, method="L-BFGS-B", bounds=[_SHARPNESS, _PRIOR])
    sharpness, of_prior = map(float, best.x)
    right = (sharpness * total + of_prior * prior).argmax(axis=1) == truth
    return Factors(sharpness * of_bayes, sharpness * of_ridge, of_prior, float(best.fun), float(right.mean()))


def _one_over(spread: float) -> float:
    return 1 / float(spread) if spread > 0 else 1.0
