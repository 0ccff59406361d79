import pytest

from polydistill.filter import duplicates
from polydistill.text import fold

TEXTS = ["Kdaj odprete v soboto?", "kdaj odprete v soboto", "Kdaj odprete v nedeljo?", "Naročite me, prosim.", "Ne."]


def jaccard(one: str, other: str) -> float:
    first, second = ({f[i : i + 4] for i in range(len(f) - 3)} or {f} for f in (fold(one), fold(other)))
    return len(first & second) / len(first | second)


@pytest.mark.parametrize("threshold", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("block", [1, 7, 4_000_000])
def test_similar_agrees_with_comparing_one_by_one(
    threshold: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK_CELLS", block)
    others = [*reversed(TEXTS), "ฉันต้องการนัดหมอ"]
    found = {
        (i, int(j)): float(similarity)
        for i, columns, similarities in duplicates.similar(TEXTS, others, threshold)
        for j, similarity in zip(columns, similarities, strict=True)
    }
    wanted = {
        (i, j): pytest.approx(jaccard(one, other))
        for i, one in enumerate(TEXTS)
        for j, other in enumerate(others)
        if jaccard(one, other) >= threshold
    }
    assert found == wanted
    assert found


def test_similar_to_nothing() -> None:
    assert list(duplicates.similar(TEXTS, [], 0.1)) == []
    assert list(duplicates.similar([], TEXTS, 0.1)) == []


def test_copies_name_the_most_similar() -> None:
    found = duplicates.copies(["Kdaj odprete v sobote?"], ["Kdaj odprete?", "Kdaj odprete v soboto?"], 0.3)
    assert found == {0: "0.88 like: Kdaj odprete v soboto?"}


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
