import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asks import ASKED, asked, hurry, lines_of, numbered, teacher_params
from chat_server import KEY, chat_server
from polydistill.errors import DataError, ParamsError, TeacherError
from polydistill.replies import TEXTS_SCHEMA
from polydistill.teachers import Reply


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


@pytest.fixture(autouse=True)
def _short_pauses_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def the_reply(outcomes: dict[str, Any]) -> Reply:
    """Return the only outcome, without how long it took."""
    [reply] = outcomes.values()
    assert isinstance(reply, Reply)
    return replace(reply, seconds=0.0)


# The request


def test_a_server_is_asked_as_its_api_has_it(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "\n")
    with chat_server(content='{"texts": ["da", "ne"]}') as server:
        reply = the_reply(asked(teacher_params(server, max_tokens=500), [ASKED], journal))
    assert reply == Reply('{"texts": ["da", "ne"]}', "stop", len(ASKED.content) // 4 + 1, 6)
    assert server.keys() == {f"Bearer {KEY}"}
    assert server.chats() == [
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": ASKED.content}],
            "temperature": 0.7,
            "seed": 1,
            "max_tokens": 500,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "generate", "schema": TEXTS_SCHEMA, "strict": True},
            },
        }
    ]


def test_without_a_schema_no_format_is_asked_for(journal: Path) -> None:
    with chat_server() as server:
        asked(teacher_params(server), [replace(ASKED, schema=None)], journal)
    assert "response_format" not in server.chats()[0]


def test_any_text_reaches_the_server(journal: Path) -> None:
    content = "Write 2 new texts: สวัสดี שלום \u202e 🙂 \ud800 \x00"
    with chat_server() as server:
        asked(teacher_params(server), [replace(ASKED, content=content)], journal)
    assert server.chats()[0]["messages"][0]["content"] == content


WANTS_OTHER_NAME = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."


def test_a_server_that_wants_the_newer_name_of_the_limit_gets_it(journal: Path) -> None:
    # All of the first sixteen are under way before the server has said so to any.
    with chat_server(status=400, says=WANTS_OTHER_NAME, first=16, hold=0) as server:
        release_at(server, 16)
        outcomes = asked(teacher_params(server), numbered(40), journal)
    assert all(isinstance(outcome, Reply) for outcome in outcomes.values())
    limits = [chat.get("max_completion_tokens") for chat in server.chats()]
    assert limits == [None] * 16 + [4096] * 40
    assert not any("max_tokens" in chat for chat in server.chats()[16:])


def test_the_newer_name_of_the_limit_uses_up_no_try(journal: Path) -> None:
    with chat_server(status=400, says=WANTS_OTHER_NAME, first=1) as server:
        reply = the_reply(asked(teacher_params(server, tries=1), [ASKED], journal))
    assert (reply.tries, server.count()) == (2, 2)


def test_a_server_that_takes_neither_name_is_not_asked_for_ever(journal: Path) -> None:
    with (
        chat_server(status=400, says=WANTS_OTHER_NAME) as server,
        pytest.raises(TeacherError, match="max_completion_tokens"),
    ):
        asked(teacher_params(server), [ASKED], journal)
    assert server.count() == 2


def release_at(server: Any, count: int) -> None:
    """Let the server answer what it holds once so many requests have come."""

    def wait() -> None:
        server.wait_for(count)
        server.release()

    threading.Thread(target=wait, daemon=True).start()


# The key


def test_without_a_key_none_is_sent(journal: Path) -> None:
    with chat_server() as server:
        asked(teacher_params(server), [ASKED], journal)
    assert server.keys() == {None}


