"""When a label is doubted: by how sure the student is, and by how sure it is of others."""

import numpy as np
import pytest

from polydistill.checks.doubtful_label import DoubtfulLabel, confident, probabilities
from polydistill.records import Record, Sample, Source

# Of two labels: how likely each is for six texts, of which the last is the one in question.
LIKELY = [[0.99, 0.01], [0.99, 0.01], [0.99, 0.01], [0.2, 0.8], [0.2, 0.8]]
GIVEN = [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("of_the_other", "least", "doubted"),
    [
        pytest.param(0.995, 0.95, True, id="surer than of the other label's own texts"),
        pytest.param(0.97, 0.95, False, id="as sure as asked for, but not as of the other label's own texts"),
        pytest.param(0.995, 0.999, False, id="not as sure as asked for"),
    ],
)
def test_a_label_is_doubted_where_the_student_is_surer_than_usual(
    of_the_other: float, least: float, doubted: bool
) -> None:
    likely = np.array([*LIKELY, [of_the_other, 1 - of_the_other]])
    assert confident(likely, np.array(GIVEN), 2, least).tolist() == [-1] * 5 + [0 if doubted else -1]


def test_a_label_without_texts_is_never_the_better_one() -> None:
    assert confident(np.array([[0.01, 0.99]]), np.array([0]), 2, 0.5).tolist() == [-1]


def test_a_text_four_times_as_long_makes_twice_as_sure() -> None:
    weights = np.log(np.array([[0.6, 0.4], [0.4, 0.6]]))
    features, ends = np.array([0] + [0] * 4, dtype=np.int32), np.array([0, 1, 5])
    short, long = np.log(probabilities(features, ends, np.array([0, 1]), weights))
    assert long[0] - long[1] == pytest.approx(2 * (short[0] - short[1]))


def test_a_text_under_a_wrong_label_is_doubted_and_the_right_one_named() -> None:
    texts = {
        "hours": [f"kdaj odprete vrata ordinacije ob uri {i}" for i in range(20)],
        "pay": [f"koliko stane zdravilo brez recepta {i}" for i in range(20)],
    }
    rows = [(text, label) for label, of_label in texts.items() for text in of_label]
    rows.append(("koliko stane zdravilo brez recepta 21", "hours"))
    samples = [Sample(Record(text, label, "sl", "synthetic", Source())) for text, label in rows]
    found = DoubtfulLabel(folds=5, min_probability=0.9).find(samples)
    assert list(found) == [40]
    assert found[40].startswith("rather pay, ")
