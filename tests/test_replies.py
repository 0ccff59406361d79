import json
import random
import time
from collections import Counter
from typing import Any

import pytest

from polydistill.replies import (
    FAULTS,
    MAX_CHARS,
    NOTED,
    TEXTS_SCHEMA,
    VERDICTS_SCHEMA,
    Verdict,
    VerdictsRead,
    faults_of,
    read_label,
    read_texts,
    read_verdicts,
)
from polydistill.task import Label
from polydistill.teachers.base import ChatRequest, Reply
from spaces import REPOSITORY


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
        # JSON
        pytest.param('{"label": "Travel", "reason": "no politics in it"}', "travel", id="json-with-a-reason"),
        pytest.param('```json\n{"label": "travel", "second": "health"}\n```', "travel", id="json-in-a-fence"),
        pytest.param('{"label": "weather", "reason": "travel"}', None, id="json-with-another-label"),
        pytest.param('{"label": null, "guess": "travel"}', None, id="json-without-a-label"),
        pytest.param('{"label": ["travel", "health"]}', None, id="json-with-a-list"),
        pytest.param('{"label": true}', None, id="json-with-a-truth"),
        pytest.param('{"label": "travel"} or {"label": "health"}', None, id="json-twice"),
        pytest.param('It says {"label": "health"}, and I say travel.', None, id="json-in-words"),
        # reasons
        pytest.param("travel, as it tells of health spas", "travel", id="another-label-in-the-reasons"),
        pytest.param("It is travel. It discusses health, sports and the sea.", "travel", id="more-in-the-reasons"),
        pytest.param("travel, as it could also be health", None, id="a-second-label-in-the-reasons"),
        pytest.param("travel, since it is not health", None, id="a-denied-label-in-the-reasons"),
        pytest.param("travel, as it tells of ships and health", None, id="joined-in-the-reasons"),
        pytest.param('travel, as it tells of "health"', None, id="quoted-in-the-reasons"),
        pytest.param("travel, as it tells of spas.\nhealth", None, id="a-second-label-on-its-own-line"),
        pytest.param("travel. Health. It mentions ships.", None, id="two-labels-before-the-reasons"),
        pytest.param("not travel, as it tells of health spas", None, id="denied-before-the-reasons"),
        pytest.param("travel or politics, as it mentions a minister", None, id="two-labels-and-reasons"),
        # the words of the text
        pytest.param("The text mentions travel.", None, id="mentioned"),
        pytest.param("I would say travel.", "travel", id="said"),
        pytest.param('It contains the word "travel".', None, id="mentioned-in-quotes"),
        pytest.param('Since it mentions "politics": travel', "travel", id="mentioned-before-the-label"),
        pytest.param("Travel. It mentions politics.", "travel", id="mentioned-after-the-label"),
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


SHOWN = ["politics", "travel", "not_news"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param("2", "travel", id="bare"),
        pytest.param(" 2.\n", "travel", id="full-stop"),
        pytest.param("**(2)**", "travel", id="brackets"),
        pytest.param("٢", "travel", id="arabic-indic"),
        pytest.param("Option 2", "travel", id="option"),
        pytest.param("The correct answer is: 2", "travel", id="sentence"),
        pytest.param('{"label": 2}', "travel", id="json"),
        pytest.param('{"label": "2"}', "travel", id="json-text"),
        pytest.param("2. travel", "travel", id="with-its-name"),
        pytest.param("Travel (2)", "travel", id="behind-its-name"),
        pytest.param("2, because it is about ships", "travel", id="with-reasons"),
        pytest.param("2 - it is about ships", "travel", id="with-a-dash"),
        pytest.param("2. politics", None, id="with-another-name"),
        pytest.param("Politics, option 2", None, id="behind-another-name"),
        pytest.param("Politics: it names 2 ministers", "politics", id="a-number-of-something"),
        pytest.param("0", None, id="zero"),
        pytest.param("4", None, id="beyond-the-last"),
        pytest.param("10", None, id="not-its-first-digit"),
        pytest.param("12", None, id="not-two-digits"),
        pytest.param("-2", None, id="minus"),
        pytest.param("2.5", None, id="fraction"),
        pytest.param("2%", None, id="share"),
        pytest.param("2 or 3", None, id="two-numbers"),
        pytest.param("2, 3", None, id="list-of-numbers"),
        pytest.param("not 2", None, id="denied"),
        pytest.param("2, or is it not?", None, id="doubt"),
        pytest.param("2 ships sank", None, id="words-behind"),
        pytest.param("2. It is about ships.", None, id="a-point-of-a-list"),
        pytest.param("1. ships\n2. the sea", None, id="a-list"),
        pytest.param("9" * 5000, None, id="huge"),
    ],
)
def test_a_number_is_the_option_that_the_prompt_showed_there(answer: str, expected: str | None) -> None:
    assert read_label(answer, NEWS, "sl", options=SHOWN) == expected