def test_a_key_in_a_file_goes_before_the_variable(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another-one")
    (tmp_path / "key").write_text(f"{KEY}\n\n", encoding="utf-8")
    with chat_server() as server:
        asked(teacher_params(server, key_file=str(tmp_path / "key")), [ASKED], journal)
    assert server.keys() == {f"Bearer {KEY}"}


def test_the_variable_can_have_another_name(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with chat_server() as server:
        asked(teacher_params(server, key_env="MY_KEY"), [ASKED], journal)
    assert server.keys() == {f"Bearer {KEY}"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "the file that params.yaml:teacher.key_file names is missing", id="missing"),
        pytest.param(b"", "is empty; put the API key there", id="empty"),
        pytest.param(b" \n", "is empty", id="blank"),
        pytest.param(f"{KEY}\nX-Header: {KEY}".encode(), "is no API key: it has characters that no", id="two lines"),
        pytest.param(f"{KEY}\0".encode(), "is no API key", id="NUL"),
        pytest.param(f"{KEY}č".encode(), "is no API key", id="no ASCII"),
        pytest.param(KEY.encode() + b"\xff", "", id="no UTF-8"),
    ],
)
def test_a_file_without_a_good_key_is_said_before_anything_is_sent(
    journal: Path, tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with chat_server() as server, pytest.raises(DataError) as error:
        asked(teacher_params(server, key_file=str(tmp_path / "key")), [ASKED], journal)
    assert message in str(error.value)
    assert KEY not in str(error.value)
    assert (server.count(), server.keys()) == (0, set())


def test_a_bad_key_in_the_variable_is_said(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\r\nHost: elsewhere")
    with (
        chat_server() as server,
        pytest.raises(DataError, match=r"what \$OPENAI_API_KEY \(params.yaml:teacher.key_env\) holds is no API key"),
    ):
        asked(teacher_params(server), [ASKED], journal)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_names_where_it_came_from(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (tmp_path / "key").write_text(KEY, encoding="utf-8")
    with chat_server(status=status, echo_key=True) as server:
        for changes, named in (({}, "$OPENAI_API_KEY"), ({"key_file": str(tmp_path / "key")}, str(tmp_path / "key"))):
            with pytest.raises(TeacherError) as error:
                asked(teacher_params(server, **changes), [ASKED], journal)
            assert f"refused the key (HTTP {status}); put a valid one into {named} " in str(error.value)
            assert KEY not in str(error.value)


# The address and the model


@pytest.mark.parametrize("url", ["http://host:abc/v1", "http://host:99999/v1", "http://[::1/v1", "http:///v1"])
def test_an_address_that_is_none_is_said(journal: Path, url: str) -> None:
    with pytest.raises(ParamsError, match="teacher.url is no address"):
        asked(teacher_params(url), [ASKED], journal)


def test_a_named_model_is_taken_as_it_is(journal: Path) -> None:
    with chat_server(models=["a", "b"], models_status=500) as server:
        asked(teacher_params(server, model="b"), [ASKED], journal)
    assert server.chats()[0]["model"] == "b"


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({"models": ["a", "b"]}, "lists the models a, b; name one in params.yaml:teacher.model"),
        ({"models": []}, "lists the models none; name one in"),
        ({"models_status": 503}, "does not say which model it has (HTTP 503); is it up?"),
        ({"models_status": 401}, "wants a key (HTTP 401), and there is none to send; put one into the variable that"),
        ({"models_status": 404}, "knows no such address or model (HTTP 404)"),
    ],
)
def test_a_model_that_is_not_clear_is_said(journal: Path, faults: dict[str, Any], message: str) -> None:
    with chat_server(**faults) as server, pytest.raises(TeacherError) as error:
        asked(teacher_params(server), [ASKED], journal)
    assert f"teacher {server.url} {message}" in str(error.value)
    assert server.count() == 0


def test_a_pause_that_is_asked_for_at_the_first_contact_is_made(journal: Path) -> None:
    with chat_server(models_busy=3) as server:
        assert len(asked(teacher_params(server), [ASKED], journal)) == 1


@pytest.mark.parametrize(("key", "warned"), [("sk-1234", True), ("sk-12345", False)])
def test_a_key_too_short_to_be_told_from_words_is_warned_of(
    journal: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, key: str, warned: bool
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with chat_server() as server:
        asked(teacher_params(server), [ASKED], journal)
    assert ("the key has fewer than 8 characters" in caplog.text) == warned
    assert key not in caplog.text


def test_a_page_that_is_no_api_is_said(journal: Path) -> None:
    with chat_server() as server, pytest.raises(TeacherError, match="no such address or model .HTTP 404.*check url"):
        asked(teacher_params(f"{server.url}/oops", model="m"), numbered(100), journal)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(journal: Path, status: int) -> None:
    with chat_server(status=status) as server, pytest.raises(TeacherError, match="set params.yaml:teacher.url to wh"):
        asked(teacher_params(server, concurrency=1), numbered(5), journal)
    assert server.count() == 1


def test_a_server_that_is_not_there_is_said(journal: Path) -> None:
    with chat_server() as server:
        url = server.url
    with pytest.raises(TeacherError, match=r"cannot connect to .*Connect call failed|cannot connect to .*refused"):
        asked(teacher_params(url, model="m"), [ASKED], journal)
    with pytest.raises(TeacherError, match=r"does not say which model it has \(cannot connect to"):
        asked(teacher_params(url), [ASKED], journal)
    with pytest.raises(TeacherError, match=r"cannot connect to http://no-such-host\.invalid/v1"):
        asked(teacher_params("http://no-such-host.invalid/v1", model="m", tries=1), [ASKED], journal)


def test_a_server_without_tls_is_said(journal: Path) -> None:
    with (
        chat_server() as server,
        pytest.raises(TeacherError, match="the connection broke|cannot connect|no reply within"),
    ):
        url = server.url.replace("http:", "https:")
        asked(teacher_params(url, model="m", tries=1, timeout_s=0.3), [ASKED], journal)


def test_names_of_models_are_shown_without_what_a_terminal_obeys(journal: Path) -> None:
    with chat_server(models=["a\x1b[31mred", "b\ud800"]) as server, pytest.raises(TeacherError) as error:
        asked(teacher_params(server), [ASKED], journal)
    assert "lists the models a [31mred, b\ufffd; name one" in str(error.value)


@pytest.mark.parametrize(("status", "says"), [(400, "HTTP 400: "), (404, "no such address or model (HTTP 404): ")])
def test_what_a_server_says_is_shown_without_what_a_terminal_obeys(journal: Path, status: int, says: str) -> None:
    body = "no\x1b[2J\x07 way\x7f\x9b31m\r\nat all\ufffe" + "x" * 1000
    with chat_server(status=status, raw=body) as server, pytest.raises(TeacherError) as error:
        asked(teacher_params(server), [ASKED], journal)
    assert f"{says}no [2J way 31m at all" in str(error.value)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in str(error.value))
    assert len(str(error.value)) < 700


# Many at once


@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_connections_are_kept_and_no_more_are_opened_than_allowed(journal: Path, concurrency: int) -> None:
    with chat_server(latency=0.001) as server:
        outcomes = asked(teacher_params(server, concurrency=concurrency), numbered(100), journal)
    assert len(outcomes) == server.count() == 100
    assert server.connections() <= concurrency
    assert server.most_at_once() <= concurrency


def test_as_many_are_under_way_as_allowed(journal: Path) -> None:
    with chat_server(hold=0) as server:
        release_at(server, 12)  # or nothing is ever answered
        asked(teacher_params(server, concurrency=12), numbered(40), journal)
    assert server.most_at_once() == 12


def test_a_slow_request_does_not_hold_the_others_back(journal: Path) -> None:
    with chat_server(rules=[{"match": "<0>", "slow": 1.0}]) as server:
        asked(teacher_params(server, concurrency=2), numbered(50), journal)
    assert [row["id"] for row in lines_of(journal)][-1] == "generate/book/0"
    assert server.count() == 50


# The answer


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        pytest.param({}, "no_choice", id="nothing"),
        pytest.param([], "no_choice", id="list"),
        pytest.param(None, "no_choice", id="null"),
        pytest.param("text", "no_choice", id="text"),
        pytest.param(7, "no_choice", id="number"),
        pytest.param({"choices": None}, "no_choice", id="null choices"),
        pytest.param({"choices": {}}, "no_choice", id="choices as an object"),
        pytest.param({"choices": ["x"]}, "no_choice", id="a text as choice"),
        pytest.param({"choices": [[]]}, "no_choice", id="a list as choice"),
        pytest.param({"choices": [{"message": None}]}, "no_choice", id="null message"),
        pytest.param({"choices": [{"message": "x"}]}, "no_choice", id="a text as message"),
        pytest.param({"choices": [{"message": {"content": ["x"]}}]}, "no_choice", id="parts"),
        pytest.param({"choices": [{"message": {"content": 5}}]}, "no_choice", id="a number as content"),
        pytest.param({"choices": [{"message": {"content": None, "refusal": "no"}}]}, "refusal", id="refusal"),
        pytest.param({"choices": [{"message": {"content": "", "refusal": {"a": 1}}}]}, "refusal", id="odd refusal"),
        pytest.param({"choices": [{"message": {"content": None}}]}, None, id="null content"),
        pytest.param({"choices": [{"message": {}}]}, None, id="no content"),
        pytest.param({"choices": [{"message": {"content": ""}, "finish_reason": 3}]}, None, id="odd finish reason"),
    ],
)
def test_an_odd_answer_is_a_reply_without_text(journal: Path, body: Any, fault: str | None) -> None:
    with chat_server(body=body) as server:
        reply = the_reply(asked(teacher_params(server), [ASKED], journal))
    assert reply == Reply("", fault=fault)
    [line] = lines_of(journal)
    assert line["faults"] == [fault or "empty"]
    assert server.count() == 1


