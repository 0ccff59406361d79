import inspect

import numpy as np
import pytest
from scipy.stats import binomtest
from simulated import Side, right_answers

from polydistill.scores import f1_marks, macro_f1
from polydistill.verdict import BreakEven, break_even, choose, compare_paired, detectable_gap, holm


def right(*runs: str) -> np.ndarray:
    """Return marks: x is a right answer, a dot a wrong one; a string a run."""
    return np.array([[c == "x" for c in run] for run in runs])


# Of 20 texts both have 6 right and 5 wrong; 8 only the student has right, 1 only the teacher.
STUDENT = right("xxxxxx" + "....." + "xxxxxxxx" + ".")
TEACHER = right("xxxxxx" + "....." + "........" + "x")


def test_one_run_against_one_by_hand() -> None:
    found = compare_paired(STUDENT, TEACHER)
    assert found.difference == pytest.approx((14 - 7) / 20)
    # McNemar's mid-p: of 9 tosses of a coin none or, counted half, one; on either side
    assert found.p_value == pytest.approx(2 * (1 + 9 / 2) / 2**9)
    assert found.discordant == pytest.approx(9 / 20)
    # Bonett and Price: 9 and 2 of 22, difference 7/22, variance (11/22 - (7/22)^2) / 21, t with 21 degrees of freedom
    assert found.interval == pytest.approx([7 / 22 - 2.0796 * 0.13779, 7 / 22 + 2.0796 * 0.13779], abs=1e-4)


def test_the_other_way_round_all_is_mirrored() -> None:
    found, mirrored = compare_paired(STUDENT, TEACHER), compare_paired(TEACHER, STUDENT)
    assert mirrored.difference == -found.difference
    assert mirrored.interval == pytest.approx([-found.interval[1], -found.interval[0]])
    assert (mirrored.p_value, mirrored.discordant) == (found.p_value, found.discordant)


def test_equal_answers_tell_no_difference_and_no_certainty_either() -> None:
    found = compare_paired(STUDENT, STUDENT)
    assert (found.difference, found.p_value, found.discordant) == (0, 1, 0)
    assert found.interval[0] == -found.interval[1] < 0


def test_the_p_value_lies_below_that_of_the_exact_test() -> None:
    for only_a, only_b in ((3, 0), (9, 2), (40, 20)):
        a, b = right("x" * only_a + "." * only_b), right("." * only_a + "x" * only_b)
        exact = binomtest(only_a, only_a + only_b, 0.5).pvalue
        assert exact / 2 <= compare_paired(a, b).p_value < exact


def test_where_test_and_interval_differ_by_a_hair_the_interval_ends_at_no_difference() -> None:
    a, b = right("xxxxx" + "." * 15), right("." * 20)
    assert compare_paired(a, b).p_value == pytest.approx(1 / 32)
    assert compare_paired(a, b).interval[0] == 0
    assert compare_paired(b, a).interval[1] == 0
    assert compare_paired(a, b, 0.99).interval[0] < 0


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_an_interval_holds_no_difference_just_where_the_test_sees_none(confidence: float) -> None:
    rng, seen = np.random.default_rng(0), set()
    for runs_a, runs_b in ((1, 1), (3, 1), (3, 2)):
        for gap in np.linspace(0, 0.4, 15):
            a, b = rng.random((runs_a, 60)) < 0.5 + gap, rng.random((runs_b, 60)) < 0.5
            found = compare_paired(a, b, confidence)
            low, high = found.interval
            beyond_chance = found.p_value < 1 - confidence
            assert (low >= 0 or high <= 0) == beyond_chance
            assert low <= found.difference <= high
            seen.add(beyond_chance)
    assert seen == {True, False}


def test_trainings_that_fall_out_differently_make_a_difference_less_sure() -> None:
    teacher = right("x....x....x....x....")
    steady = right(*["xxx.xxx.xxx.xxx.xxx."] * 4)
    shaky = right("xxxxxxxxxxxxxxxxxxxx", "xxxxxxxxxxxxxxxxxxxx", "xxxxxxxxxxxxxxxxxxxx", "....................")
    sure, unsure = compare_paired(steady, teacher), compare_paired(shaky, teacher)
    assert sure.difference == unsure.difference == pytest.approx(0.55)
    assert sure.p_value < 0.01 < 0.05 < unsure.p_value
    assert unsure.interval[0] <= 0 < sure.interval[0]
    # Of the 20 texts only the student has 12 right, only the teacher 1.
    assert unsure.discordant > sure.discordant == pytest.approx(13 / 20)


