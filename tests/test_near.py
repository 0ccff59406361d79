import random
import string

import numpy as np
import pytest

from polydistill import near
from polydistill.near import Match, NearIndex, Nearness, jaccard, near_copies, near_repeats, one_word_apart

SOBOTA = "Kdaj odprete v soboto?"
BY_GRAMS = Nearness(0.6, one_word=False)
BY_WORDS = Nearness(1.0, one_word=True)


def random_texts(seed: int, n: int) -> list[str]:
    """Return texts of few letters, so that many are alike, and each once more with one letter changed."""
    rng = random.Random(seed)
    texts = ["".join(rng.choices("abcdefgh", k=rng.randint(3, 30))) for _ in range(n)]
    for text in texts[:]:
        place = rng.randrange(len(text))
        texts.append(text[:place] + rng.choice(string.ascii_lowercase) + text[place + 1 :])
    rng.shuffle(texts)
    return texts


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.7, 0.9, 1.0])
def test_what_is_found_is_near_and_nearly_all_that_is_near_is_found(similarity: float) -> None:
    texts, tests = random_texts(1, 300), random_texts(2, 300)[:200] + random_texts(1, 300)[:100]
    found = near_copies(texts, tests, Nearness(similarity, one_word=False))
    best = [max(jaccard(text, test) for test in tests) for text in texts]
    assert all(match.similarity == jaccard(texts[i], tests[match.index]) >= similarity for i, match in found.items())
    wanted = [i for i, value in enumerate(best) if value >= similarity]
    assert len(found) >= 0.98 * len(wanted) > 0
    index = NearIndex(Nearness(similarity, one_word=False))
    for test in tests:
        index.add(test)
    assert {i: match for i, text in enumerate(texts) if (match := index.most_similar(text))} == found


def test_the_similarity_is_that_of_character_3_grams() -> None:
    assert jaccard("abcd", "abce") == 1 / 3  # abc, bcd against abc, bce
    assert jaccard("A b, c.", "abc") == 1
    assert jaccard("ab", "abc") == 0


@pytest.mark.parametrize("text", ["Ne!", "?", "5", "ja"])
def test_a_text_without_a_3_gram_is_compared_whole(text: str) -> None:
    assert near_copies([text], ["Nekaj", text], BY_GRAMS) == {0: Match(1, 1.0)}
    assert near_copies([text], ["Nekaj"], BY_GRAMS) == {}


@pytest.mark.parametrize(
    "other",
    [
        pytest.param("Kdaj odprete v nedeljo?", id="another word"),
        pytest.param("Kdaj odprete v soboto zjutraj?", id="one more"),
        pytest.param("Kdaj odprete soboto?", id="one less"),
        pytest.param("Kdaj v odprete soboto?", id="two changed over"),
        pytest.param("odprete v soboto kdaj", id="moved to the end"),
        pytest.param("KDAJ odprete, v soboto", id="none"),
    ],
)
def test_one_word_makes_no_other_text(other: str) -> None:
    assert one_word_apart(SOBOTA, other)
    assert list(near_copies([other], [SOBOTA], BY_WORDS)) == [0]
    assert list(near_repeats([SOBOTA, other], ["a", "a"], BY_WORDS)) == [1]
    index = NearIndex(BY_WORDS)
    index.add(SOBOTA)
    assert index.most_similar(other)


@pytest.mark.parametrize("other", ["Kdaj zaprete v nedeljo?", "Ali odprete v soboto zjutraj?", "Kdaj?", ""])
def test_two_words_do(other: str) -> None:
    assert not one_word_apart(SOBOTA, other)
    assert near_copies([other], [SOBOTA], BY_WORDS) == {}


def test_two_texts_of_two_words_are_never_one_word_apart() -> None:
    assert not one_word_apart("hvala lepa", "hvala vam")
    assert one_word_apart("hvala lepa", "hvala vam lepa")


@pytest.mark.parametrize("length", [3, 39, 40])
def test_one_word_is_looked_for_in_texts_of_many_words(length: int) -> None:
    words = [f"beseda{i}" for i in range(length)]
    assert list(near_copies([" ".join([*words[:-1], "druga"])], [" ".join(words)], BY_WORDS)) == [0]