@pytest.mark.parametrize(
    ("faults", "noted"),
    [
        pytest.param({"empty_choices": True}, "no_choice", id="no choices"),
        pytest.param({"refusal": True}, "refusal", id="refusal"),
        pytest.param({"mega": 3_000_000}, "oversized", id="three megabytes"),
        pytest.param({"cut_off": True}, "cut_off", id="cut off"),
        pytest.param({"finish": "content_filter"}, None, id="finish reason"),
        pytest.param({"surrogate": True}, None, id="surrogate"),
        pytest.param({"nul": True}, None, id="NUL"),
        pytest.param({"control": True}, None, id="control characters"),
        pytest.param({"wrong_count": 1}, None, id="too few"),
        pytest.param({"wrong_count": 50}, None, id="too many"),
        pytest.param({"content": '{"texts": ["' + "da " * 2000, "finish": "length"}, "looping", id="looping"),
        pytest.param({"content": "[" * 100_000}, None, id="deep nesting"),
        pytest.param({"content": '{"texts": ' + "[" * 50_000 + "]" * 50_000 + "}"}, None, id="deep list"),
        pytest.param({"content": '{"texts": ' + "9" * 5_000 + "}"}, None, id="endless number"),
    ],
)
def test_a_hostile_reply_is_a_typed_fault_in_the_journal(
    journal: Path, faults: dict[str, Any], noted: str | None
) -> None:
    with chat_server(**faults) as server:
        outcomes = asked(teacher_params(server), numbered(3), journal)
    assert all(isinstance(outcome, Reply) for outcome in outcomes.values())
    for line in lines_of(journal):
        assert line["faults"]
        assert noted is None or noted in line["faults"]
    assert server.count() == 3


