import pytest

from polydistill.checks import rules


@pytest.mark.parametrize("text", ["", "  \n", "...", "\u200b\u200b", "?!"])
def test_a_text_that_says_nothing_is_empty(text: str) -> None:
    assert rules.empty(text)


@pytest.mark.parametrize("text", ["da", "5", "😀", "ใช่", "నిజం"])
def test_a_text_that_says_something_is_not_empty(text: str) -> None:
    assert rules.empty(text) is None


def test_lengths_count_code_points_and_the_limits_themselves_pass() -> None:
    assert rules.too_short("čaj", 3) is None
    assert rules.too_short("ča", 3) == "2 characters, wanted 3"
    assert rules.too_long("čaj", 3) is None
    assert rules.too_long("čaji", 3) == "4 characters, allowed 3"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<b>Kdaj odprete?</b>", "HTML"),
        ("Kdaj odprete?<br/>", "HTML"),
        ("Kdaj &amp; kje?", "HTML"),
        ("**Text:** Kdaj odprete?", "markdown"),
        ("Kdaj __točno__ odprete?", "markdown"),
        ("# Kdaj odprete?", "markdown"),
        ("[Kdaj odprete?](http://a.si)", "markdown"),
        ("Text: Kdaj odprete?", "a label"),
        ("Example 3: Kdaj odprete?", "a label"),
        ("(Note: these are six texts.)", "a label"),
        ('{"text": "Kdaj odprete?"}', "a label"),
        ("1. Kdaj odprete?", "a list"),
        ("12) kdaj odprete?", "a list"),
        ("- Kdaj odprete?", "a list"),
    ],
)
def test_leftovers_of_layout_are_markup(text: str, kind: str) -> None:
    assert (rules.markup(text) or "").startswith(kind)


@pytest.mark.parametrize(
    "text",
    [
        "1. maja ste zaprti?",
        "2 pilules ou 3?",
        "Je a < b in c > d?",
        "Rad te imam <3",
        "f**k, spet s**t",
        "Termin 3* prosim",
        "Ob 8.30, prosim.",
        "To_je_moje_ime",
        "R&B ali rock?",
    ],
)
def test_signs_that_people_write_are_no_markup(text: str) -> None:
    assert rules.markup(text) is None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("da " * 8, id="word"),
        pytest.param("Prosim, odpovejte moj termin, " + "odpovejte moj termin, " * 8, id="phrase"),
        pytest.param("ฉันต้องการนัดหมอ" * 5, id="Thai, no spaces"),
        pytest.param("నేను " + "రేపు వస్తాను " * 6, id="Telugu"),
        pytest.param("oprostiteeeeeeeeeeeeeeeeeeeeeeeeeee", id="letter"),
    ],
)
def test_a_loop_is_repetition(text: str) -> None:
    assert rules.repetition(text, 0.5)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("ne, ne, ne, ne, danes pa res ne morem priti k vam", id="emphasis"),
        pytest.param("hahahaha", id="laughter"),
        pytest.param("Prosim termin! Prosim termin! Prosim termin! Najraje v petek.", id="three times"),
        pytest.param("อร่อยมากมากมากมาก", id="Thai emphasis"),
        pytest.param("Kdaj odprete v petek in kdaj v soboto in kdaj v nedeljo?", id="list"),
    ],
)
def test_emphasis_is_no_repetition(text: str) -> None:
    assert rules.repetition(text, 0.5) is None


def test_repetition_says_what_is_repeated() -> None:
    assert rules.repetition("majibu " * 9 + "yametoka", 0.5) == "9 of 10 words are: majibu"
    assert rules.repetition("ฉันไป" * 6, 0.5) == "6 times over: ฉันไป"
