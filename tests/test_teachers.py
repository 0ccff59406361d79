import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chat_server import KEY, Answer, ChatServer, chat, chat_server
from polydistill.errors import DataError, TeacherError
from polydistill.params import TeacherParams, check
from polydistill.prompts import Purpose
from polydistill.teachers import ChatRequest, Journal, Reply, Teacher, ask_all, open_teacher, write_recording
from polydistill.teachers import openai as openai_module
from spaces import settings

ASKED = ChatRequest("generate/book/0", "generate", "Write two texts.", 0.7, 1, {"type": "object"})
JUDGED = ChatRequest("revise/book/0", "revise", "Judge them.", 0.0, 1)


def teacher_params(**changes: Any) -> TeacherParams:
    return check(TeacherParams, settings()["teacher"] | changes, "test")


def ask(
    params: TeacherParams, requests: Sequence[ChatRequest], journal: Path, recording: Path = Path("none")
) -> dict[str, Reply]:
    async def run() -> dict[str, Reply]:
        async with open_teacher(params, recording) as teacher:
            with Journal(journal) as replies:
                return await ask_all(teacher, requests, replies, params.concurrency)

    return asyncio.run(run())


def ask_server(server: ChatServer, tmp_path: Path, **changes: Any) -> dict[str, Reply]:
    return ask(teacher_params(kind="openai", url=server.url, **changes), [ASKED], tmp_path / "journal.jsonl")


class Parrot:
    """A teacher that repeats the prompt, and counts how often it is asked."""

    kind = "parrot"

    def __init__(self, model: str = "m", revision: str = "") -> None:
        self.models: Mapping[Purpose, str] = {"generate": model}
        self.revision = revision
        self.asked: list[str] = []

    async def complete(self, request: ChatRequest) -> Reply:
        self.asked.append(request.id)
        if request.content == "fail":
            raise TeacherError("no more")
        return Reply(request.content, "stop", 1, 2)

    async def __aenter__(self) -> "Parrot":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


def parrot_says(
    journal: Path, requests: Sequence[ChatRequest], teacher: Parrot | None = None, concurrency: int = 1
) -> tuple[dict[str, Reply], list[str]]:
    """Return the replies, and the ids of the requests that were really asked."""
    parrot = teacher or Parrot()
    typed: Teacher = parrot
    with Journal(journal) as replies:
        found = asyncio.run(ask_all(typed, requests, replies, concurrency))
    return found, parrot.asked


def numbered(*contents: str) -> list[ChatRequest]:
    return [replace(ASKED, id=f"generate/book/{n}", content=content) for n, content in enumerate(contents)]


# The recorded teacher


def record(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


HEADER = '{"recording": 1, "purposes": {"generate": {"model": "tape"}}}'


def test_a_recording_answers_by_id_whatever_is_asked(tmp_path: Path) -> None:
    tape = tmp_path / "recording.jsonl"
    replies = [("generate/book/0", Reply("da\u2028ne\x85", "stop")), ("generate/a/b/0", Reply("lone \ud800"))]
    write_recording(tape, {"generate": "tape"}, replies)
    requests = [ASKED, replace(ASKED, id="generate/a/b/0", content="quite another prompt")]
    found = ask(teacher_params(), requests, tmp_path / "journal.jsonl", tape)
    assert found == {"generate/book/0": Reply("da\u2028ne\x85", "stop"), "generate/a/b/0": Reply("lone \ud800")}
    assert ask(teacher_params(), requests, tmp_path / "journal.jsonl", tape) == found


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        pytest.param(
            None, "params.yaml:teacher.kind is `recorded`, which replays that file; restore it, or", id="none"
        ),
        pytest.param([], "recording.jsonl:1: not JSON", id="empty"),
        pytest.param(['{"id": "x", "reply": "y"}'], "recording.jsonl:1: no recording of version 1", id="no header"),
        pytest.param(['{"recording": 2}'], "recording.jsonl:1: no recording of version 1", id="other version"),
        pytest.param(['{"recording": 1}'], "recording.jsonl:1: names no models", id="no purposes"),
        pytest.param(['{"recording": 1, "purposes": ["generate"]}'], "recording.jsonl:1: names no models", id="list"),
        pytest.param([HEADER, '{"id": "x", "re'], "recording.jsonl:2: not JSON", id="torn"),
        pytest.param([HEADER, "[]"], "recording.jsonl:2: not a JSON object", id="no object"),
        pytest.param([HEADER, '{"id": "x"}'], "recording.jsonl:2: `id` or `reply` is missing", id="no reply"),
        pytest.param([HEADER, '{"id": "x", "reply": null}'], "recording.jsonl:2: `id` or `reply`", id="null"),
        pytest.param(
            [HEADER, '{"id": "generate/book/7", "reply": "x"}'],
            "recording.jsonl holds no reply to generate/book/0 (1 others of its kind)",
            id="not recorded",
        ),
    ],
)
def test_a_bad_recording_is_said(tmp_path: Path, lines: list[str] | None, message: str) -> None:
    tape = tmp_path / "recording.jsonl"
    if lines is not None:
        record(tape, *lines)
    with pytest.raises(DataError) as error:
        ask(teacher_params(), [ASKED], tmp_path / "journal.jsonl", tape)
    assert message in str(error.value)


