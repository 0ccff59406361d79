import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import chat_server as module
from chat_server import KEY, ChatServer, chat_server, sentence, texts_to_judge

Answer = tuple[int, dict[str, str], str]
WRITE = "Labels:\n- book: to book\n- hours: when it is open\n\nWrite 3 new texts that have this label."
JUDGE = 'You check training data.\n1. accept\n2. reject: why\n\nTexts:\n1. "ena"\n2. "dve 3. maja"\n3. "tri"\n'


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with chat_server() as server:
        yield server


@pytest.fixture
def healthy(server: ChatServer) -> ChatServer:
    server.set()
    return server


def ask(server: ChatServer, prompt: str = WRITE, name: str | None = "generate", schema: Any = None) -> Answer:
    """Return the status, the headers and the body of the answer to a chat request."""
    body: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": prompt}]}
    if name:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": name, "schema": schema or {}}}
    url = urlsplit(server.url)
    with closing(http.client.HTTPConnection(str(url.hostname), url.port, timeout=30)) as connection:
        headers = {"Authorization": f"Bearer {KEY}"}
        connection.request("POST", f"{url.path}/chat/completions", json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()


def content(answer: Answer) -> Any:
    status, _, body = answer
    assert status == 200
    return json.loads(body)["choices"][0]["message"]["content"]


def texts(answer: Answer) -> list[str]:
    found: list[str] = json.loads(content(answer))["texts"]
    return found


# What a healthy one answers


def test_texts_are_as_many_as_asked_and_never_the_same(healthy: ChatServer) -> None:
    found = [text for _ in range(20) for text in texts(ask(healthy))]
    assert len(set(found)) == 60


def test_texts_are_far_apart() -> None:
    grams = [{text[i : i + 4] for i in range(len(text) - 3)} for text in map(sentence, range(0, 13**5, 1009))]
    assert max(len(a & b) / len(a | b) for i, a in enumerate(grams) for b in grams[:i]) < 0.7


def test_an_answer_looks_like_openai_s(healthy: ChatServer) -> None:
    answer = json.loads(ask(healthy)[2])
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["prompt_tokens"] == len(WRITE) // 4 + 1


def test_every_text_is_judged(healthy: ChatServer) -> None:
    verdicts = json.loads(content(ask(healthy, JUDGE, "revise")))["verdicts"]
    assert [(verdict["number"], verdict["decision"]) for verdict in verdicts] == [(n, "accept") for n in (1, 2, 3)]
    assert content(ask(healthy, JUDGE, None)) == "1. accept\n2. accept\n3. accept"


@pytest.mark.parametrize(
    ("prompt", "count"), [("nothing", 0), (JUDGE, 3), ("1. a\n7. b\n2. c\n", 2), ("1. a\n2. b\n1. c\n", 1)]
)
def test_the_last_list_is_judged(prompt: str, count: int) -> None:
    assert texts_to_judge(prompt) == count


def test_plain_lines_where_no_schema_is_asked_for(healthy: ChatServer) -> None:
    lines = content(ask(healthy, name=None)).split("\n")
    assert [line.partition(" ")[0] for line in lines] == ["1.", "2.", "3."]


def test_a_label_and_a_canary(healthy: ChatServer) -> None:
    prompt = "Labels:\n- book: to book\n- hours: open\n\nWhich one of these labels does it have?\n\nText: - x"
    assert content(ask(healthy, prompt, None)) == "book"
    schema = {"type": "object", "properties": {"word": {"enum": ["canary"]}}}
    assert json.loads(content(ask(healthy, "Answer with the one word no.", "canary", schema))) == {"word": "canary"}
    healthy.set(ignore_schema=True)
    assert content(ask(healthy, "Answer with the one word no.", "canary", schema)) == "no"


def test_the_same_prompt_has_the_same_answer_where_wanted(healthy: ChatServer) -> None:
    healthy.set(by_prompt=True)
    assert texts(ask(healthy)) == texts(ask(healthy)) != texts(ask(healthy, WRITE + " Now."))


# Faults of the server


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 429, 500, 502, 503, 529])
def test_a_status(healthy: ChatServer, status: int) -> None:
    healthy.set(status=status, says="not today", echo_key=True)
    said, headers, body = ask(healthy)
    assert (said, "retry-after" in headers) == (status, False)
    assert json.loads(body)["error"]["message"] == f"not today Bearer {KEY}"


