import random

import pytest

from polydistill.checks import duplicates
from polydistill.checks.duplicates import NearIndex
from polydistill.text import fold

TEXTS = ["Kdaj odprete v soboto?", "kdaj odprete v soboto", "Kdaj odprete v nedeljo?", "Naročite me, prosim.", "Ne."]


def jaccard(one: str, other: str) -> float:
    first, second = ({f[i : i + 4] for i in range(len(f) - 3)} or {f} for f in (fold(one), fold(other)))
    return len(first & second) / len(first | second)


def index_of(texts: list[str], threshold: float) -> NearIndex:
    index = NearIndex(threshold)
    assert [index.add(text) for text in texts] == list(range(len(texts)))
    return index


@pytest.mark.parametrize("threshold", [0.05, 0.3, 1 / 3, 0.5, 0.6, 2 / 3, 0.7, 0.9, 1.0])
def test_the_index_agrees_with_comparing_one_by_one(threshold: float) -> None:
    # Few letters make few 4-grams, so that many texts are alike, equally alike, or alike to exactly the threshold.
    rng = random.Random(threshold)
    texts = ["".join(rng.choices("aab", k=rng.randrange(24))) for _ in range(200)] + TEXTS
    rng.shuffle(texts)
    index = NearIndex(threshold)
    for i, text in enumerate(texts):
        likenesses = [jaccard(text, earlier) for earlier in texts[:i]]
        best = max(likenesses, default=0)
        assert index.most_similar(text) == ((likenesses.index(best), best) if best >= threshold else None)
        assert index.add(text) == i


@pytest.mark.parametrize("threshold", [0.07, 0.28, 0.29, 0.55, 0.7, 1.0])
def test_a_similarity_of_exactly_the_threshold_is_enough(threshold: float) -> None:
    # As floats, 0.07 * 100 is more than 7 and 0.29 * 100 is less than 29.
    letters = [chr(ord("\u4e00") + i) for i in range(103)]  # 100 4-grams, no two alike
    shared = round(threshold * 100)
    whole, part = "".join(letters), "".join(letters[: shared + 3])
    assert index_of([part], threshold).most_similar(whole) == (0, shared / 100)
    assert index_of([whole], threshold).most_similar(part) == (0, shared / 100)
    if threshold < 1:
        assert index_of([part[:-1]], threshold).most_similar(whole) is None


def test_the_first_of_equals_is_the_most_similar() -> None:
    assert index_of(["Ne.", *TEXTS[:2]], 0.7).most_similar("KDAJ ODPRETE V SOBOTO") == (1, 1.0)


@pytest.mark.parametrize("text", ["Ne!", "", "?", "5"])
def test_texts_without_a_4_gram_are_compared_whole(text: str) -> None:
    index = index_of([text, "Nekaj"], 0.1)
    assert index.most_similar(text) == (0, 1.0)
    assert index.most_similar("Da.") is None


def test_asking_adds_nothing() -> None:
    index = NearIndex(0.5)
    assert index.most_similar(TEXTS[0]) is None
    assert index.most_similar(TEXTS[0]) is None
    assert len(index) == 0
    index.add(TEXTS[0])
    assert len(index) == 1


def test_nothing_is_a_copy_of_nothing() -> None:
    assert duplicates.copies(TEXTS, [], 0.1) == {}
    assert duplicates.copies([], TEXTS, 0.1) == {}


def test_copies_name_the_most_similar() -> None:
    found = duplicates.copies(["Kdaj odprete v sobote?"], ["Kdaj odprete?", "Kdaj odprete v soboto?"], 0.3)
    assert found == {0: "0.88 like: Kdaj odprete v soboto?"}


def test_of_equals_the_first_is_named() -> None:
    found = duplicates.copies(["kdaj odprete v soboto"], ["Kdaj odprete?", "Kdaj odprete v soboto.", TEXTS[0]], 0.3)
    assert found == {0: "1.00 like: Kdaj odprete v soboto."}
    assert duplicates.near_repeats(["aaaab", "aaaac", "aaaa"], ["a"] * 3, 0.5) == {2: "0.50 like: aaaab"}


def test_repeats_keep_the_first() -> None:
    assert duplicates.repeats(TEXTS) == {1: TEXTS[0]}


def test_a_text_under_two_labels_is_a_conflict_for_both() -> None:
    assert duplicates.conflicts(TEXTS[:3], ["hours", "book", "hours"]) == {0: "book", 1: "hours"}
    assert duplicates.conflicts(TEXTS[:3], ["hours", "hours", "hours"]) == {}


def test_near_repeats_leave_texts_of_other_labels_alone() -> None:
    texts = ["Prosim, naročite me v torek ob osmih.", "Prosim, naročite me v torek ob devetih."]
    assert list(duplicates.near_repeats(texts, ["book", "book"], 0.6)) == [1]
    assert duplicates.near_repeats(texts, ["book", "move"], 0.6) == {}


def test_a_chain_of_near_repeats_goes_only_as_far_as_texts_that_stay() -> None:
    chain = ["aaaabbbbccccdddd", "bbbbccccddddeeee", "ccccddddeeeeffff"]
    assert jaccard(chain[0], chain[1]) == jaccard(chain[1], chain[2]) > 0.5 > jaccard(chain[0], chain[2])
    assert list(duplicates.near_repeats(chain, ["a"] * 3, 0.5)) == [1]