def test_a_purpose_that_was_not_recorded_is_said(tmp_path: Path) -> None:
    tape = record(tmp_path / "recording.jsonl", HEADER)
    with pytest.raises(DataError, match=r"the recorded teacher holds no replies for 'revise'; it has \['generate'\]"):
        ask(teacher_params(), [JUDGED], tmp_path / "journal.jsonl", tape)


# The journal


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    requests = numbered("a", "b", "c")
    first = parrot_says(tmp_path / "j.jsonl", requests[:2])
    second = parrot_says(tmp_path / "j.jsonl", requests)
    again = parrot_says(tmp_path / "j.jsonl", requests)
    assert (first[1], second[1], again[1]) == (["generate/book/0", "generate/book/1"], ["generate/book/2"], [])
    assert again[0] == second[0] == {r.id: Reply(r.content, "stop", 1, 2) for r in requests}


def test_a_journal_works_in_another_folder(tmp_path: Path) -> None:
    parrot_says(tmp_path / "here" / "j.jsonl", [ASKED])
    (tmp_path / "there").mkdir()
    (tmp_path / "here" / "j.jsonl").rename(tmp_path / "there" / "k.jsonl")
    assert parrot_says(tmp_path / "there" / "k.jsonl", [ASKED])[1] == []


@pytest.mark.parametrize(
    ("request_", "teacher"),
    [
        pytest.param(replace(ASKED, content="Write 2 texts."), Parrot(), id="prompt"),
        pytest.param(replace(ASKED, temperature=0.8), Parrot(), id="temperature"),
        pytest.param(replace(ASKED, seed=2), Parrot(), id="seed"),
        pytest.param(replace(ASKED, schema=None), Parrot(), id="schema"),
        pytest.param(replace(ASKED, id="generate/hours/0"), Parrot(), id="id"),
        pytest.param(ASKED, Parrot(model="other"), id="model"),
        pytest.param(ASKED, Parrot(revision="other"), id="revision"),
    ],
)
def test_what_changed_is_asked_again(tmp_path: Path, request_: ChatRequest, teacher: Parrot) -> None:
    parrot_says(tmp_path / "j.jsonl", [ASKED])
    assert parrot_says(tmp_path / "j.jsonl", [request_], teacher)[1] == [request_.id]
    assert parrot_says(tmp_path / "j.jsonl", [ASKED])[1] == []


def test_a_changed_recording_is_asked_again(tmp_path: Path) -> None:
    tape, journal = tmp_path / "recording.jsonl", tmp_path / "journal.jsonl"
    for said in ("da", "ne"):
        record(tape, HEADER, json.dumps({"id": ASKED.id, "reply": said}))
        assert ask(teacher_params(), [ASKED], journal, tape) == {ASKED.id: Reply(said)}


@pytest.mark.parametrize("content", ["č \ud800 \u2028 \x00", "two\nlines\r\n", ""], ids=["odd", "lines", "empty"])
def test_any_reply_comes_back_from_the_journal(tmp_path: Path, content: str) -> None:
    for expected in ([ASKED.id], []):
        found, asked = parrot_says(tmp_path / "j.jsonl", [replace(ASKED, content=content)])
        assert (found[ASKED.id].text, asked) == (content, expected)