@pytest.mark.parametrize("answer", ["2", "Option 2", '{"label": 2}', "2, because it is about ships"])
def test_a_number_says_nothing_where_the_prompt_had_none(answer: str) -> None:
    assert read_label(answer, NEWS, "sl") is None


def test_option_ten_is_not_option_one() -> None:
    many = labels(*"abcdefghij")
    shown = list("jihgfedcba")
    assert [read_label(answer, many, "sl", options=shown) for answer in ("1", "10", "11")] == ["j", "a", None]


def test_a_label_that_is_a_number_goes_by_its_name() -> None:
    stars = labels("5", "3", "1")
    assert [read_label(answer, stars, "en", options=["5", "3", "1"]) for answer in ("3", "1", "2")] == ["3", "1", None]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param('"Time for travel and rest" - I cannot tell.', None, id="quoted-from-the-text"),
        pytest.param('"Time for travel and rest" is health.', "health", id="label-behind-the-quote"),
        pytest.param("«time for TRAVEL and rest»: health", "health", id="other-quotes-and-case"),
        pytest.param('"travel"', "travel", id="a-label-in-quotes-that-stands-in-the-text-too"),
        pytest.param('"Time to travel" is health.', None, id="quoted-from-elsewhere"),
    ],
)
def test_what_the_answer_quotes_of_the_text_is_no_answer(answer: str, expected: str | None) -> None:
    assert read_label(answer, NEWS, "sl", asked="It is time for travel and rest, they say.") == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param("2, " + " " * 250_000 + "x", "travel", id="number-and-spaces"),
        pytest.param("2, " + " " * 250_000 + "7", None, id="number-and-spaces-and-number"),
        pytest.param("travel health" + " " * 250_000, None, id="two-labels-and-spaces"),
        pytest.param("travel" + ". it " * 50_000 + "health", None, id="beginnings-of-reasons"),
        pytest.param("answer " * 40_000 + "2", "travel", id="the-answer-over-and-over"),
        pytest.param("answer" + " " * 250_000, None, id="an-answer-of-spaces"),
        pytest.param('"' * 250_000, None, id="quotes"),
        pytest.param("```" + "{} " * 80_000, None, id="braces-in-a-fence"),
    ],
)
def test_a_long_answer_is_read_once_not_again_from_each_of_its_characters(answer: str, expected: str | None) -> None:
    assert read_label(answer, NEWS, "sl", options=SHOWN, asked="x") == expected


def test_read_label_knows_names_in_the_language_and_in_english_only() -> None:
    known = labels("a", "b", a={"az": "İş saatları", "de": "Uhrzeit", "en": "hours"})
    assert [read_label(answer, known, "az") for answer in ("iş saatları", "Hours", "Uhrzeit")] == ["a", "a", None]


def test_read_label_abstains_where_two_labels_have_one_name() -> None:
    assert read_label("Kosten", labels("price", "fee", price={"de": "Kosten"}, fee={"de": "kosten"}), "de") is None


def to_write(count: int = 2, *, structured: bool = True) -> ChatRequest:
    return ChatRequest("generate/a/0", "generate", "Write.", 0.7, 1, TEXTS_SCHEMA if structured else None, count)


def to_judge(count: int = 1, *, structured: bool = True) -> ChatRequest:
    return ChatRequest("revise/a/0", "revise", "Judge.", 0.0, 1, VERDICTS_SCHEMA if structured else None, count)


LOOP = "Prosim za termin. " * 20


