import pytest

from polydistill.text import fold, grams, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("Dober dan", "dober  dan\n", id="case and white space"),
        pytest.param("Dober dan!", "»Dober« dan ...", id="punctuation"),
        pytest.param("dober\u200bdan", "dober dan", id="zero width"),
        pytest.param("\ufeffdober dan", "dober dan", id="byte-order mark"),
        pytest.param("ｄｏｂｅｒ　ｄａｎ", "dober dan", id="full width"),
        pytest.param("𝐃𝐎𝐁𝐄𝐑 dan", "dober dan", id="styled capitals"),
        pytest.param("cafe\u0301", "café", id="composed and decomposed"),
        pytest.param("ﬁlm", "film", id="ligature"),
        pytest.param("Straße", "STRASSE", id="sharp s"),
        pytest.param("İstanbul", "istanbul", id="capital dotted I"),
        pytest.param("QIZIL", "qızıl", id="small dotless i"),
        pytest.param("Qızıl İLAN", "QIZIL ilan", id="both"),
        pytest.param("ΟΔΟΣ", "οδος", id="final sigma"),
        pytest.param("STRAẞE", "straße", id="capital sharp s"),
        pytest.param("I\u0307stanbul", "istanbul", id="dotted I of two characters"),
        pytest.param("สวัสดี ครับ", "สวัสดีครับ", id="Thai, which needs no spaces"),
        pytest.param("น้ำ", "น้ํา", id="Thai, a vowel of one or of two characters"),
        pytest.param("రేపు వాన పడుతుందా", "రేపువాన పడుతుందా?", id="Telugu without a space"),
        pytest.param("డెన్మార్క్\u200cలో", "డెన్మార్క్లో", id="Telugu with and without a joiner"),
        pytest.param("می\u200cخواهم", "میخواهم", id="Persian with and without a joiner"),
        pytest.param("שָׁלוֹם עוֹלָם", "שלום עולם", id="Hebrew with and without points"),
        pytest.param("\ufb2aלום", "שלום", id="Hebrew letter and point in one character"),
        pytest.param("ﻣﺮﺣﺒﺎ", "مرحبا", id="Arabic presentation forms"),
        pytest.param("ﻻ شكرا", "لا شكرا", id="Arabic ligature"),
        pytest.param("مَرْحَبًا", "مرحبا", id="Arabic with and without vowel marks"),
        pytest.param("مرحـــبا", "مرحبا", id="Arabic, stretched"),
        pytest.param("❤\ufe0f", "❤", id="emoji with and without a variation selector"),
        pytest.param("cafe\u200d\u0301", "café", id="a joiner between letter and accent"),
    ],
)
def test_same_text(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("?", "!", id="punctuation alone"),
        pytest.param("zob", "žob", id="accent"),
        pytest.param("कि", "की", id="vowel sign"),
        pytest.param("5 €", "5 $", id="symbol"),
        pytest.param("👍", "👎", id="emoji"),
        pytest.param("ob 7h", "ob 8h", id="digit"),
        pytest.param("ใกล้", "ไกล", id="Thai, near and far"),
        pytest.param("మన", "మాన", id="Telugu vowel sign"),
        pytest.param("سأل", "سال", id="Arabic hamza"),
        pytest.param("Masse", "Maße und Masse", id="sharp s and more"),
    ],
)
def test_other_text(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@pytest.mark.parametrize(
    "text",
    ["Dober dan!", "QIZIL İLAN", "?!", "  ", "Straße ﬁ", "कि की", "שָׁלוֹם", "ﷲ", "ﻻ", "น้ำ", "e\u200d\u0301", "e-\u0301"],
)
def test_folding_again_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_texts_in_scripts_without_spaces_share_most_of_their_grams() -> None:
    one, other = grams("พรุ่งนี้ฝนจะตกไหมครับ"), grams("พรุ่งนี้ฝนจะตกไหมคะ")
    assert len(one & other) > 0.7 * len(one | other)
    assert not grams("พรุ่งนี้ฝนจะตกไหม") & grams("ช่วยปิดเสียงโทรทัศน์")


def test_grams_are_the_same_with_and_without_hebrew_points() -> None:
    assert grams("שָׁלוֹם") == grams("שלום") == {"שלום"}


def test_words_stand_between_white_space() -> None:
    assert words("Dober dan,\n lepi  Svet!") == ["dober", "dan,", "lepi", "svet!"]
    assert words("สวัสดีครับ") == ["สวัสดีครับ"]
    assert words(" ") == []