def test_a_line_torn_by_a_kill_is_asked_again(tmp_path: Path) -> None:
    requests = numbered("a", "b")
    parrot_says(tmp_path / "j.jsonl", requests)
    whole = (tmp_path / "j.jsonl").read_bytes()
    (tmp_path / "j.jsonl").write_bytes(whole[:-9])
    assert parrot_says(tmp_path / "j.jsonl", requests)[1] == ["generate/book/1"]
    assert (tmp_path / "j.jsonl").read_bytes() == whole


@pytest.mark.parametrize("damage", [b"", b'{"id": 1}', b"[]", b'{"id": "x", "digest"', b"\xff"])
def test_a_damaged_line_is_named_and_nothing_touched(tmp_path: Path, damage: bytes) -> None:
    parrot_says(tmp_path / "j.jsonl", numbered("a", "b", "c"))
    lines = (tmp_path / "j.jsonl").read_bytes().splitlines()
    damaged = b"\n".join([lines[0], damage, lines[2], b""])
    (tmp_path / "j.jsonl").write_bytes(damaged)
    with pytest.raises(DataError, match=r"j\.jsonl:2: damaged .*mend or delete this line"):
        parrot_says(tmp_path / "j.jsonl", [ASKED])
    assert (tmp_path / "j.jsonl").read_bytes() == damaged


def test_replies_before_a_failure_stay(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="no more"):
        parrot_says(tmp_path / "j.jsonl", numbered("a", "b", "fail", "c"))
    assert parrot_says(tmp_path / "j.jsonl", numbered("a", "b", "good", "c"))[1] == [
        "generate/book/2",
        "generate/book/3",
    ]


class Busy(Parrot):
    """A teacher that takes its time, and counts how many requests are under way at once."""

    under_way = most = 0

    async def complete(self, request: ChatRequest) -> Reply:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        for _ in range(5):
            await asyncio.sleep(0)
        self.under_way -= 1
        return await super().complete(request)


def test_a_failure_costs_none_of_the_replies_under_way(tmp_path: Path) -> None:
    class Slow(Parrot):
        failed = asyncio.Event()

        async def complete(self, request: ChatRequest) -> Reply:
            if request.content == "fail":
                self.failed.set()
            else:
                await self.failed.wait()
                for _ in range(10):  # let the failure arrive first
                    await asyncio.sleep(0)
            return await super().complete(request)

    requests = [replace(ASKED, id=f"generate/book/{i}", content=said) for i, said in enumerate(["a", "b", "fail", "c"])]
    teacher = Slow()
    with Journal(tmp_path / "journal.jsonl") as journal, pytest.raises(TeacherError, match="no more"):
        asyncio.run(ask_all(teacher, requests, journal, concurrency=3))
    assert sorted(teacher.asked) == ["generate/book/0", "generate/book/1", "generate/book/2"]  # not the one not begun
    with Journal(tmp_path / "journal.jsonl") as journal:
        assert [journal.get(request, teacher) is not None for request in requests] == [True, True, False, False]


@pytest.mark.parametrize(("concurrency", "most"), [(1, 1), (3, 3), (99, 8)])
def test_as_many_requests_are_under_way_as_allowed(tmp_path: Path, concurrency: int, most: int) -> None:
    teacher = Busy()
    found, _ = parrot_says(tmp_path / "j.jsonl", numbered(*"abcdefgh"), teacher, concurrency)
    assert (teacher.most, len(found)) == (most, 8)


# A server with OpenAI's API


def test_a_server_is_asked_as_its_api_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "\n")
    with chat_server(lambda prompt, _: chat(f"you said: {prompt}")) as server:
        assert ask_server(server, tmp_path) == {ASKED.id: Reply("you said: Write two texts.", "stop", 7, 3)}
    assert server.keys == {f"Bearer {KEY}"}
    assert server.chats == [
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "Write two texts."}],
            "temperature": 0.7,
            "seed": 1,
            "max_tokens": 4096,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "generate", "schema": {"type": "object"}, "strict": True},
            },
        }
    ]
    assert KEY not in (tmp_path / "journal.jsonl").read_text()


def test_a_longer_limit_asks_again(tmp_path: Path) -> None:
    with chat_server() as server:
        for max_tokens, asked in ((16, 1), (16, 1), (4096, 2)):
            ask_server(server, tmp_path, max_tokens=max_tokens)
            assert len(server.chats) == asked


def test_token_counts_that_are_none_are_left_out(tmp_path: Path) -> None:
    status, body = chat("yes")
    with chat_server(
        lambda *_: (status, body | {"usage": {"prompt_tokens": "7", "completion_tokens": True}})
    ) as server:
        assert ask_server(server, tmp_path)[ASKED.id] == Reply("yes", "stop", None, None)


