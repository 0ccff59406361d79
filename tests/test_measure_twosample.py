"""The tests behind drift: what they find, and that they find nothing where there is nothing."""

import itertools

import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn.metrics import roc_auc_score

from polydistill.measure import twosample

WORDS = ["ena", "dva", "tri", "štiri", "pet", "šest", "sedem", "osem", "devet", "deset"]
TEXTS = [f"{one} {other}" for one, other in itertools.product(WORDS, WORDS)]


def test_ks_distance_is_that_of_scipy() -> None:
    values = np.array([1.0, 2, 2, 3, 5, 5, 8, 9])
    one = np.array([[True, False, True, True, False, False, False, True], [True] * 4 + [False] * 4])
    wanted = [ks_2samp(values[row], values[~row]).statistic for row in one]
    assert twosample.ks_distances(values, one, ~one) == pytest.approx(wanted)


def test_auc_is_that_of_scikit_learn() -> None:
    scores = np.array([[0.1, 0.4, 0.4, 0.8], [0.9, 0.2, 0.3, 0.3]])
    called = np.array([[False, True, False, True], [True, False, True, False]])
    wanted = [roc_auc_score(row, of_row) for row, of_row in zip(called, scores, strict=True)]
    assert twosample.auc(scores, called) == pytest.approx(wanted)


def test_swaps_keep_the_number_of_each_block() -> None:
    blocks, is_synthetic = np.array([0, 0, 1, 1, 1, 0]), np.array([True, False, True, True, False, False])
    rows = twosample.swaps(blocks, is_synthetic, 50, np.random.default_rng(1))
    assert (rows[0] == is_synthetic).all()
    assert (rows[:, blocks == 0].sum(axis=1) == 1).all()
    assert (rows[:, blocks == 1].sum(axis=1) == 2).all()
    assert len({tuple(row) for row in rows}) == 9  # 3 ways in each block


def test_folds_are_even_within_each_label() -> None:
    folds = twosample.pair_folds(["a"] * 10 + ["b"] * 7, seed=1)
    assert np.bincount(folds[:10]).tolist() == [2] * 5
    assert sorted(np.bincount(folds)) == [3, 3, 3, 4, 4]


def test_a_classifier_tells_other_words_apart_and_nothing_else() -> None:
    labels = ["a"] * 50
    other = [text.replace("e", "o") for text in TEXTS[1::2]]
    told = twosample.tell_apart(twosample.similarities([*TEXTS[::2], *other]), labels, 199, seed=1)
    assert told.p_value == 1 / 200
    same = twosample.tell_apart(twosample.similarities([*TEXTS[:50], *TEXTS[:50]]), labels, 199, seed=1)
    assert same.p_value is not None and same.p_value > 0.2


def test_p_values_count_what_is_as_large() -> None:
    assert twosample.p_values(np.array([3.0, 1, 3, 2])).tolist() == [0.5, 1, 0.5, 0.75]


def test_too_few_texts_for_a_classifier() -> None:
    assert twosample.tell_apart(np.eye(4), ["a", "b"], 9, seed=1).p_value is None