def test_no_difference_is_larger_than_all() -> None:
    assert compare_paired(right("xxxxx"), right(".....")).interval[1] == 1


def test_few_texts_that_only_one_has_right_prove_nothing() -> None:
    # The teacher happens to have all 50 right; each of 20 runs has another text wrong.
    student = ~np.eye(20, 50, dtype=bool)
    assert compare_paired(student, right("x" * 50)).p_value > 0.05


def test_macro_f1_is_compared_by_its_marks() -> None:
    truth = np.array([0] * 60 + [1] * 20)
    good, poor = truth.copy(), np.zeros(80, dtype=int)
    good[:10] = 1
    found = compare_paired(f1_marks(truth, good[np.newaxis], 2), f1_marks(truth, poor[np.newaxis], 2))
    assert found.difference == pytest.approx(macro_f1(truth, good, 2) - macro_f1(truth, poor, 2))
    assert found.p_value < 0.001


def alarms(samples: int, n_texts: int, accuracy: float, runs: tuple[int, int], level: float = 0.05) -> float:
    """Return how often two sides that are as good as each other seem not to be."""
    rng, found = np.random.default_rng(0), 0
    for _ in range(samples):
        sides = [Side(n, accuracy, 0.1 * (n > 1), 0.01 * (n > 1)) for n in runs]
        found += compare_paired(*right_answers(rng, n_texts, sides, 0.5)).p_value < level
    return found / samples


@pytest.mark.parametrize("runs", [(1, 1), (20, 1), (20, 20)], ids=str)
@pytest.mark.parametrize("accuracy", [0.75, 0.98])
@pytest.mark.parametrize("n_texts", [50, 200])
def test_equals_seldom_seem_different(n_texts: int, accuracy: float, runs: tuple[int, int]) -> None:
    samples = 800
    assert alarms(samples, n_texts, accuracy, runs) <= 0.05 + 2 * (0.05 * 0.95 / samples) ** 0.5


def test_equals_seldom_seem_different_on_many_texts() -> None:
    assert alarms(400, 2000, 0.92, (20, 1)) <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


def test_among_eighteen_equals_of_the_teacher_seldom_one_seems_different() -> None:
    rng, found, plain, samples = np.random.default_rng(0), 0, 0, 300
    for _ in range(samples):
        p_values = []
        for _ in range(6):
            *students, teacher = right_answers(rng, 200, [Side(1, 0.75)] * 4, 0.5)
            p_values += [compare_paired(student, teacher).p_value for student in students]
        found += min(holm(p_values)) < 0.05
        plain += min(p_values) < 0.05
    assert found / samples <= 0.05 + 2 * (0.05 * 0.95 / samples) ** 0.5
    assert plain / samples > 0.3


def test_holm_by_hand() -> None:
    # 0.005 * 4, 0.01 * 3, 0.03 * 2, and 0.04, which is not to fall below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


N = 60


def of_texts(n_right: int) -> np.ndarray:
    """Return the marks of one run that has the first texts right."""
    return right("x" * n_right + "." * (N - n_right))


@pytest.mark.parametrize(
    ("curve", "found", "told"),
    [
        pytest.param(
            {10: 10, 100: 28, 500: 33, 1000: 55},
            (500, 100, 1000),
            "above the teacher from 500 on (95 % interval: 100 to 1000)",
            id="crosses",
        ),
        pytest.param(
            {10: 28, 100: 33, 1000: 34},
            (100, 10, None),
            "above the teacher from 100 on (95 % interval: 10 or less to more than 1000)",
            id="crosses, unsure",
        ),
        pytest.param(
            {10: 33, 100: 28, 500: 31},
            (500, 10, None),
            "above the teacher from 500 on (95 % interval: 10 or less to more than 500)",
            id="above, below and above again",
        ),
        pytest.param(
            {10: 50, 100: 55},
            (10, 10, 10),
            "shown to be above the teacher at every size tested, from 10 on",
            id="always above",
        ),
        pytest.param(
            {10: 31, 100: 55},
            (10, 10, 100),
            "above the teacher from 10 on (95 % interval: 10 or less to 100)",
            id="always above, at the smallest size not surely",
        ),
        pytest.param(
            {10: 5, 100: 10},
            (None, None, None),
            "shown to be below the teacher at every size tested, up to 100",
            id="never above",
        ),
        pytest.param(
            {10: 5, 100: 30},
            (None, 100, None),
            "not above the teacher at the largest size tested, 100 (95 % interval: 100 to more than 100)",
            id="as good as the teacher in the end",
        ),
        pytest.param({}, (None, None, None), "no size was tested", id="no size"),
    ],
)
def test_the_break_even(curve: dict[int, int], found: tuple[int | None, ...], told: str) -> None:
    marks = {size: of_texts(n_right) for size, n_right in reversed(curve.items())}
    result = break_even(marks, of_texts(30)[0])
    assert (result.size, result.low, result.high) == found
    assert result.told() == told


