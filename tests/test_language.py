from importlib.resources import files
from typing import Any

import numpy as np
import py3langid.langid
import pytest
import yaml

from languages import own_texts
from polydistill.language import LanguageIdentifier, anchors, close_relatives, language_code, telltales

MIXED = [*own_texts("tr", "tuning"), "", "?!", "DOBER DAN", "Здраво, како си?", "e\u0301", "Rada bi se naročila. " * 50]


@pytest.fixture(scope="module")
def table() -> Any:
    return yaml.safe_load(files("polydistill").joinpath("relatives.yaml").read_text("utf-8"))


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


def test_many_texts_at_once_score_as_one_by_one() -> None:
    identifier = LanguageIdentifier(["sl", "tr", "sr", "en"])
    together = identifier.score(MIXED)
    assert together.shape == (len(MIXED), 4)
    assert np.array_equal(together, np.concatenate([identifier.score([text]) for text in MIXED]))
    assert together.sum(axis=1) == pytest.approx(1)


def test_scores_are_those_of_py3langid() -> None:
    languages = ["sl", "tr", "sr", "en"]  # Serbian has a column for each of its scripts
    model = py3langid.langid.LanguageIdentifier.from_model_file(py3langid.langid.MODEL_FILE, norm_probs=True)
    model.set_languages(languages)
    identifier = LanguageIdentifier(languages)
    for text in MIXED:
        assert identifier.probabilities(text) == pytest.approx(dict(model.rank(text)), abs=1e-3)


def test_no_texts_have_no_scores() -> None:
    assert LanguageIdentifier(["sl", "tr"]).score([]).shape == (0, 2)


def test_relatives_and_anchors_are_languages_that_the_model_knows(table: Any) -> None:
    codes = set(table["relatives"]).union(*table["relatives"].values(), anchors())
    assert LanguageIdentifier(codes).unknown == []
    assert {code for code in codes if language_code(code) != code} == set()


def test_telltales_are_of_relatives_and_no_word_is_of_both(table: Any) -> None:
    for wanted, relatives in table["telltales"].items():
        for relative in relatives:
            assert relative in close_relatives(wanted)
            theirs, ours = telltales(relative, against=wanted), telltales(wanted, against=relative)
            assert theirs
            assert theirs.words.isdisjoint(ours.words if ours else ())


def test_telltales_are_words_and_parts_of_words_with_a_small_letter() -> None:
    croatian = telltales("hr", against="sl")
    assert croatian
    assert croatian.found_in(["Što", "je", "kuća", "Marković", "dan"]) == ["kuća", "Što"]
    assert telltales("de", against="sl") is None


def test_close_relatives() -> None:
    assert close_relatives("az") == ["tr"]
    assert close_relatives("ckb") == []