@pytest.mark.parametrize(
    ("reply", "texts", "faults"),
    [
        pytest.param(Reply('{"texts": ["a", "b"]}'), ["a", "b"], [], id="as-asked"),
        pytest.param(Reply('{"texts": [" a\\n", "\\tb\\u3000"]}', "stop"), ["a", "b"], [], id="stripped"),
        pytest.param(Reply('{"texts": ["a\\nb", "c\\td"]}'), ["a\nb", "c\td"], [], id="lines-and-tabs"),
        pytest.param(Reply('{"texts": ["a\nb", "c"]}'), ["a\nb", "c"], [], id="raw-line-break"),
        # the answer around the text
        pytest.param(Reply("", fault="refusal"), [], ["refusal"], id="refusal"),
        pytest.param(Reply("", fault="no_choice"), [], ["no_choice"], id="no-choice"),
        pytest.param(Reply('{"texts": ["a"]}', fault="???"), [], ["wrong_shape"], id="unknown-fault"),
        pytest.param(Reply('{"texts": ["a", "b"]}', "length"), [], ["cut_off"], id="cut-off-yet-whole"),
        pytest.param(Reply('{"texts": ["a", "b"]}', "MAX_TOKENS"), [], ["cut_off"], id="cut-off-in-other-words"),
        pytest.param(Reply('{"texts": ["a", "b"]}', "content_filter"), [], ["filtered"], id="filtered"),
        pytest.param(Reply('{"texts": ["a", "b"]}', "tool_calls"), ["a", "b"], [], id="unknown-end"),
        pytest.param(Reply("x" * (MAX_CHARS + 1)), [], ["oversized"], id="oversized"),
        # the text as a whole
        pytest.param(Reply(""), [], ["empty"], id="empty"),
        pytest.param(Reply(" \n\t"), [], ["empty"], id="blank"),
        pytest.param(Reply("<think>Hm.</think>"), [], ["empty"], id="thoughts-alone"),
        pytest.param(Reply("I'm sorry, but I can't."), [], ["no_json"], id="words"),
        pytest.param(Reply("<html><body>502</body></html>"), [], ["no_json"], id="html"),
        pytest.param(Reply("[" * 9), [], ["no_json"], id="brackets"),
        pytest.param(Reply("{" * 99), [], ["no_json"], id="braces"),
        pytest.param(Reply('["a", "b"]'), [], ["no_json"], id="bare-list"),
        pytest.param(Reply('{"texts": ["a"'), [], ["broken_json"], id="torn"),
        pytest.param(Reply('{"texts": ["a", "b",]}'), [], ["broken_json"], id="comma"),
        pytest.param(Reply("{'texts': ['a', 'b']}"), [], ["no_json"], id="single-quotes"),
        pytest.param(Reply('{"a":' * 100_000 + "1"), [], ["broken_json"], id="deep-objects"),
        pytest.param(Reply('{"texts": ' + "[" * 100_000 + "1"), [], ["broken_json"], id="deep-lists"),
        pytest.param(Reply('{"a": "{"texts": ["x", "y"]}"}'), [], ["broken_json"], id="json-in-broken-json"),
        pytest.param(Reply('{"texts": "a"}'), [], ["wrong_shape"], id="no-list"),
        pytest.param(Reply('{"texts": null}'), [], ["wrong_shape"], id="null"),
        pytest.param(Reply('{"texts": ["a"], "texts": ["b"]}'), [], ["wrong_shape"], id="key-twice"),
        pytest.param(Reply('{"messages": ["a", "b"]}'), [], ["wrong_shape"], id="other-key"),
        pytest.param(Reply("{}"), [], ["wrong_shape"], id="empty-object"),
        pytest.param(Reply('{"texts": ["a"]} {"texts": ["b"]}'), [], ["twofold_json"], id="two-answers"),
        pytest.param(Reply(LOOP), [], ["looping"], id="looping"),
        pytest.param(Reply('{"texts": ["' + LOOP, "length"), [], ["cut_off", "looping"], id="looping-to-the-limit"),
        pytest.param(Reply(LOOP + "Pro"), [], ["looping"], id="looping-torn"),
        # read nonetheless
        pytest.param(Reply('```json\n{"texts": ["a", "b"]}\n```'), ["a", "b"], ["fenced"], id="fence"),
        pytest.param(Reply('Here: {"texts": ["a", "b"]} Enjoy!'), ["a", "b"], ["fenced"], id="words-around"),
        pytest.param(Reply('In {braces}: {"texts": ["a", "b"]}'), ["a", "b"], ["fenced"], id="braces-before"),
        pytest.param(Reply('{"id": 7} {"texts": ["a", "b"]}'), ["a", "b"], ["fenced"], id="another-object"),
        pytest.param(
            Reply('Maybe {"texts": ["x"]}?</think>\n{"texts": ["a", "b"]}'), ["a", "b"], ["fenced"], id="thoughts"
        ),
        pytest.param(Reply('{"texts": ["a </think>", "b"]}'), ["a </think>", "b"], [], id="thoughts-in-a-text"),
        pytest.param(Reply('{"texts": ["a"]}'), ["a"], ["wrong_count"], id="too-few"),
        pytest.param(Reply('{"texts": []}'), [], ["wrong_count"], id="none"),
        pytest.param(Reply('{"texts": ["a", "b", "c"]}'), ["a", "b"], ["wrong_count"], id="too-many"),
        # a text in it
        pytest.param(Reply('{"texts": ["a", 1]}'), ["a"], ["not_text"], id="number"),
        pytest.param(Reply('{"texts": [NaN, ["a"]]}'), [], ["not_text"], id="nan-and-list"),
        pytest.param(Reply('{"texts": [{"text": "a", "text": "b"}, "c"]}'), ["c"], ["not_text"], id="object"),
        pytest.param(Reply('{"texts": [' + "9" * 5000 + ', "b"]}'), ["b"], ["not_text"], id="huge-number"),
        pytest.param(Reply('{"texts": [' + "9" * 5000 + '.5, "b"]}'), ["b"], ["not_text"], id="huge-fraction"),
        pytest.param(Reply('{"texts": ["", " \\n"]}'), [], ["blank"], id="blank-texts"),
        pytest.param(Reply('{"texts": ["\\ud83d\\ude00", "b"]}'), ["😀", "b"], [], id="surrogate-pair"),
        pytest.param(Reply('{"texts": ["\\ud83d", "b"]}'), ["b"], ["surrogate"], id="half-a-pair"),
        pytest.param(Reply('{"texts": ["\\ude00\\ud83d", "b"]}'), ["b"], ["surrogate"], id="pair-the-wrong-way-round"),
        pytest.param(Reply('{"texts": ["a\ud800", "b"]}'), ["b"], ["surrogate"], id="raw-surrogate"),
        pytest.param(Reply('{"texts": ["a\\u0000b", "b"]}'), ["b"], ["control"], id="nul"),
        pytest.param(Reply('{"texts": ["a\x00b", "b"]}'), ["b"], ["control"], id="raw-nul"),
        pytest.param(Reply('{"texts": ["a\\u001b[31mb", "b"]}'), ["b"], ["control"], id="escape"),
        pytest.param(Reply('{"texts": ["a\\rb", "a\\u0085b"]}'), [], ["control"], id="odd-line-breaks"),
        pytest.param(
            Reply('```{"texts": ["\\u0000.", 7, "a", "\\ud800"]}'),
            ["a"],
            ["fenced", "wrong_count", "control", "not_text", "surrogate"],
            id="everything",
        ),
    ],
)
def test_texts_of_a_hostile_reply(reply: Reply, texts: list[str], faults: list[str]) -> None:
    read = read_texts(to_write(), reply)
    assert (read.texts, read.faults) == (texts, faults)
    assert set(faults) <= FAULTS.keys()