def test_without_a_key_none_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with chat_server() as server:
        ask_server(server, tmp_path)
    assert server.keys == {None}


def test_a_named_model_is_taken_as_it_is(tmp_path: Path) -> None:
    with chat_server(models=("a", "b")) as server:
        ask_server(server, tmp_path, model="b")
    assert server.chats[0]["model"] == "b"


@pytest.mark.parametrize(
    ("models", "message"),
    [(("a", "b"), "lists the models a, b; name one in params.yaml:teacher.model"), ((), "lists the models none")],
)
def test_a_choice_of_models_is_left_to_the_user(tmp_path: Path, models: tuple[str, ...], message: str) -> None:
    with chat_server(models=models) as server, pytest.raises(TeacherError) as error:
        ask_server(server, tmp_path)
    assert message in str(error.value)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_module, "FIRST_PAUSE_S", 0.001)


@pytest.mark.parametrize(
    ("answer", "message", "tries"),
    [
        pytest.param(
            (401, {"error": KEY}), "refused the key (HTTP 401); put a valid one into $OPENAI_API_KEY", 1, id="401"
        ),
        pytest.param((404, {"error": "no such model"}), "no such address or model (HTTP 404): {", 1, id="404"),
        pytest.param((400, {"error": f"bad header {KEY}"}), "(HTTP 400): {", 1, id="400"),
        pytest.param(
            (503, {"error": KEY}), "failed 5 times, last with: HTTP 503; is the server up? Run again to", 5, id="503"
        ),
        pytest.param((200, "<html>"), "failed 5 times", 5, id="no JSON"),
        pytest.param(
            (200, {"choices": []}), "answered generate/book/0 with no text in it; is it a chat server?", 1, id="none"
        ),
        pytest.param((200, {}), "with no text in it", 1, id="no choices"),
        pytest.param((200, []), "with no text in it", 1, id="list"),
        pytest.param((200, {"choices": [{"message": {"content": ["x"]}}]}), "with no text in it", 1, id="parts"),
    ],
)
@pytest.mark.usefixtures("no_pause")
def test_a_failure_is_said_without_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, message: str, tries: int
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with chat_server(lambda *_: answer) as server, pytest.raises(TeacherError) as error:
        ask_server(server, tmp_path)
    assert f"teacher {server.url} " in str(error.value)
    assert message in str(error.value)
    assert KEY not in str(error.value)
    assert len(server.chats) == tries
    assert (tmp_path / "journal.jsonl").read_text() == ""


@pytest.mark.usefixtures("no_pause")
def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    answers = [(503, {}), (429, {}), chat("at last")]
    with chat_server(lambda _, number: answers[number]) as server:
        assert ask_server(server, tmp_path)[ASKED.id].text == "at last"


@pytest.mark.parametrize("content", [None, ""])
def test_an_empty_answer_is_an_empty_reply(tmp_path: Path, content: str | None) -> None:
    with chat_server(lambda *_: (200, {"choices": [{"message": {"content": content}}]})) as server:
        assert ask_server(server, tmp_path) == {ASKED.id: Reply("")}


@pytest.mark.usefixtures("no_pause")
def test_a_server_that_is_down_is_said(tmp_path: Path) -> None:
    with chat_server() as server:
        url = server.url
    with pytest.raises(TeacherError, match=r"failed 5 times, last with: Cannot connect to host .*; is the server up\?"):
        ask(teacher_params(kind="openai", url=url), [ASKED], tmp_path / "journal.jsonl")
    assert not (tmp_path / "journal.jsonl").exists()


@pytest.mark.usefixtures("no_pause")
def test_a_server_that_does_not_answer_in_time_is_said(tmp_path: Path) -> None:
    with chat_server(free=0) as server, pytest.raises(TeacherError, match=r"no answer within 0\.05 s"):
        ask_server(server, tmp_path, timeout_s=0.05)


@pytest.mark.usefixtures("no_pause")
def test_a_page_that_is_no_api_is_said(tmp_path: Path) -> None:
    with chat_server() as server, pytest.raises(TeacherError, match="no such address or model"):
        ask(teacher_params(kind="openai", url=f"{server.url}/oops"), [ASKED], tmp_path / "journal.jsonl")
