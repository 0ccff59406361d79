import numpy as np
import pytest
from simulated import IMBALANCED, Side, confuse, right_answers, true_f1
from sklearn.metrics import accuracy_score, f1_score

from polydistill.scores import (
    ABSTAINED,
    accuracy,
    f1_marks,
    interval,
    macro_f1,
    mean_interval,
    resample_counts,
    run_variance,
    to_classes,
)

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


def right(*runs: str) -> np.ndarray:
    """Return marks: x is a right answer, a dot a wrong one; a string a run."""
    return np.array([[c == "x" for c in run] for run in runs])


def test_of_one_run_the_interval_is_wilsons() -> None:
    assert mean_interval(right("xxxxxxxx.."), 0.95) == pytest.approx([0.4902, 0.9433], abs=1e-4)


def test_all_right_is_no_certainty_however_many_runs() -> None:
    # Wilson's interval for 10 of 10
    assert mean_interval(right("x" * 10), 0.95) == pytest.approx([0.7225, 1], abs=1e-4)
    assert mean_interval(right(*["x" * 10] * 20), 0.95) == pytest.approx([0.7225, 1], abs=1e-4)
    assert mean_interval(right("." * 10), 0.95) == pytest.approx([0, 0.2775], abs=1e-4)


def test_a_perfect_macro_f1_is_no_more_certain_than_all_right() -> None:
    truth = np.arange(7).repeat(9)
    marks = f1_marks(truth, np.tile(truth, (20, 1)), 7)
    assert mean_interval(marks, 0.95) == pytest.approx(mean_interval(marks == 1, 0.95))
    assert mean_interval(marks, 0.95)[0] < 0.95


def test_copies_of_a_run_tell_no_more_than_one() -> None:
    one = right("xx.x.xxx.x")
    assert mean_interval(np.repeat(one, 7, axis=0), 0.95) == pytest.approx(mean_interval(one, 0.95))


def test_runs_that_disagree_about_each_text_say_more_together_than_one() -> None:
    wide, narrow = mean_interval(right("xxx.xxx.xxx."), 0.95), mean_interval(right(*["xxx.", "xx.x", ".xxx"] * 4), 0.95)
    assert narrow[0] > wide[0]
    assert narrow[1] - narrow[0] < wide[1] - wide[0]


def test_runs_of_which_some_fail_widen_the_interval() -> None:
    steady = mean_interval(right(*["xx.x.xxx.x" * 20] * 4), 0.95)
    shaky = mean_interval(right(*["xx.x.xxx.x" * 20] * 3, "........x." * 20), 0.95)
    assert shaky[1] - shaky[0] > 3 * (steady[1] - steady[0])


def test_what_trainings_add_to_the_variance_by_hand() -> None:
    # Means 3/4 and 1/4: mean square 4 * 2 * (1/4)^2 = 1/2. Less these and less the texts' means, the marks leave
    # +-1/4 but for the texts that both have right or wrong: noise (4 * 1/16 + 4 * 1/16) / 3 = 1/6, of which a quarter
    # is taken off.
    runs = right("xxx.", "x...")
    assert run_variance(runs) == pytest.approx((1 / 2 - 1 / 4 * 1 / 6) / 8)
    assert run_variance(runs[:1]) == 0


@pytest.mark.parametrize("runs", [1, 2, 20])
def test_an_interval_is_within_bounds_and_holds_the_mean(runs: int) -> None:
    rng = np.random.default_rng(runs)
    for share in (0.0, 0.02, 0.5, 0.98, 1.0):
        marks = rng.random((runs, 30)) < share
        low, high = mean_interval(marks, 0.95)
        assert 0 <= low <= marks.mean() <= high <= 1
        assert high > low


@pytest.mark.parametrize("seed", range(3))
def test_marks_of_macro_f1_average_to_it_and_tell_what_each_text_is_worth(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, answers = rng.integers(0, 3, 12), rng.integers(-1, 3, (2, 12))
    marks = f1_marks(truth, answers, 3)
    assert marks.mean(axis=1) == pytest.approx(macro_f1(truth, answers, 3))
    without = np.array([macro_f1(np.delete(truth, i), np.delete(answers, i, axis=1), 3) for i in range(12)]).T
    # One text more or less, times the 11 others: marks differ as the scores without them do.
    assert marks - marks[:, :1] == pytest.approx(11 * (without[:, :1] - without))


def test_a_label_that_one_text_alone_bears_keeps_its_score_without_it() -> None:
    truth = np.array([0, 0, 0, 1])
    assert f1_marks(truth, truth[np.newaxis], 2) == pytest.approx(np.ones((1, 4)))


def held(samples: int, n_texts: int, side: Side, hard_texts: float) -> float:
    """Return how often the 95 % interval holds the true accuracy."""
    rng, found = np.random.default_rng(0), 0
    for _ in range(samples):
        (answers,) = right_answers(rng, n_texts, [side], hard_texts)
        low, high = mean_interval(answers, 0.95)
        found += low <= side.accuracy <= high
    return found / samples


@pytest.mark.parametrize("spread", [0.0, 0.04], ids=["equal runs", "uneven runs"])
@pytest.mark.parametrize("hard_texts", [0.0, 0.6], ids=["no hard texts", "hard texts"])
@pytest.mark.parametrize("accuracy", [0.55, 0.92])
def test_intervals_of_twenty_runs_hold_the_accuracy_as_often_as_they_say(
    accuracy: float, hard_texts: float, spread: float
) -> None:
    assert 0.93 <= held(2000, 200, Side(20, accuracy, trainings=spread), hard_texts) <= 0.97
    assert 0.93 <= held(800, 2000, Side(20, accuracy, trainings=spread), hard_texts) <= 0.97


@pytest.mark.parametrize("n_texts", [200, 2000])
def test_an_interval_of_one_run_holds_the_accuracy_of_that_model(n_texts: int) -> None:
    assert 0.93 <= held(1000, n_texts, Side(1, 0.75), 0.0) <= 0.97


def test_intervals_of_few_uneven_runs_are_not_too_sure() -> None:
    # A bootstrap of runs and texts holds it in 65 % and 85 %.
    assert held(600, 2000, Side(2, 0.75, trainings=0.04), 0.0) >= 0.92
    assert held(600, 2000, Side(5, 0.75, trainings=0.04), 0.0) >= 0.93


@pytest.mark.parametrize(
    ("shares", "least"), [((1 / 7,) * 7, 0.93), (IMBALANCED, 0.91)], ids=["7 equal labels", "10 labels, 4 texts of one"]
)
def test_intervals_of_macro_f1_hold_it(shares: tuple[float, ...], least: float) -> None:
    rng, found, n_labels = np.random.default_rng(0), 0, len(shares)
    for _ in range(600):
        truth = rng.choice(n_labels, 200, p=shares)
        (answers,) = right_answers(rng, 200, [Side(20, 0.75, trainings=0.04)], 0.6)
        low, high = mean_interval(f1_marks(truth, confuse(rng, answers, truth, n_labels), n_labels), 0.95)
        found += low <= true_f1(0.75, 0.04, shares) <= high
    assert least <= found / 600 <= 0.97