@pytest.mark.parametrize(
    ("text", "texts", "faults"),
    [
        pytest.param("1. a\n2. b", ["a", "b"], [], id="as-asked"),
        pytest.param("1) a\n2: b", ["a", "b"], [], id="brackets-and-colons"),
        pytest.param("1 . a\r\n\r\n  2.b\r\n", ["a", "b"], [], id="spaces-and-blank-lines"),
        pytest.param("1- a\n2- b", ["a", "b"], [], id="dashes"),
        pytest.param("١. مرحبا\n٢. غدا", ["مرحبا", "غدا"], [], id="arabic-indic"),
        pytest.param("१. नमस्ते\n२. कल", ["नमस्ते", "कल"], [], id="devanagari"),
        pytest.param("\u200f1. שלום\n\u202b2. מחר", ["שלום", "מחר"], [], id="marks-of-direction"),
        pytest.param('1. "a"\n2. "b \\"c\\""', ["a", 'b "c"'], ["fenced"], id="quoted"),
        pytest.param('1. "a" and "b"\n2. "c"', ['"a" and "b"', '"c"'], [], id="quotes-of-their-own"),
        pytest.param("Here are the texts:\n1. a\n2. b", ["a", "b"], ["fenced"], id="words-before"),
        pytest.param("```\n1. a\n2. b\n```", ["a", "b"], ["fenced"], id="fence"),
        pytest.param("1. nothing\n</think>\n1. a\n2. b", ["a", "b"], ["fenced"], id="thoughts"),
        pytest.param("1. a\nmore of a\n2. b", ["a", "b"], ["fenced"], id="line-without-number"),
        pytest.param("1. a", ["a"], ["wrong_count"], id="too-few"),
        pytest.param("1. a\n2. b\n3. c", ["a", "b"], ["wrong_count"], id="too-many"),
        pytest.param("1.\n2. b", ["b"], ["blank"], id="number-alone"),
        pytest.param("1. a\x00b\n2. b\ud800", [], ["control", "surrogate"], id="not-to-be-kept"),
        pytest.param("a\nb", [], ["no_lines"], id="no-numbers"),
        pytest.param("10.30 je\n10:30 je\n1-2 dni\n12345. je", [], ["no_lines"], id="other-numbers"),
        pytest.param('{"texts": ["a", "b"]}', [], ["no_lines"], id="json"),
        pytest.param("".join(f"{n % 1000}. a\n" for n in range(10_001)), [], ["looping"], id="loop-of-numbers"),
        pytest.param("".join(f"{n}. a\n" for n in range(10_002)), [], ["wrong_shape"], id="lines-without-end"),
    ],
)
def test_texts_in_plain_lines(text: str, texts: list[str], faults: list[str]) -> None:
    read = read_texts(to_write(structured=False), Reply(text))
    assert (read.texts, read.faults) == (texts, faults)


