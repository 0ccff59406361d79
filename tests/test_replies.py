import pytest

from polydistill.replies import UnreadableReply, read_label, read_texts, read_verdicts
from polydistill.task import Label
from polydistill.teachers import Reply


def labels(*names: str, **called: dict[str, str]) -> list[Label]:
    return [Label(name=name, description=f"about {name}", names=called.get(name, {})) for name in names]


NEWS = labels("science/technology", "travel", "politics", "health", "not_news", travel={"sl": "potovanja"})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param("travel", "travel", id="exact"),
        pytest.param("TRAVEL", "travel", id="upper-case"),
        pytest.param(' "travel"\n', "travel", id="quotes"),
        pytest.param("“Travel”", "travel", id="curly-quotes"),
        pytest.param("**travel**", "travel", id="bold"),
        pytest.param("travel.", "travel", id="full-stop"),
        pytest.param("The label is: travel.", "travel", id="sentence"),
        pytest.param('{"label": "travel"}', "travel", id="json"),
        pytest.param("travel, since it mentions a ticket. It is travel.", "travel", id="twice"),
        pytest.param("not_news", "not_news", id="underscore"),
        pytest.param("Not news", "not_news", id="space-for-underscore"),
        pytest.param("This is not-news.", "not_news", id="hyphen-for-underscore"),
        pytest.param("It belongs to Science / Technology", "science/technology", id="slash"),
        pytest.param("Potovanja", "travel", id="translated"),
        pytest.param("Oznaka je potovanja.", "travel", id="translated-in-a-sentence"),
        pytest.param("ｔｒａｖｅｌ", "travel", id="full-width"),
        pytest.param("travel, without a doubt", "travel", id="denial-of-something-else"),
        pytest.param("Travel. I am not sure, though.", "travel", id="doubt"),
        pytest.param("", None, id="empty"),
        pytest.param(" \n", None, id="blank"),
        pytest.param("I cannot read this language.", None, id="no-label"),
        pytest.param("weather", None, id="another-label"),
        pytest.param("travel or politics", None, id="two-labels"),
        pytest.param("travel, politics, health: hard to say", None, id="three-labels"),
        pytest.param("not travel but politics", None, id="not-but"),
        pytest.param("It is not about travel.", None, id="negated"),
        pytest.param("This isn’t travel.", None, id="negated-short"),
        pytest.param("Anything rather than travel.", None, id="rather-than"),
        pytest.param("It is anything but travel.", None, id="anything-but"),
        pytest.param("The opposite of travel.", None, id="opposite"),
        pytest.param("I refuse to label it travel.", None, id="refused"),
        pytest.param('"Travel" does not fit.', None, id="negated-after"),
        pytest.param("It mentions travel. It does not fit any of the labels.", None, id="none-fits"),
        pytest.param("None of the labels; it is travel writing.", None, id="none-of"),
        pytest.param("travelling", None, id="within-a-word"),
        pytest.param("biopolitics", None, id="end-of-a-word"),
        pytest.param("geo-politics", None, id="half-of-a-word"),
        pytest.param("traveller_health", None, id="part-of-a-name"),
        pytest.param("potovanja in health", None, id="two-labels-in-two-languages"),
    ],
)
def test_read_label(answer: str, expected: str | None) -> None:
    assert read_label(answer, NEWS, "sl") == expected


@pytest.mark.parametrize(
    ("names", "answer", "expected"),
    [
        pytest.param(["1", "10"], "10", "10", id="the-longer-number"),
        pytest.param(["1", "10"], "1", "1", id="the-shorter-number"),
        pytest.param(["1", "10"], "The answer is 10.", "10", id="number-in-a-sentence"),
        pytest.param(["1", "10"], "100", None, id="another-number"),
        pytest.param(["1", "0", "-1"], "-1", "-1", id="minus"),
        pytest.param(["1", "0"], "-1", None, id="minus-is-no-dash"),
        pytest.param(["c", "c++"], "c++", "c++", id="ends-in-marks"),
        pytest.param(["health", "mental_health"], "This is about mental health.", "mental_health", id="label-in-label"),
        pytest.param(["sarcastic", "serious"], "non-sarcastic", None, id="prefix"),
        pytest.param(["spam", "not_spam"], "The message is not spam.", "not_spam", id="denial-as-a-label"),
        pytest.param(["no", "yes"], "No.", "no", id="no-as-a-label"),
        pytest.param(["good", "none_of_these"], "None of these", "none_of_these", id="none-as-a-label"),
        pytest.param(["రాజకీయ", "క్రీడ"], "రాజకీయాల", None, id="word-goes-on-with-a-vowel-sign"),
        pytest.param(["రాజకీయ", "క్రీడ"], "రాజకీయ!", "రాజకీయ", id="telugu"),
    ],
)
def test_read_label_tells_like_labels_apart(names: list[str], answer: str, expected: str | None) -> None:
    assert read_label(answer, labels(*names), "en") == expected
    assert read_label(answer, labels(*reversed(names)), "en") == expected


def test_read_label_knows_names_in_the_language_and_in_english_only() -> None:
    known = labels("a", "b", a={"az": "İş saatları", "de": "Uhrzeit", "en": "hours"})
    assert [read_label(answer, known, "az") for answer in ("iş saatları", "Hours", "Uhrzeit")] == ["a", "a", None]


def test_read_label_abstains_where_two_labels_have_one_name() -> None:
    assert read_label("Kosten", labels("price", "fee", price={"de": "Kosten"}, fee={"de": "kosten"}), "de") is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no",
        '{"texts": ["a"',
        '{"texts": "a"}',
        '{"texts": [1]}',
        '{"texts": [' + "9" * 5000 + "]}",
        "[" * 9,
        "{" * 9999,
    ],
    ids=["empty", "words", "cut", "string", "number", "huge-number", "brackets", "deep"],
)
def test_a_reply_without_texts_is_unreadable(content: str) -> None:
    with pytest.raises(UnreadableReply):
        read_texts(Reply(content))


@pytest.mark.parametrize("number", ["true", '"1"', "1.0", "0", "3", "null"])
def test_a_verdict_on_no_text_is_none(number: str) -> None:
    reply = Reply(f'{{"verdicts": [{{"number": {number}, "accept": true, "reason": ""}}]}}')
    assert [verdict.accept for verdict in read_verdicts(reply, 2)] == [None, None]
