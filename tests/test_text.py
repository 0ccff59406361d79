import pytest

from polydistill.text import fold, words


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
    ],
)
def test_other_text(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@pytest.mark.parametrize("text", ["Dober dan!", "QIZIL İLAN", "?!", "  ", "Straße ﬁ", "कि की"])
def test_folding_again_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_words_stand_between_white_space() -> None:
    assert words("Dober dan,\n lepi  Svet!") == ["dober", "dan,", "lepi", "svet!"]
    assert words("สวัสดีครับ") == ["สวัสดีครับ"]
    assert words(" ") == []