SCRIPTS = [
    pytest.param("Kdaj odprete? Čim prej, »prosim« - 10 %!", id="latin"),
    pytest.param("İş saatları nə vaxtdır, ığıd?", id="azerbaijani"),
    pytest.param("ขอนัดหมอวันจันทร์ได้ไหมคะ", id="thai"),
    pytest.param("రేపు ఆసుపత్రి తెరిచి ఉందా? క్షమించండి", id="telugu"),
    pytest.param("אֶפְשָׁר לקבוע תור ל־3?", id="hebrew"),
    pytest.param("متى يفتح العيادة يوم ٣ مايو؟ مُحَمَّد", id="arabic"),
    pytest.param("می\u200cخواهم نوبت بگیرم", id="persian-with-a-non-joiner"),
    pytest.param("क्या मैं कल आ सकता हूँ? क्\u200dष", id="devanagari-with-a-joiner"),
    pytest.param("👩🏽\u200d⚕️ 🇸🇮 😀", id="emoji"),
    pytest.param("\u200fשלום\u200f (A\u200e) \u2067ב\u2069", id="right-to-left-marks"),
    pytest.param("ena\u2028dve\u2029tri", id="line-and-paragraph-separators"),
    pytest.param("e\u0301 is not \u00e9, \ufb01 is not fi", id="not-normalised"),
    pytest.param('"Quoted", \\ and {"texts": ["x"]} and ```', id="json-in-a-text"),
    pytest.param("𝒜 𠮷 \U0010ffff", id="beyond-the-basic-plane"),
]


@pytest.mark.parametrize("text", SCRIPTS)
@pytest.mark.parametrize("form", ["json", "ascii-json", "lines"])
def test_every_script_comes_back_unchanged(text: str, form: str) -> None:
    written = [text, f"{text} 2", "3"]
    if form == "lines":
        reply = "\n".join(f"{number}. {one}" for number, one in enumerate(written, start=1))
    else:
        reply = json.dumps({"texts": written}, ensure_ascii=form == "ascii-json")
    read = read_texts(to_write(3, structured=form != "lines"), Reply(reply, "stop"))
    assert (read.texts, read.faults) == (written, [])


@pytest.mark.parametrize("text", SCRIPTS)
def test_every_script_can_be_repaired(text: str) -> None:
    entry = json.dumps({"verdicts": [verdict(decision="repair", natural=False, text=text)]})
    assert read_verdicts(to_judge(), Reply(entry)).verdicts[0].repaired == text
    assert read_verdicts(to_judge(structured=False), Reply(f"1. repair: {text}")).verdicts[0].repaired == text


def test_equal_texts_and_one_that_repeats_itself_are_no_loop() -> None:
    # duplicates and repetition within a text are for the checks that follow
    equal = json.dumps({"texts": ["Prosim za termin."] * 40}, indent=1)
    repeats = json.dumps({"texts": [LOOP]})
    assert read_texts(to_write(40), Reply(equal)).faults == []
    assert read_texts(to_write(1), Reply(repeats)).faults == []


