import random
from typing import Any

import pytest

from polydistill.checks import Context, TextCheck, open_checks
from polydistill.errors import ParamsError
from polydistill.params import CHECKS
from polydistill.records import Record, Sample, Source
from spaces import filter_params

SEEDS = ["Naročite me na pregled, prosim."]
TESTS = ["Do kdaj je danes odprt laboratorij?"]


def context(**changes: Any) -> Context:
    return Context(**{"language": "sl", "languages": ["sl"], "seeds": SEEDS, "tests": TESTS, **changes})


def sample(text: str, label: str = "book", decision: str | None = "accept", reason: str = "") -> Sample:
    return Sample(Record(text, label, "sl", "synthetic", Source()), decision, reason)


def find(name: str, *samples: Sample, **changes: Any) -> dict[int, str]:
    check = next(check for check in open_checks(filter_params(**changes), context()) if check.reason == name)
    return check.find(samples)


def test_checks_come_in_the_order_of_params_yaml() -> None:
    names = ["near_duplicate", "empty", "test_leak"]
    assert [check.reason for check in open_checks(filter_params(checks=names, mark=[]), context())] == names


def test_every_file_holds_a_check_that_says_what_it_looks_for() -> None:
    params = filter_params(checks=list(CHECKS), mark=["doubtful_label"], similar_meaning__model="a-model")
    checks = open_checks(params, context())
    assert [check.reason for check in checks] == list(CHECKS)
    assert len({check.meaning for check in checks}) == len(CHECKS)


def test_params_yaml_lists_all_checks_but_the_one_that_needs_a_model() -> None:
    assert set(CHECKS) - set(filter_params().checks) == {"similar_meaning"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"checks": ["emty"]}, "'emty' is no check; did you mean `empty`?", id="misspelt"),
        pytest.param({"checks": ["toxicity"]}, "'toxicity' is no check; there are conflicting_label, ", id="unknown"),
        pytest.param({"checks": ["empty", "empty"], "mark": []}, "checks names empty more than once", id="twice"),
        pytest.param({"checks": ["empty"], "mark": ["markup"]}, "mark names markup, which checks does not", id="mark"),
        pytest.param({"checks": ["doubtful_label", "empty"], "mark": []}, "doubtful_label, .* comes last", id="last"),
        pytest.param({"too_short__min_chars": 3000}, "too_short.min_chars 3000 is larger than", id="order"),
        pytest.param({"test_leak__similarity": 1.5}, "test_leak.similarity: 1.5 is not allowed", id="similarity"),
        pytest.param({"near_duplicate__min_held": 3}, "near_duplicate.min_held is no known key", id="foreign key"),
    ],
)
def test_a_wrong_setting_is_explained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        filter_params(**changes)


def test_a_model_must_be_named_for_similar_meaning() -> None:
    with pytest.raises(ParamsError, match="similar_meaning.model: name a sentence-embedding model"):
        filter_params(checks=["similar_meaning"], mark=[])


def test_looking_at_all_texts_says_the_same_as_looking_at_each() -> None:
    texts = ["?!...", "Da.", "Text: Kdaj odprete?", "I would like to see a dentist next week.", SEEDS[0], "Kdaj?"]
    for check in open_checks(filter_params(), context()):
        if isinstance(check, TextCheck):
            each = {i: detail for i, text in enumerate(texts) if (detail := check.fault(text)) is not None}
            assert check.find([sample(text) for text in texts]) == each, check.reason


@pytest.mark.parametrize(
    "text",
    ["!" * 100_000, "a" * 100_000 + " #", "**a " * 25_000, "[" * 100_000, "- " * 50_000, "beseda druga " * 8_000],
)
def test_a_very_long_text_does_not_take_for_ever(text: str) -> None:
    for check in open_checks(filter_params(), context()):
        assert len(check.find([sample(text), sample("Kdaj odprete?")])) <= 2


def test_exact_duplicates_keep_the_first() -> None:
    samples = [sample(text) for text in ("Kdaj odprete?", "kdaj  odprete", "Kdaj?", "KDAJ ODPRETE!")]
    assert find("exact_duplicate", *samples) == {1: "Kdaj odprete?", 3: "Kdaj odprete?"}


