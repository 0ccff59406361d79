"""Made-up answers whose true accuracy is known, to see how often intervals hold it and how often tests are wrong.

An answer is right where a sum of normal numbers is above a limit: how easy the text is for everyone, how easy for this
side, how good the training is, and chance. The limit is such that over all texts and trainings the mean is exactly the
accuracy asked for.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

IMBALANCED = (0.25, 0.2, 0.15, 0.1, 0.08, 0.06, 0.05, 0.05, 0.04, 0.02)
"""Shares of ten labels; of 200 texts, four bear the last one."""


class Side(NamedTuple):
    """Who answers; `texts` and `trainings` are the shares of the variance that belong to this side's texts and runs."""

    runs: int
    accuracy: float
    texts: float = 0.0
    trainings: float = 0.0


def right_answers(rng: np.random.Generator, n_texts: int, sides: Sequence[Side], shared: float) -> list[np.ndarray]:
    """Return for each side whether its answers are right, bool of shape (runs, n_texts).

    Args:
        rng: Draws them.
        n_texts: The texts, which all sides answer.
        sides: Who answers.
        shared: Share of the variance that belongs to how easy a text is for everyone.
    """

    def normal(share: float, *shape: int) -> np.ndarray:
        return np.sqrt(share, dtype=np.float32) * rng.standard_normal(shape, dtype=np.float32)

    easy = normal(shared, n_texts)
    drawn = []
    for side in sides:
        chance = 1 - shared - side.texts - side.trainings
        parts = easy + normal(side.texts, n_texts) + normal(side.trainings, side.runs, 1)
        drawn.append(parts + normal(chance, side.runs, n_texts) > -np.float32(ndtri(side.accuracy)))
    return drawn


def confuse(rng: np.random.Generator, right: np.ndarray, truth: np.ndarray, n_labels: int) -> np.ndarray:
    """Return answers, int of the shape of `right`: the truth or, where not right, one of the other labels.

    Four times out of five all runs that are wrong about a text say the same.
    """
    together = rng.integers(1, n_labels, right.shape[1])
    apart = rng.integers(1, n_labels, right.shape)
    shift = np.where(rng.random(right.shape) < 0.8, together, apart)
    return np.asarray(np.where(right, truth, (truth + shift) % n_labels))


def true_f1(accuracy: float, trainings: float, shares: Sequence[float]) -> float:
    """Return the macro-F1 on endless texts, as the mean over endless runs, of what `confuse` returns."""
    points, weights = np.polynomial.hermite_e.hermegauss(60)
    of_runs = ndtr((ndtri(accuracy) + np.sqrt(trainings) * points) / np.sqrt(1 - trainings))
    there = np.array(shares)[:, np.newaxis]
    said = there * of_runs + (1 - there) * (1 - of_runs) / (len(shares) - 1)
    f1 = 2 * there * of_runs / (there + said)
    return float(f1.mean(axis=0) @ weights / weights.sum())