@pytest.mark.parametrize(
    "text",
    [
        "{" * 999_999,
        '{"' * 499_999,
        "{} " * 333_333,
        '{"texts": [' + '"a",' * 240_000 + '"b"]}',
        '{"texts": ["' + "\\" * 900_000,
        '{"texts": [' + "1" * 900_000 + "]}",
        '{"verdicts": [' + '{"number": 1},' * 60_000 + '{"number": 2}]}',
        " " * 900_000 + "x",
        "1. " + " " * 900_000 + "x",
        "1" * 900_000,
        "1. a\n" * 190_000 + "x",
        "1. reject: " + "label, " * 120_000,
        "1. repair: " + '"' * 900_000,
        "ab" * 250_000 + "a" * 400_000 + "b",
        ("a" * 999 + "b") * 900 + "c",
        "</think>" * 110_000,
        '{"a":' * 190_000,
        '{"a":{}}' * 120_000,
        "[" * 900_000,
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_a_reply_of_a_megabyte_is_read_in_no_time(text: str) -> None:
    before = time.process_time()
    for ending in ("", "!"):  # with the one it loops, with the other it is parsed
        for request in (to_write(), to_judge(), to_write(structured=False), to_judge(structured=False)):
            faults_of(request, Reply(text + ending))
    # eight times in all; what is quadratic takes minutes
    assert time.process_time() - before < 20


PIECES = [
    *('{"texts": [', '{"verdicts": [', '"number": 1', '"decision": "accept"', '"language": true', '"text": null'),
    *("{", "}", "[", "]", '"', ":", ",", "\\", "\\u", "\\ud800", "\ud800", "\x00", "\n", "\r", "\u2028", "\u200f"),
    *("1. ", "२. ", "accept", "repair: ", "reject: label: ", "NaN", "-1e999", "9" * 5000, "true", "```json\n"),
    *("<think>", "</think>", "čas", "😀", " "),
]


def test_nothing_raises_whatever_the_reply() -> None:
    dice = random.Random(20)
    whole = json.dumps({"texts": ["čas", "😀"], "verdicts": [verdict(), verdict(number=2, decision="reject")]})
    for _ in range(4000):
        if dice.random() < 0.5:
            text = "".join(dice.choices(PIECES, k=dice.randrange(12)))
        else:
            characters = list(whole)
            for _ in range(dice.randrange(1, 5)):
                start = dice.randrange(len(characters))
                characters[start : start + dice.randrange(9)] = dice.choice(PIECES)
            text = "".join(characters)
        reply = Reply(text, dice.choice([None, "stop", "stop", "stop", "length", "???"]))
        for structured in (True, False):
            texts = read_texts(to_write(structured=structured), reply)
            assert len(texts.texts) <= 2
            verdicts = read_verdicts(to_judge(2, structured=structured), reply)
            assert len(verdicts.verdicts) == 2
            assert set(texts.faults + verdicts.faults) <= FAULTS.keys()
            kept = texts.texts + [v.repaired or "" for v in verdicts.verdicts] + [v.reason for v in verdicts.verdicts]
            assert not any("\x00" in one for one in kept)
            "".join(kept).encode()
            # whatever is not accepted or kept is explained
            assert texts.faults or len(texts.texts) == 2
            assert verdicts.faults or all(v.decision for v in verdicts.verdicts)


def verdict(**changes: Any) -> dict[str, Any]:
    yes = {"number": 1, "language": True, "label": True, "natural": True}
    return yes | {"decision": "accept", "text": "", "reason": ""} | changes


def judged(*entries: Any, count: int = 1) -> VerdictsRead:
    return read_verdicts(to_judge(count), Reply(json.dumps({"verdicts": entries})))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param(verdict(), Verdict("accept", None, (), ""), id="accept"),
        pytest.param(verdict(text="Copied.", reason=" fits\n"), Verdict("accept", None, (), "fits"), id="accept-words"),
        pytest.param(
            verdict(decision="reject", label=False, reason="asks for results"),
            Verdict("reject", None, ("label",), "asks for results"),
            id="reject",
        ),
        pytest.param(verdict(decision="reject"), Verdict("reject", None, (), ""), id="reject-without-reason"),
        pytest.param(
            verdict(decision="reject", language=False, label=False, natural=False),
            Verdict("reject", None, ("language", "label", "natural"), ""),
            id="reject-for-everything",
        ),
        pytest.param(
            verdict(decision="repair", natural=False, text=" Bolje. ", reason="stiff"),
            Verdict("repair", "Bolje.", ("natural",), "stiff"),
            id="repair",
        ),
        pytest.param(
            verdict(decision="repair", label=False, text="Kdaj odprete?"),
            Verdict("repair", "Kdaj odprete?", ("label",), ""),
            id="repair-of-another-label",
        ),
        pytest.param(
            {key: value for key, value in verdict().items() if key not in ("text", "reason")},
            Verdict("accept", None, (), ""),
            id="no-text-no-reason",
        ),
        pytest.param(
            verdict(reason="a\ud800\x00" + "x" * 999), Verdict("accept", None, (), "a\ufffd " + "x" * 297), id="odd"
        ),
    ],
)
def test_a_verdict(entry: dict[str, Any], expected: Verdict) -> None:
    assert judged(entry) == VerdictsRead([expected], [])