def test_a_text_under_two_labels_is_a_conflict_for_both() -> None:
    texts = ("Kdaj odprete?", "kdaj odprete", "Kdaj zaprete?")
    samples = [sample(text, label) for text, label in zip(texts, ("hours", "book", "hours"), strict=True)]
    assert find("conflicting_label", *samples) == {0: "book", 1: "hours"}
    assert find("conflicting_label", *(sample(text) for text in texts)) == {}


def test_near_duplicates_are_of_one_label() -> None:
    texts = ["Prosim, naročite me v torek ob osmih.", "Prosim, naročite me v torek ob devetih."]
    nearness = {"near_duplicate__similarity": 0.6}
    assert find("near_duplicate", *map(sample, texts), **nearness) == {1: f"0.65 like: {texts[0]}"}
    assert find("near_duplicate", sample(texts[0]), sample(texts[1], "move"), **nearness) == {}


def test_one_word_makes_a_near_duplicate_where_it_is_asked_for() -> None:
    samples = [sample("Kdaj odprete jutri?"), sample("Kdaj odprete danes?")]
    assert find("near_duplicate", *samples, near_duplicate__one_word=False) == {}
    found = find("near_duplicate", *samples)
    assert found == {1: "one word apart from: Kdaj odprete jutri?"}


def test_a_copied_seed_names_the_seed() -> None:
    assert find("copied_seed", sample("Naročite me na pregled prosim!"), sample("Kdaj odprete?")) == {
        0: "1.00 like: Naročite me na pregled, prosim."
    }


def test_a_judge_is_heeded_only_where_there_was_to_be_one() -> None:
    samples = [
        sample("Kaj pa jutri?", decision=None, reason="no JSON"),
        sample("Kaj?", decision="reject", reason="rude"),
    ]
    assert find("no_verdict", *samples) == {0: "no JSON"}
    assert find("judge_rejected", *samples) == {1: "rude"}
    for check in open_checks(filter_params(), context(self_revision=False)):
        if check.reason in ("no_verdict", "judge_rejected"):
            assert check.find(samples) == {}


DAYS = ["ponedeljek", "torek", "sredo", "četrtek", "petek", "soboto", "nedeljo"]
OPEN = [f"Ali ste v {day} odprti {part}?" for day in DAYS for part in ("zjutraj", "popoldne")]
BOOK = [f"Prosim, naročite me k {who} v {day}." for day in DAYS for who in ("zobarju", "okulistu")]


def test_a_label_that_the_other_texts_contradict_is_doubtful() -> None:
    right = [*(sample(text, "hours") for text in OPEN), *(sample(text, "book") for text in BOOK)]
    assert find("doubtful_label", *right) == {}
    wrong = sample("Ali ste v torek odprti opoldne?", "book")
    found = find("doubtful_label", *right, wrong)
    assert list(found) == [len(right)]
    assert found[len(right)].startswith("rather hours, 1.00 against 0.00")


def test_doubts_do_not_depend_on_the_order_and_end() -> None:
    samples = [*(sample(text, "hours") for text in OPEN), *(sample(text, "book") for text in BOOK)]
    samples += [sample(text, "book") for text in OPEN[:3]] + [sample(text, "hours") for text in BOOK[:3]]
    found = find("doubtful_label", *samples)
    backwards = find("doubtful_label", *samples[::-1])
    assert {len(samples) - 1 - i: detail for i, detail in backwards.items()} == found != {}
    assert find("doubtful_label", *(s for i, s in enumerate(samples) if i not in found)) == {}


@pytest.mark.parametrize("seed", [0, 1, 8])
def test_among_what_is_left_no_label_is_doubtful(seed: int) -> None:
    texts = [*((text, "hours") for text in OPEN), *((text, "book") for text in BOOK)]
    wrong = random.Random(seed).sample(range(len(texts)), 7)
    other = {"hours": "book", "book": "hours"}
    samples = [sample(text, other[label] if i in wrong else label) for i, (text, label) in enumerate(texts)]
    found = find("doubtful_label", *samples)
    assert set(found) == set(wrong)
    assert find("doubtful_label", *(s for i, s in enumerate(samples) if i not in found)) == {}


@pytest.mark.parametrize("samples", [[], [sample("Kdaj?")], [sample("Kdaj?"), sample("Kam?", "book")]])
def test_without_several_labels_none_is_doubtful(samples: list[Sample]) -> None:
    assert find("doubtful_label", *samples) == {}