def test_in_a_text_of_more_than_40_words_one_word_is_no_matter() -> None:
    words = [f"beseda{i}" for i in range(41)]
    other = " ".join([*words[:-1], "druga"])
    assert near_copies([other], [" ".join(words)], BY_WORDS) == {}
    assert list(near_copies([other], [" ".join(words)], Nearness(0.8, one_word=True))) == [0]


@pytest.mark.parametrize("similarity", [0.5, 0.8])
def test_pairs_at_the_very_similarity_are_found(similarity: float) -> None:
    rng = random.Random(5)
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + 5_000)))  # so many that no 3-gram is there twice
    n = 27 if similarity == 0.8 else 12  # of n + 1 letters at the end of n 3-grams
    shared = ["".join(rng.sample(letters, n + 2)) for _ in range(1_000)]
    k = round(n * (1 - similarity) / (2 * similarity))  # 3-grams of its own of each side
    pairs = [("".join(rng.sample(letters, k)) + text, text + "".join(rng.sample(letters, k))) for text in shared]
    values = [jaccard(*pair) for pair in pairs]
    assert min(values) >= similarity
    assert max(values) < similarity + 0.03
    found = near_copies([one for one, _ in pairs], [other for _, other in pairs], Nearness(similarity, one_word=False))
    assert len(found) >= 980


def test_the_most_similar_is_named_and_of_equals_the_first() -> None:
    texts = ["Kdaj odprete?", "kdaj odprete v soboto", SOBOTA]
    assert near_copies([SOBOTA], texts, BY_GRAMS) == {0: Match(1, 1.0)}
    assert near_copies(["Kdaj odprete v sobote?"], texts, BY_GRAMS)[0].told(texts, BY_GRAMS).endswith(texts[1])


def test_nothing_is_near_to_nothing() -> None:
    assert near_copies([SOBOTA], [], BY_GRAMS) == near_copies([], [SOBOTA], BY_GRAMS) == {}
    assert near_repeats([], [], BY_GRAMS) == {}
    index = NearIndex(BY_GRAMS)
    assert index.most_similar(SOBOTA) is None
    assert len(index) == 0


def test_texts_of_other_groups_are_left_alone() -> None:
    texts = ["Prosim, naročite me v torek ob osmih.", "Prosim, naročite me v torek ob devetih."]
    for nearness in (BY_GRAMS, BY_WORDS):
        assert list(near_repeats(texts, ["book", "book"], nearness)) == [1]
        assert near_repeats(texts, ["book", "move"], nearness) == {}


def test_a_chain_goes_only_as_far_as_texts_that_stay() -> None:
    chain = ["aaaabbbbccccddddeeee", "bbbbccccddddeeeeffff", "ccccddddeeeeffffgggg"]
    assert jaccard(chain[0], chain[1]) == jaccard(chain[1], chain[2]) > 0.6 > jaccard(chain[0], chain[2])
    assert list(near_repeats(chain, ["a"] * 3, BY_GRAMS)) == [1]


def test_many_alike_texts_leave_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_WINDOW", 3)
    texts = [f"Prosim, naročite me na pregled k zdravniku, številka {i:03}." for i in range(200)]
    assert sorted(near_repeats(texts, ["a"] * 200, BY_GRAMS)) == list(range(1, 200))
    assert sorted(near_repeats(texts, ["a"] * 200, BY_WORDS)) == list(range(1, 200))


@pytest.mark.parametrize("window", [3, 64])
def test_what_stays_holds_nothing_near_and_what_goes_is_near_to_it(
    window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near, "_WINDOW", window)
    days = ["torek", "sredo", "petek", "četrtek"]
    texts = random_texts(3, 400) + [
        f"Naročite me v {day} ob {n}. uri zjutraj, hvala" for n in range(99) for day in days
    ]
    gone = near_repeats(texts, ["a"] * len(texts), BY_GRAMS)
    stays = [text for i, text in enumerate(texts) if i not in gone]
    assert 0 < len(stays) < len(texts)
    assert near_repeats(stays, ["a"] * len(stays), BY_GRAMS) == {}
    assert all(match.index not in gone for match in gone.values())
    assert all(jaccard(texts[i], texts[match.index]) == match.similarity >= 0.6 for i, match in gone.items())


