import pytest

from polydistill.checks import REASONS, first_fault, text_checks
from polydistill.checks.language import language_rule
from spaces import filter_params

PARAMS = filter_params(max_chars=90)
CHECKS = text_checks(PARAMS, language_rule("sl", ["sl"], PARAMS))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param("Rada bi prišla k zdravnici zaradi kašlja.", None, id="fine"),
        pytest.param("?!...", ("empty", "no letter, digit or symbol"), id="empty"),
        pytest.param("Da.", ("too_short", "3 characters, wanted 5"), id="too short"),
        pytest.param("Kdaj? " * 16, ("too_long", "96 characters, allowed 90"), id="too long and a loop: the first"),
        pytest.param("Text: Kdaj odprete?", ("markup", "a label: Text:"), id="markup"),
        pytest.param("da " * 8, ("repetition", "8 of 8 words are: da"), id="repetition"),
    ],
)
def test_the_first_fault_of_a_text_alone(text: str, fault: tuple[str, str] | None) -> None:
    assert first_fault(text, CHECKS) == fault


def test_a_text_in_another_language_has_a_fault() -> None:
    reason, detail = first_fault("I would like to see a dentist next week.", CHECKS) or ("", "")
    assert reason == "wrong_language"
    assert detail.startswith("en ")


def test_checks_come_in_the_order_of_the_reasons() -> None:
    assert list(CHECKS) == [reason for reason in REASONS if reason in CHECKS]


def test_no_checks_find_nothing() -> None:
    assert first_fault("?!...", {}) is None
