import numpy as np
import pytest

from polydistill.measure.surprise import CharacterModel, perplexity, surprises


def test_the_probabilities_of_all_next_characters_make_one() -> None:
    texts = ["abab", "abba", "aba", "abb", "ab"]  # the last three differ in what follows "ab": a, b, the end
    model = CharacterModel(texts)
    logs = model.log_probabilities(np.array([True, True, False, False, False]))
    following = [np.exp(logs[model.text == text][2]) for text in (2, 3, 4)]
    assert sum(following) == pytest.approx(1)


def test_what_was_seen_is_less_surprising() -> None:
    seen, foreign = ["kdaj ste odprti", "kdaj ste zaprti"] * 5, ["quand ouvrez-vous"] * 10
    folds = np.arange(10) % 5
    sums = surprises((seen, foreign), (folds, folds))
    rows = np.eye(2, dtype=bool).repeat(10, axis=1)
    of_seen, of_foreign = perplexity(sums[0], rows)
    assert of_seen < 2 < 10 < of_foreign


def test_one_text_a_side_has_a_finite_perplexity() -> None:
    fold = np.array([0])
    sums = surprises((["a"], ["b"]), (fold, fold))
    assert np.isfinite(perplexity(sums[0], np.ones((1, 2), dtype=bool))).all()