@pytest.mark.parametrize("n", [8, 9, 12, 26])
def test_of_texts_that_differ_in_one_word_the_first_stays(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_WINDOW", 8)
    texts = [f"naročite me {chr(97 + i % 26) * 9 + str(i)}" for i in range(n)]
    assert max(jaccard(texts[0], text) for text in texts[1:]) < 0.6
    assert list(near_repeats(texts, ["a"] * n, Nearness(0.9, one_word=True))) == list(range(1, n))


@pytest.mark.parametrize("window", [8, 64])
def test_the_first_of_near_texts_stays_however_crowded(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_WINDOW", window)
    wrong = wanted = 0
    for seed in range(12):
        rng = random.Random(seed)
        words = ["".join(rng.choices("abcdefgh", k=rng.randint(2, 5))) for _ in range(20)]
        opening = "naročite me v " if seed % 2 else ""  # with it texts are alike, but not near
        texts = [opening + " ".join(rng.choices(words, k=rng.randint(1, 6))) for _ in range(120)]
        nearness = Nearness(0.7, one_word=seed % 3 == 0)
        found = near_repeats(texts, ["a"] * len(texts), nearness)
        first = first_stays(texts, nearness)
        wrong += len(set(found) ^ set(first))
        wanted += len(first)
        both = set(found) & set(first)
        wrong += sum(found[i] != first[i] for i in both)
    assert wrong <= 0.01 * wanted


def first_stays(texts: list[str], nearness: Nearness) -> dict[int, Match]:
    """Return which texts go, by comparing each with all before it that stay."""
    gone: dict[int, Match] = {}
    for i, text in enumerate(texts):
        matches = [
            Match(j, jaccard(text, texts[j]))
            for j in range(i)
            if j not in gone
            and (
                jaccard(text, texts[j]) >= nearness.similarity or (nearness.one_word and one_word_apart(text, texts[j]))
            )
        ]
        if matches:
            gone[i] = min(matches, key=lambda match: (-match.similarity, match.index))
    return gone


def test_it_makes_no_difference_how_many_texts_are_hashed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*random_texts(6, 40), *(f"naročite me {letter * 9}" for letter in "xyz")]
    groups = ["a", "b"] * 40 + ["a"] * 3
    nearness = Nearness(0.6, one_word=True)
    at_once = near_repeats(texts, groups, nearness)
    monkeypatch.setattr(near, "_BLOCK", 8)
    monkeypatch.setattr(near, "_CHUNK", 4)
    assert near_repeats(texts, groups, nearness) == at_once
    assert at_once


def test_empty_texts_are_the_same() -> None:
    assert near_repeats(["", "abc", "", "xyz"], ["a"] * 4, Nearness(0.8, one_word=False)) == {2: Match(0, 1.0)}


@pytest.mark.parametrize("nearness", [BY_GRAMS, BY_WORDS])
def test_an_index_finds_what_a_search_of_all_at_once_does(nearness: Nearness) -> None:
    seeds = ["nujno naročite me jutri", "naročite me jutri zjutraj", "naročite me pojutrišnjem"]
    index = NearIndex(nearness)
    for seed in seeds:
        index.add(seed)
    for text in ("naročite me jutri popoldne", "nujno naročite me danes", "kdaj odprete vrata"):
        assert ({0: match} if (match := index.most_similar(text)) else {}) == near_copies([text], seeds, nearness)


def test_an_index_grows() -> None:
    index = NearIndex(BY_GRAMS)
    texts = random_texts(4, 100)
    assert [index.add(text) for text in texts] == list(range(200))
    assert index.most_similar(texts[150]) == Match(texts.index(texts[150]), 1.0)


def test_hashes_of_3_grams_are_spread_over_all_bits() -> None:
    bits = np.unpackbits(near.mixed(np.arange(10_000, dtype=np.uint64)).view(np.uint8)).reshape(-1, 64)
    assert abs(bits.mean(axis=0) - 0.5).max() < 0.03
