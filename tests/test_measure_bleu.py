import numpy as np
import pytest
from sacrebleu.metrics import BLEU

from polydistill.measure.bleu import SelfBLEU

TEXTS = [
    "a b c d e f",
    "a b c d x y z",
    "a b a b a b",
    "a a a",
    "q",
    "u v",
    "d e f g h i j k l m n",
    "a b c d e f",
]


def by_sacrebleu(texts: list[str]) -> float:
    bleu = BLEU(smooth_method="exp", effective_order=True, tokenize="none")
    scores = [
        bleu.sentence_score(text, [other for j, other in enumerate(texts) if j != i]).score / 100
        for i, text in enumerate(texts)
    ]
    return float(np.mean(scores))


@pytest.mark.parametrize("chosen", [[0, 1], [0, 2, 3], [3, 4, 5], [1, 2, 6], list(range(8))])
def test_self_bleu_is_that_of_sacrebleu(chosen: list[int]) -> None:
    row = np.zeros((1, len(TEXTS)), dtype=bool)
    row[0, chosen] = True
    found = SelfBLEU([text.split() for text in TEXTS])(row)
    assert found == pytest.approx([by_sacrebleu([TEXTS[i] for i in chosen])])


def test_equal_texts_score_one_and_strangers_nought() -> None:
    both = np.ones((1, 2), dtype=bool)
    assert SelfBLEU([["a", "b", "c", "d"]] * 2)(both) == pytest.approx([1])
    assert SelfBLEU([["a", "b"], ["c", "d"]])(both) == pytest.approx([0])


def test_a_text_alone_or_without_words() -> None:
    assert np.isnan(SelfBLEU([["a"]])(np.ones((1, 1), dtype=bool))).all()
    assert SelfBLEU([[], []])(np.ones((1, 2), dtype=bool)) == pytest.approx([0])
