import pytest

from languages import context, samples
from polydistill.checks.mixed_language import MixedLanguage
from spaces import filter_params


def check_for(language: str) -> MixedLanguage:
    return MixedLanguage.open(filter_params(), context(language))


@pytest.mark.parametrize(
    ("wanted", "text", "clause"),
    [
        pytest.param(
            "sl",
            "Rada bi prestavila termin za ponedeljek. I would like to move my appointment to Monday.",
            "I would like to move my appointment to Monday.",
            id="a translation behind",
        ),
        pytest.param(
            "sw",
            "Naomba miadi na daktari (I am asking for an appointment with the doctor)",
            "I am asking for an appointment with the doctor",
            id="a translation in brackets",
        ),
        pytest.param(
            "az",
            "Here is another example for the category:\nHəkimin qəbuluna yazılmaq istəyirəm.",
            "Here is another example for the category",
            id="a reply's introduction",
        ),
        pytest.param(
            "de",
            "Wann öffnen Sie am Samstag? Kada otvarate u subotu ujutro, molim vas?",
            "Kada otvarate u subotu ujutro, molim vas?",
            id="Croatian behind German",
        ),
    ],
)
def test_a_clause_in_another_language_is_found(wanted: str, text: str, clause: str) -> None:
    assert (check_for(wanted).fault(text) or "").endswith(f": {clause}")


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        pytest.param("sl", "Dober dan. Rada bi se naročila na pregled pri zdravnici.", id="one language"),
        pytest.param("sl", "Rada bi se naročila na pregled, thank you very much!", id="an aside within a clause"),
        pytest.param("sl", "Včeraj sem gledala Lord of the Rings. Film je odličen.", id="a title"),
        pytest.param("sl", "Film je odličen. Thank you very much! Res vam ga toplo priporočam.", id="a short clause"),
        pytest.param("te", "ఏంజెలా మెర్కెల్ (Angela Dorothea Merkel) ఎవరు?", id="a name in brackets"),
        pytest.param("te", "meeting ని cancel చేయి. రేపు office కి రాలేను.", id="switching within clauses"),
        pytest.param("sl", "Naročite se tukaj: https://example.com/make-an-appointment-with-a-doctor", id="an address"),
        pytest.param("sl", "I would like to move my appointment. Can you help me with that?", id="no clause is right"),
        pytest.param("sl", "😀 12:30!", id="no letters"),
    ],
)
def test_a_text_without_a_clause_in_another_language_stays(wanted: str, text: str) -> None:
    assert check_for(wanted).fault(text) is None


def test_many_texts_at_once_are_judged_as_one_by_one() -> None:
    check = check_for("sl")
    right = "Dober dan. Rada bi se naročila na pregled pri zdravnici."
    english = "What time do you open on Saturday morning?"
    texts = [right, f"{right} {english}", "", "Da. Ne.", f"{english} {english}", f"{right} Thank you very much!"]
    alone = {i: detail for i, text in enumerate(texts) if (detail := check.fault(text)) is not None}
    assert check.find(samples(texts)) == alone
    assert list(alone) == [1]


def test_a_clause_must_be_clearer_than_a_whole_text() -> None:
    params = filter_params()
    never = params.mixed_language.model_copy(update={"stricter": 1e30})
    check = MixedLanguage.open(params.model_copy(update={"mixed_language": never}), context("sl"))
    assert check.fault("Dober dan, kdaj odprete? What time do you open on Saturday morning?") is None
    assert check_for("sl").fault("Dober dan, kdaj odprete? What time do you open on Saturday morning?")
