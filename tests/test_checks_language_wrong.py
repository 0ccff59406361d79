import csv
import statistics
import sys
from pathlib import Path

import pytest

from languages import context, own_texts, samples
from polydistill.checks.mixed_language import MixedLanguage
from polydistill.checks.mixed_script import MixedScript
from polydistill.checks.unclear_language import UnclearLanguage
from polydistill.checks.wrong_language import WrongLanguage
from polydistill.checks.wrong_script import WrongScript
from polydistill.errors import MissingExtraError
from polydistill.language import LanguageIdentifier
from polydistill.params import WrongLanguageParams
from spaces import filter_params

SLOVENIAN = "Rada bi se naročila na pregled pri zdravnici."


def check_for(language: str) -> WrongLanguage:
    return WrongLanguage.open(filter_params(), context(language))


@pytest.mark.parametrize(
    ("wanted", "text", "found"),
    [
        pytest.param("sl", "What time do you open on Saturdays?", "en", id="English for Slovenian"),
        pytest.param("sw", "Please cancel my appointment on Monday.", "en", id="English for Swahili"),
        pytest.param("az", "Yarınki randevumu iptal etmek istiyorum.", "tr", id="Turkish for Azerbaijani"),
        pytest.param("sl", "Jesu li stigli nalazi koje sam vadila prošli tjedan?", "hr", id="Croatian for Slovenian"),
        pytest.param("cs", "Ďakujem, zajtra prídem na vyšetrenie o šiestej.", "sk", id="Slovak for Czech"),
        pytest.param("id", "Awak boleh hantar e-mel kepada doktor esok?", "ms", id="Malay for Indonesian"),
        pytest.param("sl", "À quelle heure ouvrez-vous le samedi matin ?", "fr", id="French, which is no relative"),
        pytest.param("sl", "शनिवार को आप कितने बजे खुलते हैं?", "hi", id="Hindi, in another script"),
        pytest.param("de", "Hva koster det å fly til Oslo i morgen?", "sv", id="Norwegian, taken for its neighbour"),
        pytest.param("sl", "Naomba kufuta miadi yangu ya Alhamisi.", "sw", id="Swahili"),
    ],
)
def test_a_text_in_another_language_is_found(wanted: str, text: str, found: str) -> None:
    detail = check_for(wanted).fault(text)
    assert detail is not None
    assert detail.startswith(f"{found} ")
    assert f", {wanted} 0." in detail


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("sl", SLOVENIAN),
        ("sw", "Naomba miadi na daktari wa meno wiki ijayo."),
        ("az", "Həkimin qəbuluna yazılmaq istəyirəm."),
        pytest.param("az", "Sabah ucun zengli saat qur, yaxsi?", id="Azerbaijani typed without its letters"),
        pytest.param("id", "Tolong kirim email ke dokter besok pagi.", id="Indonesian"),
        pytest.param("cs", "Pošlete mi prosím výsledky?", id="Czech, short"),
        pytest.param("sl", "Novak in Marković sta včeraj podpisala pogodbo.", id="a Croatian name"),
        pytest.param("sl", "Super, ta deal z Amazonom je res top!", id="borrowed words"),
        pytest.param("te", "ఏంజెలా మెర్కెల్ Angela Merkel గురించి చెప్పు", id="a name in Latin letters"),
        pytest.param("te", "రేపు morning meeting ఎన్ని గంటలకు?", id="Telugu that switches to English and back"),
        pytest.param("sl", "Naročilo na https://www.example.com/book-your-appointment-online", id="an address"),
        pytest.param("sl", "Prijava: booking.office@appointments.example.com", id="an e-mail address"),
        pytest.param("sl", "Komaj čakam 😍😍😍 #throwback #goodtimes", id="emoji and tags"),
        pytest.param("sl", "2024-05-17 14:30, 0800 123 456", id="numbers"),
        pytest.param("sl", "Da", id="one short word"),
    ],
)
def test_a_text_in_the_wanted_language_stays(wanted: str, text: str) -> None:
    assert check_for(wanted).fault(text) is None


def test_words_that_give_a_relative_away_are_named() -> None:
    assert (check_for("id").fault("Kerana hujan, mesyuarat itu ditangguhkan.") or "").endswith("; Kerana, mesyuarat")


def test_a_text_with_more_words_of_the_wanted_language_is_not_taken_for_a_relative() -> None:
    text = "Her gun bele gozel sozler eshitmek insana guc verir, size minnetdaram"  # typed without the letters ə, ö, ş
    assert LanguageIdentifier(["az", "tr"]).probabilities(text)["tr"] > 0.99
    assert check_for("az").fault(text) is None


def test_many_texts_at_once_are_judged_as_one_by_one() -> None:
    check = check_for("sl")
    texts = [SLOVENIAN, "Why?", "", *own_texts("hr", "tuning"), *own_texts("tr", "tuning"), SLOVENIAN * 20]
    alone = {i: detail for i, text in enumerate(texts) if (detail := check.fault(text)) is not None}
    assert check.find(samples(texts)) == alone
    assert len(alone) > 100


def test_nothing_is_found_among_no_texts() -> None:
    assert check_for("sl").find([]) == {}


