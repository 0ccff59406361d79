import pytest

from languages import context
from polydistill.checks.mixed_script import MixedScript
from polydistill.checks.wrong_script import WrongScript
from polydistill.params import FilterParams
from polydistill.scripts import count_scripts, scripts_in_use, scripts_of_language
from spaces import filter_params


@pytest.fixture(scope="module")
def params() -> FilterParams:
    return filter_params()


@pytest.mark.parametrize(
    ("language", "scripts"),
    [
        ("sl", {"LATIN"}),
        ("te", {"TELUGU"}),
        ("bn", {"BENGALI"}),
        ("ja", {"CJK", "HIRAGANA", "KATAKANA"}),
        ("ko", {"CJK", "HANGUL"}),
        ("zh", {"CJK"}),
        ("he", {"HEBREW"}),
        ("fa", {"ARABIC"}),
        ("sr", {"CYRILLIC"}),
        ("sr-Latn", {"LATIN"}),
        ("az", {"LATIN"}),
        ("az-Arab", {"ARABIC"}),
    ],
)
def test_the_scripts_of_a_language(language: str, scripts: set[str]) -> None:
    assert scripts_of_language(language) == scripts


def test_letters_are_counted_by_script() -> None:
    assert count_scripts("Ana, 5 € ... Анa! 東京タワー") == {"LATIN": 4, "CYRILLIC": 2, "CJK": 2, "KATAKANA": 2}
    assert count_scripts("ﻣﺮﺣﺒﺎ ﬁ Ａ ｶ µ") == {"ARABIC": 5, "LATIN": 2, "KATAKANA": 1, "GREEK": 1}
    assert count_scripts("😀 12:30 ?!") == {}


def test_a_script_that_few_letters_are_in_is_not_in_use() -> None:
    assert scripts_in_use(["Добар дан, како сте?", "Dobar dan, kako ste?", "Ω"], 0.1) == {"CYRILLIC", "LATIN"}
    assert scripts_in_use([], 0.1) == set()


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        pytest.param("te", "Repu varsham padutunda?", "Latin 100%", id="Telugu in Latin letters"),
        pytest.param("sl", "Добер дан, кдај одпрете?", "Cyrillic 100%", id="Slovenian in Cyrillic"),
        pytest.param("sl", "Rad bi 预约明天下午的检查 prosim.", "Cjk 45%", id="nearly half Chinese"),
        pytest.param("ru", "Privet, kak dela?", "Latin 100%", id="Russian in Latin letters"),
        pytest.param("te", "నాకు రేపు రావాలి। मुझे कल आना है", "Devanagari 50%", id="a sentence in Hindi behind Telugu"),
        pytest.param("ja", "안녕하세요 도쿄입니다", "Hangul 100%", id="Korean for Japanese"),
    ],
)
def test_a_text_in_another_script_is_found(params: FilterParams, language: str, text: str, found: str) -> None:
    assert WrongScript.open(params, context(language)).fault(text) == found


@pytest.mark.parametrize(
    ("language", "text"),
    [
        pytest.param("te", "ఏంజెలా మెర్కెల్ (Angela Merkel) గురించి చెప్పు", id="a name in Latin"),
        pytest.param("te", "నా Gmail inbox లో కొత్త messages చూపించు", id="Telugu with English words"),
        pytest.param("sl", "Mesto Αθήνα je glavno mesto Grčije.", id="a Greek name"),
        pytest.param("ja", "明日の東京の天気はどうですか", id="Japanese"),
        pytest.param("th", "พรุ่งนี้ฝนจะตกไหม", id="Thai"),
        pytest.param("he", "שָׁלוֹם, מָה שְׁלוֹמְךָ?", id="Hebrew with points"),
        pytest.param("te", "OK 👍 123", id="too few letters"),
    ],
)
def test_a_text_in_the_right_script_stays(params: FilterParams, language: str, text: str) -> None:
    assert WrongScript.open(params, context(language)).fault(text) is None


def test_the_scripts_of_the_seeds_are_right_too(params: FilterParams) -> None:
    text = "Kako ste? Vidimo se sutra ujutro."
    assert WrongScript.open(params, context("sr")).fault(text) == "Latin 100%"
    assert WrongScript.open(params, context("sr", seeds=["Dobar dan, kako ste?"])).fault(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("Мне нравится Mосква летом", "Mосква", id="a Latin letter in front"),
        pytest.param("Vidimo se v Ljubljаni", "Ljubljаni", id="a Cyrillic letter within"),
        pytest.param("Bu çox yaxşı mәhsuldur", "mәhsuldur", id="the Cyrillic schwa for the Latin one"),
        pytest.param("హైదrabాద్ వెళ్లాలి", "హైదrabాద్", id="Latin within a Telugu word"),
        pytest.param("హై\u200cdrab\u200cద్ వెళ్లాలి", "హై\u200cdrab\u200cద్", id="the same with joiners"),
        pytest.param("Το ξενοδοχεiο ήταν καλό", "ξενοδοχεiο", id="a Latin letter in a Greek word"),
    ],
)
def test_a_word_in_two_scripts_is_found(params: FilterParams, text: str, found: str) -> None:
    assert MixedScript.open(params, context("und")).fault(text) == found


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Rada bi se naročila.", id="one script"),
        pytest.param("Поеду в New York летом", id="words of two scripts"),
        pytest.param("Zoomలో meeting ఉంది", id="a native ending on an English word"),
        pytest.param("Написал SMSки и email'ом", id="a Russian ending on an English word"),
        pytest.param("日本語のテキストです。サッカーを見る", id="Japanese"),
        pytest.param("서울大學校에서 iPhone으로", id="Korean"),
        pytest.param("5 μm in 3 kΩ", id="units"),
        pytest.param("İstanbul, Çeşme, ə", id="letters with marks"),
        pytest.param("می‌خواهم", id="Persian with a joiner"),
        pytest.param("SQL-запрос и IT-отдел", id="two words with a hyphen"),
        pytest.param("😀 12:30", id="no letters"),
    ],
)
def test_words_in_one_script_stay(params: FilterParams, text: str) -> None:
    assert MixedScript.open(params, context("und")).fault(text) is None
