import pytest

from polydistill.checks.language import LanguageRule, language_rule
from spaces import filter_params


def rule_for(wanted: str, *, min_letters: int = 10, min_probability: float = 0.1) -> LanguageRule:
    params = filter_params(min_language_prob=min_probability, min_language_chars=min_letters)
    return language_rule(wanted, ["sl", "sw", "az"], params)


@pytest.mark.parametrize(
    ("wanted", "text", "found"),
    [
        pytest.param("sl", "What time do you open on Saturdays?", "en", id="English for Slovenian"),
        pytest.param("sw", "Please cancel my appointment on Monday.", "en", id="English for Swahili"),
        pytest.param("az", "Yarınki randevumu iptal etmek istiyorum.", "tr", id="Turkish for Azerbaijani"),
        pytest.param("sl", "Jesu li stigli nalazi koje sam vadila prošli tjedan?", "hr", id="Croatian for Slovenian"),
        pytest.param("sl", "Naomba kufuta miadi yangu ya Alhamisi.", "sw", id="another language of the task"),
    ],
)
def test_a_text_in_another_language_is_found(wanted: str, text: str, found: str) -> None:
    detail = rule_for(wanted)(text)
    assert detail is not None
    assert detail.startswith(f"{found} ")
    assert f", {wanted} 0." in detail


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("sl", "Rada bi se naročila na pregled pri zdravnici."),
        ("sw", "Naomba miadi na daktari wa meno wiki ijayo."),
        ("az", "Həkimin qəbuluna yazılmaq istəyirəm."),
        pytest.param("sl", "OK, email?", id="a loan word"),
    ],
)
def test_a_text_in_the_wanted_language_stays(wanted: str, text: str) -> None:
    assert rule_for(wanted)(text) is None


def test_a_text_with_few_letters_is_not_judged() -> None:
    assert rule_for("sl", min_letters=30)("What time do you open?") is None
    assert rule_for("sl", min_letters=10)("What time do you open?")


def test_both_must_hold_another_language_is_likelier_and_the_wanted_one_unlikely() -> None:
    slovenian, english = "Rada bi se naročila na pregled pri zdravnici.", "What time do you open on Saturdays?"
    assert rule_for("sl", min_probability=1.0)(slovenian) is None
    assert rule_for("sl", min_probability=0.0)(english) is None


def test_a_region_and_a_script_in_the_tag_do_no_harm() -> None:
    rule = language_rule("sl-Latn-SI", ["sl-Latn-SI"], filter_params())
    assert rule("Rada bi se naročila na pregled pri zdravnici.") is None
    assert rule("What time do you open on Saturdays?")


def test_nothing_is_found_for_a_language_that_the_identifier_lacks() -> None:
    rule = language_rule("ckb", ["ckb", "sl"], filter_params())
    assert not rule.known
    assert rule("What time do you open on Saturdays?") is None