def test_retry_after(healthy: ChatServer) -> None:
    healthy.set(status=429, retry_after=7)
    assert ask(healthy)[1]["retry-after"] == "7"
    healthy.set(status=429, retry_after=60, retry_after_date=True)
    assert 50 < parsedate_to_datetime(ask(healthy)[1]["retry-after"]).timestamp() - time.time() < 62


@pytest.mark.parametrize(
    ("fault", "error"),
    [({"reset": True}, ConnectionResetError), ({"half": True}, http.client.IncompleteRead)],
    ids=["reset", "half"],
)
def test_a_connection_that_breaks(healthy: ChatServer, fault: dict[str, bool], error: type[Exception]) -> None:
    healthy.set(**fault)
    with pytest.raises(error) as caught:
        ask(healthy)
    assert caught.type is error  # a connection that is merely closed raises a kind of ConnectionResetError too


def test_no_answer(healthy: ChatServer) -> None:
    healthy.set(hang=True)
    url = urlsplit(healthy.url)
    with closing(http.client.HTTPConnection(str(url.hostname), url.port, timeout=0.1)) as connection:
        connection.request("POST", "/v1/chat/completions", json.dumps({"messages": [{"content": "x"}]}))
        with pytest.raises(TimeoutError):
            connection.getresponse()


def test_slow(healthy: ChatServer) -> None:
    healthy.set(latency=0.1, slow=0.1, first=1)
    for least in (0.19, 0.09):
        began = time.monotonic()
        ask(healthy)
        assert time.monotonic() - began >= least


def test_bodies_that_are_no_answer(healthy: ChatServer) -> None:
    healthy.set(html=True)
    status, headers, body = ask(healthy)
    assert (status, headers["content-type"], body[:6]) == (200, "text/html", "<html>")
    healthy.set(body=None)
    assert ask(healthy)[2] == "null"
    healthy.set(raw='{"choices": [')
    assert ask(healthy)[2] == '{"choices": ['
    healthy.set(empty_choices=True)
    assert json.loads(ask(healthy)[2])["choices"] == []
    healthy.set(refusal=True)
    message = json.loads(ask(healthy)[2])["choices"][0]["message"]
    assert (message["content"], message["refusal"]) == (None, "I cannot help with that.")


def test_a_schema_is_refused(healthy: ChatServer) -> None:
    healthy.set(reject_schema=True)
    assert (ask(healthy)[0], ask(healthy, name=None)[0]) == (400, 200)


def test_models(healthy: ChatServer) -> None:
    healthy.set(models=["a", "b"])
    url = urlsplit(healthy.url)
    with closing(http.client.HTTPConnection(str(url.hostname), url.port, timeout=30)) as connection:
        connection.request("GET", "/v1/models")
        assert [model["id"] for model in json.loads(connection.getresponse().read())["data"]] == ["a", "b"]


# Faults of the model


@pytest.mark.parametrize(
    ("fault", "bad"),
    [("surrogate", "\ud83d"), ("nul", "\0"), ("control", "\x1b"), ("echo_key_in_reply", KEY)],
)
def test_what_stands_in_the_first_text(healthy: ChatServer, fault: str, bad: str) -> None:
    healthy.set(**{fault: True})
    assert [bad in text for text in texts(ask(healthy))] == [True, False, False]


def test_odd_texts(healthy: ChatServer) -> None:
    healthy.set(duplicates=True)
    assert len(set(texts(ask(healthy)) + texts(ask(healthy)))) == 1
    healthy.set(wrong_count=5)
    assert len(texts(ask(healthy))) == 5
    healthy.set(looping=True)
    assert [len(set(text.split())) for text in texts(ask(healthy))] == [1, 1, 1]
    healthy.set(mega=3_000_000)
    assert 3_000_000 <= len(content(ask(healthy))) < 3_001_000
    healthy.set(content="Da.")
    assert content(ask(healthy)) == "Da."
    healthy.set(other_language=True)
    assert " the " in " ".join(texts(ask(healthy)))


def test_odd_forms(healthy: ChatServer) -> None:
    healthy.set(fenced=True)
    assert content(ask(healthy)).startswith('```json\n{"texts"')
    healthy.set(ignore_schema=True)
    assert content(ask(healthy)).startswith("Certainly! Here is what you asked for:\n\n1. ")
    healthy.set(cut_off=True)
    choice = json.loads(ask(healthy)[2])["choices"][0]
    assert choice["finish_reason"] == "length"
    assert not choice["message"]["content"].endswith("}")