@pytest.mark.parametrize(
    ("entries", "faults"),
    [
        pytest.param([], ["no_verdict"], id="missing"),
        pytest.param([verdict(), verdict()], ["twofold_verdict"], id="twice-the-same"),
        pytest.param([verdict(), verdict(decision="reject")], ["twofold_verdict"], id="twice"),
        pytest.param([verdict(), verdict(decision="maybe")], ["twofold_verdict"], id="twice-one-broken"),
        pytest.param([verdict(label=False)], ["contradiction"], id="accepts-another-label"),
        pytest.param([verdict(language=False)], ["contradiction"], id="accepts-another-language"),
        pytest.param([verdict(natural=False)], ["contradiction"], id="accepts-the-unnatural"),
        pytest.param([verdict(decision="repair")], ["no_repair"], id="no-repair"),
        pytest.param([verdict(decision="repair", text=" ")], ["no_repair"], id="blank-repair"),
        pytest.param([verdict(decision="repair", text="\ud800")], ["surrogate"], id="half-a-character"),
        pytest.param([verdict(decision="repair", text="a\x00b")], ["control"], id="nul"),
        pytest.param([verdict(decision="repair", text=["a"])], ["broken_verdict"], id="repair-is-a-list"),
        pytest.param([verdict(decision="Accept")], ["broken_verdict"], id="decision-in-capitals"),
        pytest.param([verdict(decision=["accept"])], ["broken_verdict"], id="decision-is-a-list"),
        pytest.param([verdict(label="true")], ["broken_verdict"], id="text-for-boolean"),
        pytest.param([verdict(label=1)], ["broken_verdict"], id="number-for-boolean"),
        pytest.param([verdict(natural=None)], ["broken_verdict"], id="null-for-boolean"),
        pytest.param([{"number": 1, "decision": "accept"}], ["broken_verdict"], id="no-booleans"),
        pytest.param([{"number": 1, "accept": True, "reason": ""}], ["broken_verdict"], id="old-form"),
        pytest.param([verdict(reason=7)], ["broken_verdict"], id="reason-is-a-number"),
        pytest.param([verdict(number=True)], ["broken_verdict", "no_verdict"], id="number-is-a-boolean"),
        pytest.param([verdict(number="1")], ["broken_verdict", "no_verdict"], id="number-is-a-text"),
        pytest.param([verdict(number=1.0)], ["broken_verdict", "no_verdict"], id="number-is-a-fraction"),
        pytest.param([verdict(number=None)], ["broken_verdict", "no_verdict"], id="number-is-null"),
        pytest.param([verdict(number=10**12)], ["broken_verdict", "no_verdict"], id="number-is-huge"),
        pytest.param([verdict(number=0)], ["wrong_count", "no_verdict"], id="number-too-small"),
        pytest.param([verdict(number=2)], ["wrong_count", "no_verdict"], id="number-too-large"),
        pytest.param(["accept", None], ["broken_verdict", "no_verdict"], id="no-objects"),
    ],
)
def test_a_verdict_that_decides_nothing(entries: list[Any], faults: list[str]) -> None:
    read = judged(*entries)
    assert ([one.decision for one in read.verdicts], read.faults) == ([None], faults)
    assert (read.verdicts[0].repaired, read.verdicts[0].reason) == (None, faults[-1])


def test_a_verdict_that_says_two_things_of_one_kind_is_broken() -> None:
    entry = json.dumps(verdict(decision="reject"))[:-1] + ', "decision": "accept"}'
    read = read_verdicts(to_judge(), Reply(f'{{"verdicts": [{entry}]}}'))
    assert (read.verdicts[0].decision, read.faults) == (None, ["broken_verdict", "no_verdict"])


def test_verdicts_are_told_apart_by_their_numbers() -> None:
    read = judged(verdict(number=3, decision="reject", natural=False), verdict(), verdict(number=9), count=3)
    assert [one.decision for one in read.verdicts] == ["accept", None, "reject"]
    assert read.faults == ["wrong_count", "no_verdict"]


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        pytest.param(Reply("", fault="refusal"), "refusal", id="refusal"),
        pytest.param(Reply(json.dumps({"verdicts": [verdict()]}), "length"), "cut_off", id="cut-off"),
        pytest.param(Reply(json.dumps({"verdicts": [verdict()]}), "content_filter"), "filtered", id="filtered"),
        pytest.param(Reply("All of them are fine."), "no_json", id="words"),
        pytest.param(Reply('{"verdicts": {"1": "accept"}}'), "wrong_shape", id="no-list"),
        pytest.param(Reply(json.dumps({"verdicts": [verdict()]}) * 2), "twofold_json", id="two-answers"),
        pytest.param(Reply("<think>accept</think> "), "empty", id="thoughts-alone"),
    ],
)
def test_a_reply_that_cannot_be_read_accepts_nothing(reply: Reply, fault: str) -> None:
    undecided = Verdict(None, None, (), fault)
    assert read_verdicts(to_judge(2), reply) == VerdictsRead([undecided, undecided], [fault])