def test_trainings_count_in_the_break_even() -> None:
    lucky = {10: of_texts(10), 100: np.repeat(of_texts(50), 3, axis=0)}
    shaky = {10: of_texts(10), 100: np.concatenate([of_texts(60), of_texts(60), of_texts(30)])}
    assert lucky[100].mean() == shaky[100].mean()
    assert break_even(lucky, of_texts(30)[0]).high == 100
    assert break_even(shaky, of_texts(30)[0]).high is None


@pytest.mark.parametrize("means", [(0.55, 0.66, 0.78, 0.84), (0.60, 0.72, 0.75, 0.755)], ids=["steep", "then flat"])
def test_the_interval_of_the_break_even_holds_it(means: tuple[float, ...]) -> None:
    rng, held, sizes = np.random.default_rng(0), 0, (10, 50, 200, 1000)
    for _ in range(200):
        students = [Side(10, mean, 0.1, 0.01) for mean in means]
        *curve, teacher = right_answers(rng, 200, [*students, Side(1, 0.74)], 0.5)
        found = break_even(dict(zip(sizes, curve, strict=True)), teacher[0])
        held += found.low is not None and found.low <= 200 and (found.high is None or found.high >= 200)
    assert held / 200 >= 0.93


def test_the_gap_that_a_test_set_shows() -> None:
    # The smallest test set of the paper: 6 points where one answer in ten is right on one side alone.
    assert detectable_gap(204, 0.1) == pytest.approx(0.062, abs=0.001)
    assert detectable_gap(204, 0.35) == pytest.approx(0.115, abs=0.001)
    # Connor's sample size for a gap of 0.1 with 0.3 discordant, by hand: (1.96 * 0.5477 + 0.8416 * 0.5385)^2 / 0.01
    assert detectable_gap(233, 0.3) == pytest.approx(0.1, abs=0.0005)


def test_more_texts_more_power_or_less_confidence() -> None:
    gap = detectable_gap(200, 0.1)
    assert gap is not None
    for other in (detectable_gap(400, 0.1), detectable_gap(200, 0.1, power=0.5), detectable_gap(200, 0.1, 0.8, 0.8)):
        assert other is not None
        assert other < gap


def test_a_gap_is_no_wider_than_what_the_sides_disagree_about() -> None:
    assert detectable_gap(50, 0.0) == detectable_gap(50, 0.1) == pytest.approx(0.15, abs=0.001)
    assert detectable_gap(3, 0.5) is None


@pytest.mark.parametrize(("n_texts", "share"), [(204, 0.1), (204, 0.35)])
def test_the_gap_is_found_about_four_times_out_of_five(n_texts: int, share: float) -> None:
    gap, rng = detectable_gap(n_texts, share), np.random.default_rng(0)
    assert gap is not None
    found = 0
    for _ in range(1000):
        draw = rng.random((1, n_texts))
        only_a, only_b = draw < (share + gap) / 2, draw > 1 - (share - gap) / 2
        found += compare_paired(only_a, only_b).p_value < 0.05
    assert 0.77 <= found / 1000 <= 0.88


LINEAR, ENCODER = right("x" * 35 + "." * 5), right("x" * 34 + "...xxx")


def test_of_those_not_separable_the_cheapest_wins() -> None:
    choice = choose({"encoder": ENCODER, "linear": LINEAR}, {"encoder": 40.0, "linear": 1.0})
    assert choice.winner == "linear"
    assert choice.reason == (
        "linear: 0.875 on 40 validation texts, not separable from encoder 0.925 "
        "(difference 0.050, 95 % interval -0.071 to 0.166), and 40 × cheaper to serve"
    )
    assert [(s.name, s.mean, s.cost, s.separable) for s in choice.table] == [
        ("encoder", 0.925, 40.0, False),
        ("linear", 0.875, 1.0, False),
    ]
    assert choice.table[1].difference == pytest.approx(-0.05)


