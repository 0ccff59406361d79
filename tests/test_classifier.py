from pathlib import Path

import pytest

from polydistill.classifier import Classifier, RequestError, parse_request
from polydistill.errors import DataError
from winners import SLOVENIAN, SWAHILI, build_winner


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    work = tmp_path_factory.mktemp("work")
    build_winner(work, "clinic/sl", SLOVENIAN)
    build_winner(work, "clinic/sw", SWAHILI)
    return Classifier.load(work / "winners")


def test_texts_of_several_languages_are_answered_in_their_order_each_by_its_winner(classifier: Classifier) -> None:
    texts = ["Samahani, sitaweza kuja kesho.", "Potrebujem nov termin pri zobarju.", "Ninahitaji kuonana na muuguzi."]
    answers = [(p.language, p.label) for p in classifier.classify(texts)]
    assert answers == [("sw", "cancel"), ("sl", "book"), ("sw", "book")]


def test_the_language_that_is_named_is_not_guessed(classifier: Classifier) -> None:
    assert [p.language for p in classifier.classify(["Samahani, sitaweza kuja kesho."], language="sl")] == ["sl"]


def test_the_label_is_the_likeliest_and_the_probabilities_are_of_all_labels(classifier: Classifier) -> None:
    [prediction] = classifier.classify(["Odpovedujem pregled v petek."])
    assert prediction.probabilities.keys() == {"book", "cancel"}
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert prediction.probability == prediction.probabilities["cancel"] == max(prediction.probabilities.values())


def test_an_unknown_language_or_task_is_refused_naming_those_served(classifier: Classifier) -> None:
    with pytest.raises(RequestError, match="language: `de` is not served; served are `sl`, `sw`"):
        classifier.classify(["Guten Tag"], language="de")
    with pytest.raises(RequestError, match="task: `news` is not served; served are `clinic`"):
        classifier.classify(["Dober dan"], task="news")


def test_of_several_tasks_one_must_be_named(tmp_path: Path) -> None:
    build_winner(tmp_path, "clinic/sl", SLOVENIAN)
    build_winner(tmp_path, "weather/sl", {"rain": ["Dež pada.", "Lije."], "sun": ["Sonce sije.", "Jasno je."]})
    classifier = Classifier.load(tmp_path / "winners")
    with pytest.raises(RequestError, match="task: several tasks are served, name one of `clinic`, `weather`"):
        classifier.classify(["Dež pada."])
    assert [p.label for p in classifier.classify(["Dež pada."], task="weather")] == ["rain"]


def test_languages_that_cannot_be_told_apart_must_be_named(tmp_path: Path) -> None:
    for language in ("pt-BR", "pt-PT"):
        build_winner(tmp_path, f"clinic/{language}", {"book": ["Quero marcar."], "cancel": ["Quero cancelar."]})
    classifier = Classifier.load(tmp_path / "winners")
    with pytest.raises(RequestError, match="language: it cannot be guessed here, name one of `pt-BR`, `pt-PT`"):
        classifier.classify(["Quero marcar."])
    assert [p.language for p in classifier.classify(["Quero marcar."], language="pt-PT")] == ["pt-PT"]


def test_a_folder_without_winners_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no winner; run `polydistill select` first"):
        Classifier.load(tmp_path)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b'{"texts": []}', "texts: list should have at least 1 item", id="no texts"),
        pytest.param(b"{}", "texts: field required", id="missing field"),
        pytest.param(b'{"texts": "a"}', "texts: input should be a valid array", id="no list"),
        pytest.param(b'{"texts": [1]}', "texts.0: input should be a valid string", id="no text"),
        pytest.param(b'{"texts": ["a", " \\n"]}', "texts.1: the text is blank", id="blank"),
        pytest.param(b'{"texts": ["a"], "language": 5}', "language: input should be a valid string", id="no language"),
        pytest.param(b'{"texts": ["a"], "lang": "sl"}', "lang: no known field; known are texts, lang", id="extra"),
        pytest.param(b"[]", "the request: input should be an object", id="no object"),
        pytest.param(b"", "the request: invalid JSON", id="nothing"),
        pytest.param(b'{"texts": [', "the request: invalid JSON", id="torn"),
        pytest.param(b'{"texts": ["\xff"]}', "the request: invalid JSON", id="not UTF-8"),
        pytest.param(b'{"texts": ["\\ud800"]}', "the request: invalid JSON", id="half a surrogate pair"),
        pytest.param(b"[" * 100_000, "the request: invalid JSON: recursion limit", id="deep"),
        pytest.param(b'{"texts": ["%s"]}' % (b"a" * 10_001), "texts.0: string should have at most 10000", id="long"),
        pytest.param(b'{"texts": [%s"a"]}' % (b'"a",' * 1_000), "texts: list should have at most 1000", id="many"),
        pytest.param(
            b'{"texts": [%s"a"]}' % (b'"%s",' % (b"a" * 10_000) * 100),
            "texts: 1000001 characters together, at most 1000000; send several requests",
            id="much",
        ),
    ],
)
def test_a_bad_request_is_refused_with_what_is_wrong(body: bytes, message: str) -> None:
    with pytest.raises(RequestError) as refused:
        parse_request("application/json", body)
    assert message in str(refused.value)
    assert refused.value.status == 400


def test_a_refusal_repeats_no_text_and_stays_short() -> None:
    body = b'{"texts": [%s"Ana Novak"], "name": "Ana Novak"}' % (b"5," * 900)
    with pytest.raises(RequestError, match="and 898 more$") as refused:
        parse_request("application/json", body)
    assert "Novak" not in str(refused.value)
    assert "Novak" not in str(refused.value.__cause__)


def test_the_limits_themselves_are_allowed() -> None:
    assert len(parse_request("application/json; charset=utf-8", b'{"texts": [%s"a"]}' % (b'"a",' * 999)).texts) == 1000
    assert len(parse_request("Application/JSON", b'{"texts": ["%s"]}' % (b"a" * 10_000)).texts[0]) == 10_000


def test_another_kind_of_content_is_refused() -> None:
    with pytest.raises(RequestError, match="send JSON") as refused:
        parse_request("text/plain", b'{"texts": ["a"]}')
    assert refused.value.status == 415
