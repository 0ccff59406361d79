import pytest

from polydistill.leaks import find_leaks
from polydistill.params import LeakParams
from spaces import settings

TEST = "Ali lahko prestavite moj termin pri zobozdravniku na četrtek popoldne?"
TESTS = ["Kdaj odprete v soboto?", TEST]


def leak(text: str, **changes: float) -> str | None:
    params = LeakParams.model_validate(settings()["filter"]["test_leak"] | changes)
    found = find_leaks(["Nekaj čisto drugega je to.", text], TESTS, params)
    return found[1].told(TESTS) if 1 in found else None


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        pytest.param(TEST, f"1.00 like: {TEST}", id="the same"),
        pytest.param(TEST.upper().replace(" ", "  ").strip("?"), f"1.00 like: {TEST}", id="case, spaces, punctuation"),
        pytest.param("Kdaj zaprete v soboto?", "one word apart from: Kdaj odprete v soboto?", id="one word"),
        pytest.param(TEST.replace("četrtek", "petek"), "0.", id="nearly"),
        pytest.param(f"Dober dan, oglašam se iz Kranja. {TEST} Hvala in lep pozdrav!", f"holds: {TEST}", id="holding"),
        pytest.param("termin pri zobozdravniku na četrtek", f"a piece of: {TEST}", id="a piece"),
    ],
)
def test_a_leak_is_told_with_its_test_text(text: str, detail: str) -> None:
    assert (leak(text) or "").startswith(detail)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Rad bi odpovedal pregled pri okulistu.", id="something else"),
        pytest.param("Kdaj odprete?", id="a short piece is what everybody says"),
        pytest.param("Lepo prosim, povejte mi vendar, kdaj odprete v soboto?", id="a short text within a longer one"),
    ],
)
def test_other_texts_leak_nothing(text: str) -> None:
    assert leak(text) is None


def test_how_much_must_be_held_is_a_setting() -> None:
    text = "Lepo prosim, povejte mi vendar, kdaj odprete v soboto?"
    assert leak(text, min_held=18) == "holds: Kdaj odprete v soboto?"


def test_without_tests_or_texts_nothing_leaks() -> None:
    params = LeakParams.model_validate(settings()["filter"]["test_leak"])
    assert find_leaks([TEST], [], params) == find_leaks([], [TEST], params) == {}


@pytest.mark.parametrize("min_held", [3, 4, 5, 20])
def test_every_stretch_is_found_wherever_it_stands(min_held: int) -> None:
    whole = "abcdefghijklmnopqrstuvwxyzčšž"
    params = LeakParams(similarity=1.0, one_word=False, min_held=min_held)
    pieces = [whole[i : i + min_held] for i in range(len(whole) - min_held + 1)]
    assert sorted(find_leaks(pieces, [whole], params)) == list(range(len(pieces)))
    assert find_leaks([whole[: min_held - 1]], [whole], params) == {}