def test_an_endless_answer_is_given_up_before_it_fills_the_memory(journal: Path) -> None:
    with chat_server(mega=50_000_000) as server:
        reply = the_reply(asked(teacher_params(server, max_tokens=100), [ASKED], journal))
    assert reply == Reply("", fault="oversized")
    assert journal.stat().st_size < 2000


def test_a_small_answer_that_unpacks_into_a_large_one_is_given_up(journal: Path) -> None:
    with chat_server(gzip=50_000_000) as server:
        reply = the_reply(asked(teacher_params(server, max_tokens=100), [ASKED], journal))
    assert reply == Reply("", fault="oversized")


@pytest.mark.parametrize("raw", ["[" * 200_000, "9" * 5_000, "{", "", "data: {}\n\n"])
def test_an_answer_that_is_no_json_is_tried_again(journal: Path, raw: str) -> None:
    with chat_server() as server:
        server.set(raw=raw, first=1)  # too long for a command line
        reply = the_reply(asked(teacher_params(server), [ASKED], journal))
    assert (reply.tries, server.count()) == (2, 2)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        [],
        {"prompt_tokens": "7", "completion_tokens": True},
        {"prompt_tokens": -1, "completion_tokens": 1.5},
        {"prompt_tokens": 10**400, "completion_tokens": None},
    ],
    ids=["null", "list", "other types", "odd numbers", "too much"],
)
def test_counts_of_tokens_that_are_none_are_left_out(journal: Path, usage: Any) -> None:
    body = {"choices": [{"message": {"content": "da"}, "finish_reason": "stop"}], "usage": usage}
    with chat_server(raw=json.dumps(body)) as server:
        reply = the_reply(asked(teacher_params(server), [ASKED], journal))
    assert reply == Reply("da", "stop", None, None)


@pytest.mark.parametrize(
    "faults", [{"cut_off": True}, *({"finish": said} for said in ("max_tokens", "MAX_TOKENS", "model_length"))], ids=str
)
def test_a_longer_limit_asks_what_was_cut_off_again(journal: Path, faults: dict[str, Any]) -> None:
    with chat_server(**faults) as server:
        for max_tokens, count in ((16, 1), (16, 1), (4096, 2)):
            asked(teacher_params(server, max_tokens=max_tokens), [ASKED], journal)
            assert server.count() == count
        server.set()
        asked(teacher_params(server, max_tokens=5000), [ASKED], journal)
        asked(teacher_params(server, max_tokens=6000), [ASKED], journal)
    assert server.count() == 3
