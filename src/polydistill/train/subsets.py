"""Decides which texts a run learns from: random ones, texts that are unlike each other, or texts that stand for all."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

DIMS = 100
"""Dimensions of a text's vector."""
CANDIDATES = 50
"""Most texts that are compared before the next one is chosen."""
STOOD_FOR = 2000
"""Most texts of a label, drawn at random, that the chosen ones are to stand for: the cost grows no further."""

Choose = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
"""Chooses among the texts of one label: vectors of shape (n_texts, n_dims), how many are wanted -> their indices."""


def draw(labels: Sequence[str], size: int, rng: np.random.Generator) -> np.ndarray:
    """Return the indices of a random subsample that keeps the shares of the labels as nearly as whole texts allow.

    The labels take turns in a random order, a label twice as common twice as often, each with a random text of its own.
    The first two texts of every label come before all others, so that from `size` = twice the number of labels on each
    label is there twice, unless it has one text alone.
    """
    classes = np.array(labels)
    shuffled = rng.permutation(len(classes))
    turn = np.empty(len(classes))
    for rank, name in enumerate(rng.permutation(np.unique(classes))):
        of_label = shuffled[classes[shuffled] == name]
        # The rank breaks ties, first of all those of every label's first turns.
        turn[of_label] = np.arange(len(of_label)) * len(classes) / len(of_label) + rank * 1e-6
        turn[of_label[1:2]] = 0.5 + rank * 1e-6
    return np.sort(np.argsort(turn, kind="stable")[:size])


def draw_by(
    choose: Choose, labels: Sequence[str], vectors: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the indices of a subsample that holds as many texts of each label as `draw` takes, but chosen ones."""
    classes = np.array(labels)
    wanted = Counter(classes[draw(labels, size, rng)].tolist())
    chosen = []
    for name, count in sorted(wanted.items()):
        of_label = np.flatnonzero(classes == name)
        chosen.append(of_label if count == len(of_label) else of_label[choose(vectors[of_label], count, rng)])
    return np.sort(np.concatenate(chosen))


def embed(texts: Sequence[str]) -> np.ndarray:
    """Return unit vectors, float32 of shape (n_texts, n_dims), that are close where texts share character n-grams."""
    n_grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, dtype=np.float32)
    weights = n_grams.fit_transform(texts)
    n_dims = max(1, min(DIMS, *(length - 1 for length in weights.shape)))
    vectors: np.ndarray = normalize(TruncatedSVD(n_dims, random_state=0).fit_transform(weights))
    return vectors


def diverse(vectors: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the indices of `count` texts that are unlike each other: a random one, then ever the one farthest off.

    Source: the greedy k-centre of Gonzalez 1985, "Clustering to minimize the maximum intercluster distance".
    """
    chosen = [int(rng.integers(len(vectors)))]
    nearest = vectors @ vectors[chosen[0]]  # of each text, the cosine to the chosen one that it is most like
    while len(chosen) < count:
        nearest[chosen[-1]] = np.inf
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    return np.array(chosen)


def representative(vectors: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the indices of `count` texts that stand for all: every text should be like a chosen one.

    That is facility location: the sum, over all texts, of the cosine to the nearest chosen one is to be large. Each
    step adds what raises it most among a random quarter of the texts left, so that runs differ.

    Source: after Mirzasoleiman et al. 2015, "Lazier Than Lazy Greedy" (arXiv:1409.7938), with another number of
    candidates.
    """
    stood_for = vectors[rng.permutation(len(vectors))[:STOOD_FOR]]
    nearest = np.zeros(len(stood_for), dtype=vectors.dtype)
    chosen: list[int] = []
    while len(chosen) < count:
        left = np.setdiff1d(np.arange(len(vectors)), chosen)
        candidates = rng.choice(left, min(CANDIDATES, math.ceil(len(left) / 4)), replace=False)
        covered = np.maximum(nearest, vectors[candidates] @ stood_for.T)
        best = int(covered.sum(axis=1).argmax())
        chosen.append(int(candidates[best]))
        nearest = covered[best]
    return np.array(chosen)


CHOOSE: dict[str, Choose] = {"diverse": diverse, "representative": representative}
"""The ways of `train.subset` but for `random`."""
