from importlib.resources import files

import pytest
import yaml

from polydistill.language import LanguageIdentifier, close_relatives, language_code


def test_candidates_share_a_probability_of_one_likeliest_first() -> None:
    probabilities = LanguageIdentifier(["sl", "sw", "az"]).probabilities("Dober dan, ali imate danes odprto?")
    assert list(probabilities)[0] == "sl"
    assert set(probabilities) == {"sl", "sw", "az"}
    assert sum(probabilities.values()) == pytest.approx(1)


def test_identifiers_do_not_disturb_each_other() -> None:
    first = LanguageIdentifier(["sl", "sw"])
    LanguageIdentifier(["de", "en"])
    assert set(first.probabilities("Habari za asubuhi, rafiki yangu")) == {"sl", "sw"}


@pytest.mark.parametrize(
    ("tag", "code"),
    [("pt-BR", "pt"), ("sr-Latn", "sr"), ("nb", "no"), ("fil", "tl"), ("swh", "sw"), ("iw", "he"), ("ckb", "ckb")],
)
def test_tags_become_the_codes_of_the_model(tag: str, code: str) -> None:
    assert language_code(tag) == code


def test_languages_that_the_model_lacks_are_named() -> None:
    identifier = LanguageIdentifier(["ckb", "sl"])
    assert identifier.unknown == ["ckb"]
    assert identifier.languages == ["sl"]
    assert LanguageIdentifier(["ckb"]).probabilities("چۆنی باشی") == {}


def test_relatives_are_languages_that_the_model_knows() -> None:
    table = yaml.safe_load(files("polydistill").joinpath("relatives.yaml").read_text("utf-8"))
    codes = set(table).union(*table.values())
    assert LanguageIdentifier(codes).unknown == []
    assert {code for code in codes if language_code(code) != code} == set()


def test_close_relatives() -> None:
    assert close_relatives("az") == ["tr"]
    assert close_relatives("ckb") == []