@pytest.mark.parametrize(
    ("judge", "decision", "line"),
    [
        ("no", "reject", "1. reject: label: of another one"),
        ("repair", "repair", "1. repair: "),
        ("nonsense", "perhaps", "Kdo ve?"),
    ],
)
def test_judges(healthy: ChatServer, judge: str, decision: str, line: str) -> None:
    healthy.set(judge=judge)
    verdicts = json.loads(content(ask(healthy, JUDGE, "revise")))["verdicts"]
    assert [verdict["decision"] for verdict in verdicts] == [decision] * 3
    assert content(ask(healthy, JUDGE, None)).startswith(line)


# Which requests they strike


@pytest.mark.parametrize(
    ("condition", "struck"),
    [
        ({}, "xxxxxx"),
        ({"every": 3}, "..x..x"),
        ({"first": 2}, "xx...."),
        ({"after": 4}, "....xx"),
        ({"after": 1, "first": 2}, ".xx..."),
        ({"match": "poison"}, "......"),
        ({"match": "new texts"}, "xxxxxx"),
        ({"purpose": "revise"}, "......"),
        ({"purpose": ["generate"]}, "xxxxxx"),
        ({"share": 0}, "......"),
        ({"rules": [{"status": 200, "every": 2}]}, "x.x.x."),
    ],
)
def test_conditions(healthy: ChatServer, condition: dict[str, Any], struck: str) -> None:
    healthy.set(status=500, **condition)
    assert "".join("x" if ask(healthy)[0] == 500 else "." for _ in struck) == struck


def test_a_share_is_the_same_again(healthy: ChatServer) -> None:
    seen = []
    for _ in range(2):
        healthy.set(status=500, share=0.3)
        seen.append([ask(healthy)[0] for _ in range(60)])
    assert seen[0] == seen[1]
    assert 5 < seen[0].count(500) < 35


@pytest.mark.parametrize("faults", [{"statsu": 500}, {"rules": [{"retry-after": 1}]}])
def test_a_misspelt_fault_is_said(healthy: ChatServer, faults: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no such faults: "):
        healthy.set(**faults)


# What it has seen, and its life


def test_what_was_asked_is_kept_in_order() -> None:
    with chat_server() as server:
        for prompt in "abc":
            ask(server, prompt)
        assert [chat["messages"][0]["content"] for chat in server.chats()] == ["a", "b", "c"]
        assert (server.count(), server.connections(), server.most_at_once()) == (3, 3, 1)
        assert server.keys() == {f"Bearer {KEY}"}
        server.set(keep=False)
        ask(server)
        assert (server.count(), len(server.chats())) == (4, 3)


def test_later_requests_wait_until_released() -> None:
    with chat_server(hold=1) as server, ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(ask, server) for _ in range(4)]
        server.wait_for(4)
        assert sum(answer.done() for answer in answers) <= 1
        server.release()
        assert [answer.result()[0] for answer in answers] == [200] * 4
        assert server.most_at_once() >= 3


def test_waiting_in_vain_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.3)
    with chat_server() as server, pytest.raises(TimeoutError, match=r"0 chat requests came in 0\.3 s, not 1"):
        server.wait_for(1)


def test_a_server_that_dies_comes_back_on_the_same_port() -> None:
    with chat_server(hang=True) as server, ThreadPoolExecutor(1) as pool:
        url, under_way = server.url, pool.submit(ask, server)
        server.wait_for(1)
        server.stop()
        with pytest.raises(ConnectionError):
            under_way.result()
        with pytest.raises(ConnectionRefusedError):
            ask(server)
        assert (server.count(), len(server.chats())) == (1, 1)
        server.start(models=["b"])
        assert (server.url, ask(server)[0]) == (url, 200)
        server.wait_for(2)
        assert (server.count(), len(server.chats()), server.connections()) == (2, 2, 2)


@pytest.mark.parametrize("ends", ["terminated", "parent gone"])
def test_it_ends_by_itself(ends: str) -> None:
    command = [sys.executable, str(Path(module.__file__)), "--faults", '{"hang": true}']
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        port = urlsplit(process.stdout.readline().strip()).port
        with socket.create_connection(("127.0.0.1", port)):
            if ends == "terminated":
                os.kill(process.pid, signal.SIGTERM)
            else:
                process.stdin.close()
            assert process.wait(timeout=30) == 0
