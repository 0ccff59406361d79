"""Drift between two sides of texts: whether there is any, how much, and whether that matters."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from build import records
from polydistill.measure.diversity import Side, beside, share
from polydistill.measure.drift import Test as DriftTest
from polydistill.measure.drift import find_drift, judged, label_test, vocabulary_test
from polydistill.measure.sampling import around, standard_error, whole_and_halves
from polydistill.records import Record

WORDS = ["ena", "dva", "tri", "štiri", "pet", "šest", "sedem", "osem", "devet", "deset"]
TEXTS = [f"{one} {other}" for one, other in itertools.product(WORDS, WORDS)]
SIDE = records({"a": TEXTS[::2], "b": TEXTS[1::2]})
LIMITS = {"labels": 0.3, "properties": 0.3, "vocabulary": 0.9}


def drift(synthetic: Sequence[Record], human: Sequence[Record]) -> dict[str, Any]:
    return find_drift(synthetic, human, None, ["sl"], LIMITS, seed=1, permutations=179)


def test_no_drift_between_equal_sides() -> None:
    found = drift(SIDE, SIDE)
    assert found["verdict"] == "none"
    assert {test["effect"] for test in found["tests"].values()} == {0}


@pytest.mark.parametrize(
    ("planted", "name", "verdict"),
    [
        pytest.param(lambda r, i: f"{r.text}!!!", "share of punctuation", "important", id="every text"),
        pytest.param(lambda r, i: r.text + "!" * (i < 20), "share of punctuation", "small", id="a fifth of the texts"),
        pytest.param(
            lambda r, i: "When does the clinic open on Saturday?" if i < 60 else r.text,
            "another language",
            "important",
            id="another language",
        ),
    ],
)
def test_a_planted_drift_is_found(planted: Any, name: str, verdict: str) -> None:
    found = drift([replace(r, text=planted(r, i % 100)) for i, r in enumerate(SIDE)], SIDE)
    assert found["tests"][name]["verdict"] == found["verdict"] == verdict
    assert found["tests"]["labels"]["verdict"] == "none"


def test_other_label_shares_are_a_drift_of_the_labels_alone() -> None:
    found = drift(records({"a": TEXTS[:98], "b": TEXTS[98:]}), SIDE)
    assert found["tests"]["labels"]["verdict"] == "important"
    assert found["tests"]["labels"]["effect"] == pytest.approx(0.48)
    assert {name for name, test in found["tests"].items() if test["verdict"] != "none"} == {"labels"}


def test_the_same_shift_is_no_drift_with_few_texts_and_a_small_one_with_many() -> None:
    def of_size(n: int) -> DriftTest:
        return label_test((["a"] * 6 * n + ["b"] * 4 * n, ["a"] * 5 * n + ["b"] * 5 * n), 999, seed=1)

    few, many = of_size(1), of_size(100)
    assert few.effect == many.effect == pytest.approx(0.1)
    assert few.p_value > 0.5
    assert many.p_value == 0.001
    assert judged({"labels": many}, LIMITS)["verdict"] == "small"


def test_alarms_without_drift_are_as_rare_as_they_should_be() -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(60):
        order = rng.permutation(len(SIDE))
        sides = [SIDE[i] for i in order[:50]], [SIDE[i] for i in order[50:]]
        found = find_drift(*sides, None, ["sl"], LIMITS, seed=int(rng.integers(1000)), permutations=179)
        alarms += found["verdict"] != "none"
    assert alarms <= 6  # 3 are to be expected, more than 6 one time in thirty


def test_p_values_of_several_questions_are_corrected() -> None:
    def test(question: str, p_value: float) -> DriftTest:
        return DriftTest(question, "", 0.5, [0.4, 0.6], p_value)

    found = judged(
        {"labels": test("labels", 0.02), "words": test("properties", 0.04), "vocabulary": test("vocabulary", 0.03)},
        LIMITS,
    )
    assert {name: of["p_value"] for name, of in found["tests"].items()} == {
        "labels": 0.06,
        "words": 0.06,
        "vocabulary": 0.06,
    }
    assert found["verdict"] == "none"


def test_the_size_of_a_drift_of_the_vocabulary_is_how_far_the_auc_is_from_a_half() -> None:
    test = vocabulary_test({"value": 0.8, "interval": [0.45, 0.9]}, 0.001)
    assert test is not None
    assert (test.effect, test.interval) == (pytest.approx(0.6), [0.0, pytest.approx(0.8)])
    assert vocabulary_test({"value": None, "interval": None}, None) is None


def test_a_limit_is_told_as_it_was_meant() -> None:
    test = DriftTest("vocabulary", "", 0.5, [0.4, 0.6], 0.5)
    told = judged({"vocabulary": test}, {"vocabulary": 2 * 0.95 - 1})  # 0.8999999999999999
    assert told["tests"]["vocabulary"]["limit"] == 0.9


def test_halves_hold_half_of_each_label_and_no_text_twice() -> None:
    rows = whole_and_halves(["a"] * 6 + ["b"] * 3, seed=1)
    assert rows[0].all()
    assert set(rows[1:, :6].sum(axis=1)) == {3}
    assert set(rows[1:, 6:].sum(axis=1)) == {1, 2}


def test_the_spread_over_halves_is_the_standard_error() -> None:
    values = np.random.default_rng(1).normal(size=400)
    rows = whole_and_halves([""] * 400, seed=1)
    error = standard_error(share(values)(rows))
    assert error == pytest.approx(values.std(ddof=1) / 20, rel=0.25)  # 100 halves give it to about 7 %


def test_an_interval_ends_where_values_do() -> None:
    assert around(0.9, 0.1, 0.0, 1.0) == [pytest.approx(0.704, abs=1e-4), 1.0]
    assert around(0.9, None) is None


def test_a_difference_is_measured_with_its_interval() -> None:
    sides = [Side.of(records({"a": [f"{i}" for i in range(n)]}), seed=n) for n in (40, 60)]
    ones = share(np.array([1.0] * 30 + [0.0] * 10)), share(np.array([1.0] * 30 + [0.0] * 30))
    told = beside("language_purity", ones, (sides[0], sides[1]), label=None)
    assert (told["synthetic"], told["human"], told["difference"]) == (0.75, 0.5, 0.25)
    low, high = told["intervals"]["difference"]
    assert low == pytest.approx(0.25 - 1.96 * (0.75 * 0.25 / 40 + 0.25 / 60) ** 0.5, abs=0.05)
    assert high == pytest.approx(0.5 - low, abs=1e-5)