def test_a_setting_says_how_many_times_likelier_another_language_must_be() -> None:
    params = filter_params()
    never = WrongLanguageParams(identifier="py3langid", times_other=1e30, times_relative=1e30, telltale=1.0)
    lenient = params.model_copy(update={"wrong_language": never})
    assert WrongLanguage.open(lenient, context("sl")).fault("What time do you open on Saturdays?") is None
    assert WrongLanguage.open(params, context("sl")).fault("What time do you open on Saturdays?")


def test_a_region_and_a_script_in_the_tag_do_no_harm() -> None:
    check = check_for("sl-Latn-SI")
    assert check.fault(SLOVENIAN) is None
    assert check.fault("What time do you open on Saturdays?")


def test_nothing_is_found_for_a_language_that_the_identifier_lacks(caplog: pytest.LogCaptureFixture) -> None:
    check = check_for("ckb")
    assert check.fault("What time do you open on Saturdays?") is None
    assert "py3langid does not know ckb" in caplog.text


def test_lingua_is_another_identifier() -> None:
    pytest.importorskip("lingua")
    params = filter_params()
    section = params.wrong_language.model_copy(update={"identifier": "lingua"})
    check = WrongLanguage.open(params.model_copy(update={"wrong_language": section}), context("sl"))
    assert check.fault(SLOVENIAN) is None
    assert (check.fault("What time do you open on Saturdays?") or "").startswith("en ")
    assert check.fault("Jesu li stigli nalazi koje sam vadila prošli tjedan?")


def test_without_lingua_its_pip_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lingua", None)  # as where it is not installed
    monkeypatch.delitem(sys.modules, "polydistill.lingua", raising=False)
    params = filter_params()
    section = params.wrong_language.model_copy(update={"identifier": "lingua"})
    with pytest.raises(MissingExtraError, match=r"pip install 'polydistill\[lingua\]'"):
        WrongLanguage.open(params.model_copy(update={"wrong_language": section}), context("de"))


@pytest.mark.parametrize(
    ("text", "found"),
    [("Why?", "3 letters, it takes 5"), ("OK 👍 123", "2 letters, it takes 5"), ("", "0 letters, it takes 5")],
)
def test_a_text_of_few_letters_is_too_short_to_tell(text: str, found: str) -> None:
    assert UnclearLanguage.open(filter_params(), context("sl")).fault(text) == found
    assert check_for("sl").fault(text) is None


@pytest.mark.parametrize("text", ["Kdaj odprete?", "Hello", "Hvala!"])
def test_a_text_of_more_letters_is_judged(text: str) -> None:
    assert UnclearLanguage.open(filter_params(), context("sl")).fault(text) is None


def test_an_address_has_no_letters_to_tell_the_language_by() -> None:
    check = UnclearLanguage.open(filter_params(), context("sl"))
    assert check.fault("https://example.com/opening-hours") == "0 letters, it takes 5"


@pytest.mark.parametrize(
    ("other", "wanted", "least"),
    [("tr", "az", 0.9), ("hr", "sl", 0.95), ("ms", "id", 0.6), ("id", "ms", 0.6), ("sk", "cs", 0.8), ("cs", "sk", 0.8)],
)
def test_close_relatives_are_found(other: str, wanted: str, least: float) -> None:
    texts = own_texts(other, "reporting")
    assert len(texts) >= 60
    assert len(check_for(wanted).find(samples(texts))) >= least * len(texts)


@pytest.mark.parametrize("language", ["cs", "hr", "id", "ms", "sk", "tr"])
def test_texts_are_not_taken_for_those_of_a_relative(language: str) -> None:
    texts = own_texts(language, "reporting")
    assert len(check_for(language).find(samples(texts))) <= 0.05 * len(texts)


def published(paper_data: Path, task: str, language: str) -> list[str]:
    with (paper_data / f"data/{task}/{language}-test.csv").open(encoding="utf-8", newline="") as lines:
        return [row["text"] for row in csv.DictReader(lines) if row["text"].strip()]


@pytest.mark.paper_data
@pytest.mark.parametrize("wanted", ["az", "de", "sl", "sw", "te"])
def test_published_texts_in_english_are_found(paper_data: Path, wanted: str) -> None:
    texts = [text for task in ("topic", "intent", "sentiment") for text in published(paper_data, task, "en")]
    assert len(check_for(wanted).find(samples(texts))) >= 0.995 * len(texts)


@pytest.mark.paper_data
@pytest.mark.parametrize(("task", "most"), [("topic", 0.001), ("intent", 0.015), ("sentiment", 0.015)])
def test_few_published_texts_in_the_right_language_are_rejected(paper_data: Path, task: str, most: float) -> None:
    shares = []
    for language in ("az", "de", "en", "sl", "sw", "te"):
        of_language, texts = context(language), samples(published(paper_data, task, language))
        checks = [
            check.open(filter_params(), of_language)
            for check in (WrongLanguage, WrongScript, MixedLanguage, MixedScript)
        ]
        shares.append(len(set().union(*(check.find(texts) for check in checks))) / len(texts))
    assert statistics.mean(shares) <= most
