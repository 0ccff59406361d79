import pytest

from polydistill.checks.empty import Empty
from polydistill.checks.markup import Markup
from polydistill.checks.repetition import Repetition
from polydistill.checks.too_long import TooLong
from polydistill.checks.too_short import TooShort


@pytest.mark.parametrize("text", ["", "  \n", "...", "\u200b\u200b", "?!"])
def test_a_text_that_says_nothing_is_empty(text: str) -> None:
    assert Empty().fault(text)


@pytest.mark.parametrize("text", ["da", "5", "😀", "ใช่", "నిజం"])
def test_a_text_that_says_something_is_not_empty(text: str) -> None:
    assert Empty().fault(text) is None


def test_lengths_count_code_points_and_the_limits_themselves_pass() -> None:
    assert TooShort(3).fault("čaj") is None
    assert TooShort(3).fault("ča") == "2 characters, wanted 3"
    assert TooLong(3).fault("čaj") is None
    assert TooLong(3).fault("čaji") == "4 characters, allowed 3"


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
        ("Povej `print` na glas", "markdown"),
        ("Kdaj odprete?<|eot_id|>", "a chat token"),
        ("<start_of_turn>Kdaj odprete?", "a chat token"),
        ("Tukaj [Name], kdaj odprete?", "a placeholder"),
        ("Tukaj [your name here], kdaj odprete?", "a placeholder"),
        ("Ob {time} imam termin", "a placeholder"),
        ("Tukaj [NAME_1], kdaj odprete?", "a placeholder"),
        ("Kdaj odprete?[/INST]", "a chat token"),
        ("Opening hours: kdaj odprete?", "its label"),
        ("**Odpiralni čas** : kdaj odprete?", "markdown"),
        ("»Odpiralni čas«: kdaj odprete?", "its label"),
    ],
)
def test_leftovers_of_layout_are_markup(text: str, kind: str) -> None:
    assert (Markup(["opening_hours", "odpiralni čas"]).fault(text) or "").startswith(kind)


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
        "Don`t say it`s late",
        "the ` fun ' and the ` games ' of it",
        "Naša [number one] pesem",
        "Rekel je [smeh], da pride",
        "Odpiralni čas?",
        "Kakšen je odpiralni čas: od kdaj do kdaj?",
        "1: kdaj odprete?",
    ],
)
def test_signs_that_people_write_are_no_markup(text: str) -> None:
    assert Markup(["odpiralni čas", "1"]).fault(text) is None


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
    assert Repetition(0.5).fault(text)


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
    assert Repetition(0.5).fault(text) is None


def test_repetition_says_what_is_repeated() -> None:
    assert Repetition(0.5).fault("majibu " * 9 + "yametoka") == "9 of 10 words are: majibu"
    assert Repetition(0.5).fault("ฉันไป" * 6) == "6 times over: ฉันไป"