@pytest.mark.parametrize(
    ("line", "expected", "faults"),
    [
        pytest.param("1. accept", Verdict("accept", None, (), ""), [], id="accept"),
        pytest.param("1) **Accepted.**", Verdict("accept", None, (), ""), [], id="accept-in-other-dress"),
        pytest.param("١. accept", Verdict("accept", None, (), ""), [], id="other-digits"),
        pytest.param("1. reject", Verdict("reject", None, (), ""), [], id="reject"),
        pytest.param("1. reject: label", Verdict("reject", None, ("label",), ""), [], id="reject-label"),
        pytest.param(
            "1. reject: label: asks for results: no",
            Verdict("reject", None, ("label",), "asks for results: no"),
            [],
            id="reject-label-why",
        ),
        pytest.param(
            "1. reject: natural, language: in English",
            Verdict("reject", None, ("language", "natural"), "in English"),
            [],
            id="reject-two",
        ),
        pytest.param(
            "1. reject: other label: books", Verdict("reject", None, (), "other label: books"), [], id="reject-in-words"
        ),
        pytest.param("1. repair: Ob 8: kdo?", Verdict("repair", "Ob 8: kdo?", (), ""), [], id="repair"),
        pytest.param('1. repair: "Kdaj?"', Verdict("repair", "Kdaj?", (), ""), [], id="repair-quoted"),
        pytest.param("1. repair", Verdict(None, None, (), "no_repair"), ["no_repair"], id="no-repair"),
        pytest.param("1. repair: a\x00", Verdict(None, None, (), "control"), ["control"], id="repair-with-nul"),
        pytest.param(
            '1. repair: "\\ud800"', Verdict(None, None, (), "surrogate"), ["surrogate"], id="repair-surrogate"
        ),
        pytest.param(
            "1. accept: but the label is wrong",
            Verdict(None, None, (), "contradiction"),
            ["contradiction"],
            id="accept-but",
        ),
        pytest.param(
            "1. accept or reject", Verdict(None, None, (), "broken_verdict"), ["broken_verdict"], id="undecided"
        ),
        pytest.param("1. not accept", Verdict(None, None, (), "broken_verdict"), ["broken_verdict"], id="not-accept"),
        pytest.param(
            "1. accept\n1. accept", Verdict(None, None, (), "twofold_verdict"), ["twofold_verdict"], id="twofold"
        ),
        pytest.param("accept", Verdict(None, None, (), "no_lines"), ["no_lines"], id="no-number"),
        pytest.param("Sure!\n1. accept", Verdict("accept", None, (), ""), ["fenced"], id="words-before"),
    ],
)
def test_a_verdict_in_a_plain_line(line: str, expected: Verdict, faults: list[str]) -> None:
    assert read_verdicts(to_judge(structured=False), Reply(line)) == VerdictsRead([expected], faults)


def test_the_faults_of_a_reply_go_by_what_was_asked() -> None:
    reply = Reply('{"texts": ["a"]}')
    assert faults_of(to_write(), reply) == ["wrong_count"]
    assert faults_of(to_judge(), reply) == ["wrong_shape"]
    assert faults_of(ChatRequest("zero-shot/x", "zero-shot", "Which?", 0.0, 1), reply) == []
    assert faults_of(ChatRequest("zero-shot/x", "zero-shot", "Which?", 0.0, 1), Reply("", "length")) == ["cut_off"]


def test_every_fault_has_a_meaning_and_notes_are_faults() -> None:
    assert all(FAULTS.values())
    assert FAULTS.keys() > NOTED


@pytest.mark.parametrize("language", ["sl", "sw", "az"])
def test_the_verdicts_of_the_demo_have_the_form_asked_for(language: str) -> None:
    lines = (REPOSITORY / "data" / "clinic" / language / "recording.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if '"revise/' in line]
    decisions: Counter[str | None] = Counter()
    for row in rows:
        # How many were asked for is known from the texts; here the numbers say it.
        count = max(entry["number"] for entry in json.loads(row["reply"])["verdicts"])
        decisions.update(one.decision for one in read_verdicts(to_judge(count), Reply(row["reply"])).verdicts)
    assert decisions["repair"] == 3
    assert decisions[None] == 1  # one that the recorded judge passes over
    assert min(decisions["accept"], decisions["reject"]) > 3
