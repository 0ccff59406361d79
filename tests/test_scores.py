import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from polydistill.scores import ABSTAINED, accuracy, interval, macro_f1, resample_counts, to_classes

# Two of three "a" are found, one of them called "b"; of two "b" one is found and one got no answer.
TRUTH = to_classes(["a", "a", "a", "b", "b"], ["a", "b"])
ANSWERS = to_classes(["a", "a", "b", "b", None], ["a", "b"])


def test_scores_by_hand() -> None:
    assert accuracy(TRUTH, ANSWERS) == pytest.approx(3 / 5)
    # a: precision 2/2, recall 2/3, F1 4/5; b: precision 1/2, recall 1/2, F1 1/2
    assert macro_f1(TRUTH, ANSWERS, 2) == pytest.approx((4 / 5 + 1 / 2) / 2)


def test_an_abstention_is_wrong_for_every_label() -> None:
    silent = np.full(5, ABSTAINED)
    assert accuracy(TRUTH, silent) == 0
    assert macro_f1(TRUTH, silent, 2) == 0


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, answers = rng.integers(0, 4, 60), rng.integers(0, 4, (3, 60))
    for row, right, f1 in zip(answers, accuracy(truth, answers), macro_f1(truth, answers, 4), strict=True):
        assert right == pytest.approx(accuracy_score(truth, row))
        assert f1 == pytest.approx(f1_score(truth, row, average="macro"))


def test_weights_count_a_text_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    truth, answers = rng.integers(0, 3, 12), rng.integers(-1, 3, (2, 12))
    weights = resample_counts(12, 4, rng)
    for n, sample in enumerate(weights.astype(int)):
        again, said = np.repeat(truth, sample), np.repeat(answers, sample, axis=1)
        assert accuracy(truth, answers, weights)[n] == pytest.approx(accuracy(again, said))
        assert macro_f1(truth, answers, 3, weights)[n] == pytest.approx(
            [
                f1_score(again, row, labels=np.union1d(again, row[row >= 0]), average="macro", zero_division=0)
                for row in said
            ]
        )


def test_a_label_that_a_resample_leaves_out_does_not_count_there() -> None:
    truth = np.arange(50)
    weights = resample_counts(50, 20, np.random.default_rng(0))
    assert macro_f1(truth, truth[np.newaxis], 50, weights) == pytest.approx(np.ones((20, 1)))


def test_a_label_that_nobody_names_scores_nothing() -> None:
    truth = np.array([0, 0, 1])
    assert macro_f1(truth, truth, 4) == pytest.approx(0.5)
    assert macro_f1(truth, truth, 4, np.ones((1, 3))) == pytest.approx(0.5)


def test_resamples_are_as_large_as_the_data_and_always_the_same() -> None:
    first, again = (resample_counts(7, 50, np.random.default_rng(3)) for _ in range(2))
    assert (first == again).all()
    assert (first.sum(axis=1) == 7).all()
    assert first.mean() == pytest.approx(1)


def test_an_interval_leaves_out_both_tails() -> None:
    assert interval(np.arange(101.0), 0.9) == pytest.approx([5, 95])


def test_a_wider_confidence_is_a_wider_interval() -> None:
    values = np.random.default_rng(0).normal(size=500)
    (low, high), (lower, higher) = interval(values, 0.8), interval(values, 0.99)
    assert lower < low < high < higher