@pytest.mark.parametrize(
    ("candidates", "cost", "winner", "reason"),
    [
        pytest.param(
            {"poor": right("x" * 10 + "." * 30), "good": ENCODER},
            {"poor": 1, "good": 900},
            "good",
            "good: 0.925 on 40 validation texts, better than poor 0.250 beyond chance",
            id="the better one, whatever it costs",
        ),
        pytest.param(
            {"poor": right("x" * 10 + "." * 30), "bad": right("." * 40), "good": ENCODER},
            {"poor": 1, "bad": 1, "good": 900},
            "good",
            "good: 0.925 on 40 validation texts, better than poor 0.250 and all others beyond chance",
            id="the better of many",
        ),
        pytest.param(
            {"linear": LINEAR, "encoder": ENCODER},
            {"linear": 2, "encoder": 1},
            "encoder",
            "encoder: 0.925 on 40 validation texts, the best; linear not separable from it, but no cheaper to serve",
            id="the best is the cheapest",
        ),
        pytest.param(
            {"big": ENCODER, "small": ENCODER},
            {"big": 5.0, "small": 4.0},
            "small",
            "small: 0.925 on 40 validation texts, the best; big not separable from it, but no cheaper to serve",
            id="as good",
        ),
        pytest.param(
            {"linear": LINEAR, "encoder": ENCODER},
            {"linear": 4.0, "encoder": 5.0},
            "linear",
            "linear: 0.875 on 40 validation texts, not separable from encoder 0.925 "
            "(difference 0.050, 95 % interval -0.071 to 0.166), and 20 % cheaper to serve",
            id="somewhat cheaper",
        ),
        pytest.param(
            {"linear": LINEAR, "encoder": ENCODER},
            {"linear": ("cpu", 1), "encoder": ("gpu", 1)},
            "linear",
            "linear: 0.875 on 40 validation texts, not separable from encoder 0.925 "
            "(difference 0.050, 95 % interval -0.071 to 0.166), and cheaper to serve",
            id="costs that only sort",
        ),
        pytest.param({"only": LINEAR}, {"only": 1}, "only", "only: 0.875 on 40 validation texts, the only candidate"),
    ],
)
def test_the_choice(candidates: dict[str, np.ndarray], cost: dict[str, object], winner: str, reason: str) -> None:
    choice = choose(candidates, cost)
    assert (choice.winner, choice.reason) == (winner, reason)
    assert choose(dict(reversed(candidates.items())), cost) == choice


def test_the_cheapest_does_not_win_where_it_is_shown_to_be_worse() -> None:
    candidates = {"tiny": right("x" * 15 + "." * 25), "linear": LINEAR, "encoder": ENCODER}
    choice = choose(candidates, {"tiny": 0.1, "linear": 1, "encoder": 40})
    assert choice.winner == "linear"
    assert {s.name: s.separable for s in choice.table} == {"encoder": False, "linear": False, "tiny": True}
    # Three candidates are three pairs, whose intervals hold together.
    assert choice.table[1].interval == compare_paired(LINEAR, ENCODER, 1 - 0.05 / 3).interval


def test_among_equals_the_cheapest_is_seldom_lost_and_none_told_apart() -> None:
    rng, lost, separable, samples = np.random.default_rng(0), 0, 0, 300
    for _ in range(samples):
        said = right_answers(rng, 200, [Side(1, 0.75)] * 4, 0.5)
        choice = choose({str(i): marks for i, marks in enumerate(said)}, {str(i): i for i in range(4)})
        lost += choice.winner != "0"
        separable += any(standing.separable for standing in choice.table)
    assert lost <= separable <= samples * (0.05 + 2 * (0.05 * 0.95 / samples) ** 0.5)


def test_the_choice_has_no_way_to_a_test_set() -> None:
    assert list(inspect.signature(choose).parameters) == ["candidates", "cost", "confidence"]


def test_a_break_even_says_how_sure_it_is() -> None:
    assert BreakEven(50, 20, 100, [20, 50, 100], 0.9).told().endswith("(90 % interval: 20 or less to 100)")
