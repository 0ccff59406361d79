import pytest

from polydistill.measure.tokens import tokens


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("Kdaj ste odprti?", ["kdaj", "ste", "odprti"], id="spaces and punctuation"),
        pytest.param("v 1. nadstropju", ["v", "1", "nadstropju"], id="digits"),
        pytest.param("i̇stanbul İstanbul", ["istanbul", "istanbul"], id="dotted i"),
        pytest.param("నేను వస్తాను.", ["నేను", "వస్తాను"], id="Telugu vowel signs stay in the word"),
        pytest.param("น้ำดี", ["น้ํา", "ดี"], id="Thai by character with its marks"),
        pytest.param("我想预约 MRI", ["我", "想", "预", "约", "mri"], id="Han beside Latin"),
        pytest.param("MRI我", ["mri", "我"], id="Han right behind Latin"),
        pytest.param("がっこう", ["が", "っ", "こ", "う"], id="Kana"),
        pytest.param("ok 👍!", ["ok", "👍"], id="a symbol is a word"),
        pytest.param("?!", [], id="punctuation alone"),
        pytest.param("", [], id="nothing"),
    ],
)
def test_tokens(text: str, found: list[str]) -> None:
    assert tokens(text) == found
