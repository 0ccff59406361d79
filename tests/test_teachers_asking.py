import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from asks import MOST_S, NO_LIMITS, PLAN, Fake, asked, asked_of, budget, hurry, lines_of, numbered, teacher_params
from chat_server import chat_server
from polydistill.errors import DataError, TeacherError
from polydistill.teachers import ChatRequest, Failure, Journal, Outcome, Reply, ask, asking
from polydistill.teachers.asking import RequestList
from polydistill.teachers.base import BusyError

DEAD = r"stopped asking after 10 failed requests in a row; is the teacher up and well\? Run again to go on from here"


pytestmark = pytest.mark.usefixtures("short_pauses")


def answered(outcomes: dict[str, Outcome]) -> int:
    return sum(isinstance(outcome, Reply) for outcome in outcomes.values())


# Tries


@pytest.mark.parametrize(
    "faults",
    [
        *({"status": status} for status in (408, 429, 500, 502, 503, 504)),
        {"status": 503, "html": True},
        {"status": 500, "raw": "[" * 10_000},
        {"reset": True},
        {"half": True},
        {"html": True},
        {"raw": "{"},
    ],
    ids=lambda faults: "-".join(f"{name}-{str(value)[:5]}" for name, value in faults.items()),
)
def test_what_may_pass_is_tried_again(journal: Path, faults: dict[str, Any]) -> None:
    with chat_server(**faults, first=2) as server:
        [reply] = asked(teacher_params(server), numbered(1), journal).values()
    assert isinstance(reply, Reply)
    assert (reply.tries, server.count()) == (3, 3)
    assert lines_of(journal)[0]["tries"] == 3


@pytest.mark.parametrize(
    ("faults", "changes", "cause"),
    [
        pytest.param({"status": 500}, {}, "HTTP 500", id="500"),
        pytest.param({"status": 502}, {}, "HTTP 502", id="502"),
        pytest.param({"status": 503}, {}, "HTTP 503", id="503"),
        pytest.param({"status": 429}, {}, "HTTP 429", id="429"),
        pytest.param({"reset": True}, {}, r"the connection broke \(\w+\)", id="reset"),
        pytest.param({"half": True}, {}, "the answer broke off", id="half a body"),
        pytest.param({"html": True}, {}, "HTTP 200 with something else than JSON; is the url that of a", id="HTML"),
        pytest.param({"hang": True}, {"timeout_s": 0.1}, r"no reply within 0\.1 s \(.*teacher\.timeout_s", id="hang"),
    ],
)
def test_where_all_tries_fail_the_cause_is_said_once_with_its_count(
    journal: Path, faults: dict[str, Any], changes: dict[str, Any], cause: str
) -> None:
    with chat_server(**faults) as server:
        params = teacher_params(server, tries=3, **changes)
        with pytest.raises(TeacherError, match=rf"^all 4 requests failed: {cause}[^,]* \(4×\); run again to go on$"):
            asked(params, numbered(4), journal)
    assert server.count() == 12
    assert [(line["refused"], line["tries"]) for line in lines_of(journal)] == [(False, 3)] * 4


def test_a_request_has_a_limit_of_its_own_for_all_its_tries(journal: Path) -> None:
    with chat_server(rules=[{"match": "<1>", "hang": True}]) as server:
        outcomes = asked(teacher_params(server, total_timeout_s=0.3), numbered(4), journal)
    assert answered(outcomes) == 3
    failure = outcomes["generate/book/1"]
    assert isinstance(failure, Failure)
    assert failure.cause == "no reply within 0.3 s (params.yaml:teacher.total_timeout_s)"
    assert failure.seconds < 5


def test_pauses_double_up_to_a_limit_and_no_two_requests_come_back_together(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def note(_: asking._Asking, seconds: float) -> None:
        pauses.append(seconds)

    async def busy(_: ChatRequest) -> Reply:
        raise BusyError("HTTP 503")

    hurry(monkeypatch, first_pause_s=1.0, longest_pause_s=8.0)
    monkeypatch.setattr(asking._Asking, "_pause", note)
    for n in range(2):
        with pytest.raises(TeacherError, match="all 1 requests failed"):
            asked_of(Fake(busy), numbered(1), journal.with_name(f"{n}.jsonl"), tries=7)
    first, second = pauses[:6], pauses[6:]
    for of_request in (first, second):
        assert len(of_request) == 6
        for pause, most in zip(of_request, [1, 2, 4, 8, 8, 8], strict=True):
            assert most / 2 <= pause <= most
    assert first != second


def test_no_pause_begins_that_cannot_end_in_time(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch, 1000.0)
    with chat_server(status=503) as server, pytest.raises(TeacherError, match="HTTP 503"):
        asked(teacher_params(server, total_timeout_s=30.0, tries=20), numbered(1), journal)
    assert server.count() == 1


@pytest.mark.parametrize("as_date", [False, True])
def test_a_server_that_says_how_long_to_wait_is_left_alone_until_then(journal: Path, as_date: bool) -> None:
    with chat_server(status=429, retry_after=1, retry_after_date=as_date, first=1) as server:
        started = time.monotonic()
        outcomes = asked(teacher_params(server, concurrency=1), numbered(3), journal)
        took = time.monotonic() - started
    assert (answered(outcomes), server.count()) == (3, 4)
    assert took >= 0.95


def test_while_a_server_wants_to_be_left_alone_nobody_asks_it(journal: Path) -> None:
    times: list[float] = []
    back = [0.0]

    async def say(request: ChatRequest) -> Reply:
        times.append(time.monotonic())
        if len(times) <= 4:  # all that are under way at first
            await asyncio.sleep(0.01)
        if len(times) <= 4 and not back[0]:
            back[0] = time.monotonic() + 0.3
            raise BusyError("HTTP 429", 0.3)
        return Reply("1. da")

    outcomes = asked_of(Fake(say), numbered(20), journal, concurrency=4)
    assert answered(outcomes) == 20
    assert all(at >= back[0] - 0.005 for at in times[4:])


@pytest.mark.parametrize("value", ["soon", "", "-5", "nan", "inf", "1e999", "Mon, 99 Foo 2000 00:00:00 GMT"])
def test_an_odd_retry_after_is_as_good_as_none(journal: Path, value: str) -> None:
    with chat_server(status=429, retry_after=value, first=1) as server:
        assert answered(asked(teacher_params(server), numbered(3), journal)) == 3


def test_being_told_to_come_back_uses_up_no_tries(journal: Path) -> None:
    with chat_server(status=429, retry_after=0, first=5) as server:
        outcomes = asked(teacher_params(server, concurrency=1, tries=2), numbered(1), journal)
    assert (answered(outcomes), server.count()) == (1, 6)


def test_a_request_that_was_never_sent_counts_no_try(journal: Path) -> None:
    with (
        chat_server(status=429, retry_after=86_400) as server,
        pytest.raises(TeacherError, match="asks to wait longer"),
    ):
        asked(teacher_params(server, concurrency=1), numbered(100), journal)
    lines = lines_of(journal)
    assert [line.get("tries", 1) for line in lines] == [1] + [0] * (len(lines) - 1)
    assert len(lines) > 1
    with Journal(journal, PLAN) as opened:
        used = opened.usage["generate"]
    assert (used.requests, used.retries, used.sent) == (len(lines), 0, server.count())


def test_a_server_that_wants_to_be_left_alone_for_too_long_is_said(journal: Path) -> None:
    with chat_server(status=429, retry_after=86_400) as server:
        with pytest.raises(TeacherError) as error:
            asked(teacher_params(server, concurrency=2), numbered(100), journal)
    assert "HTTP 429 (" in str(error.value)
    assert "the server asks to wait longer than 600 s (params.yaml:teacher.total_timeout_s)" in str(error.value)
    assert server.count() <= 2


# What fails at once


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "wants a key (HTTP 401), and there is none to send; put one into the variable that params.yaml:"),
        (403, "wants a key (HTTP 403)"),
        (404, "knows no such address or model (HTTP 404): "),
    ],
)
def test_what_no_try_can_mend_stops_at_once(
    journal: Path, monkeypatch: pytest.MonkeyPatch, status: int, message: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with chat_server(status=status) as server, pytest.raises(TeacherError) as error:
        asked(teacher_params(server, concurrency=4), numbered(200), journal)
    assert message in str(error.value)
    assert server.count() <= 4


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_server_that_refuses_every_request_is_not_asked_for_long(journal: Path, status: int) -> None:
    with chat_server(status=status, says="the context is too long") as server, pytest.raises(TeacherError) as error:
        asked(teacher_params(server, concurrency=4), numbered(200), journal)
    assert f"HTTP {status}: " in str(error.value)
    assert str(error.value).count("the context is too long") == 1
    assert "check params.yaml:teacher: model, max_tokens, and whether prompt and reply together fit" in str(error.value)
    assert "is the teacher up" not in str(error.value)
    assert server.count() <= 10 + 4


def test_where_all_of_a_few_are_refused_what_to_check_is_said(journal: Path) -> None:
    with (
        chat_server(status=400, says="too long") as server,
        pytest.raises(
            TeacherError, match=r"^all 3 requests failed: HTTP 400: .*too long.*check params.yaml:teacher: mod"
        ),
    ):
        asked(teacher_params(server), numbered(3), journal)


def test_tries_before_one_that_nothing_can_mend_are_counted(journal: Path) -> None:
    rules = [{"status": 503, "first": 2}, {"status": 401, "after": 2}]
    with chat_server(rules=rules) as server, pytest.raises(TeacherError, match="wants a key"):
        asked(teacher_params(server, concurrency=1), numbered(5), journal)
    assert [(line["failed"], line["tries"]) for line in lines_of(journal)] == [("HTTP 503", 3)]
    assert server.count() == 3


def test_what_was_answered_before_it_stopped_stays(journal: Path) -> None:
    with chat_server(status=401, after=20, hold=24) as server:
        with pytest.raises(TeacherError, match="wants a key"):
            asked(teacher_params(server, concurrency=4), numbered(100), journal)
        assert len(lines_of(journal)) == 20
        server.set()
        before = server.count()
        assert answered(asked(teacher_params(server), numbered(100), journal)) == 100
        assert server.count() - before == 80


# The circuit breaker


def test_refusals_do_not_stop_a_server_that_answers_others(journal: Path) -> None:
    requests = numbered(50)
    with chat_server(status=400, says="content filter", after=1, first=30) as server:
        outcomes = asked(teacher_params(server, concurrency=1), requests, journal)
        assert (answered(outcomes), server.count()) == (20, 50)
        server.set(status=400, says="content filter")  # in another run the journal has the answers
        assert answered(asked(teacher_params(server, concurrency=1), requests, journal)) == 20
    assert server.count() == 80


def test_refusals_do_not_hide_that_a_server_died(journal: Path) -> None:
    rules = [{"status": 503, "after": 1}, {"status": 400, "says": "content filter", "after": 1, "every": 2}]
    with chat_server(rules=rules) as server, pytest.raises(TeacherError, match=DEAD):
        asked(teacher_params(server, concurrency=1, tries=1), numbered(100), journal)
    assert server.count() == 1 + 10 + 9  # answered, failed, refused between those that failed


@pytest.mark.parametrize("faults", [{"status": 503}, {"reset": True}, {"hang": True}], ids=str)
def test_a_dead_server_is_soon_given_up(journal: Path, faults: dict[str, Any]) -> None:
    with chat_server(**faults) as server, pytest.raises(TeacherError, match=DEAD) as error:
        asked(teacher_params(server, concurrency=8, tries=3, timeout_s=0.1), numbered(1000), journal)
    assert server.count() <= 3 * (10 + 8)
    assert len(str(error.value).splitlines()) == 2


def test_a_server_that_is_gone_is_soon_given_up(journal: Path) -> None:
    with chat_server() as server:
        url = server.url
    with pytest.raises(TeacherError, match=DEAD + r"\nof \d+ requests that failed: cannot connect to .* \(\d+×\)$"):
        asked(teacher_params(url, model="tiny"), numbered(1000), journal)


@pytest.mark.parametrize("faults", [{"status": 500}, {"reset": True}, {"half": True}], ids=str)
def test_four_per_cent_of_errors_cost_nothing(journal: Path, faults: dict[str, Any]) -> None:
    with chat_server(**faults, share=0.04) as server:
        outcomes = asked(teacher_params(server), numbered(1000), journal)
    assert answered(outcomes) == 1000
    assert 1010 < server.count() < 1090


def test_four_per_cent_of_failures_do_not_stop_the_others(journal: Path) -> None:
    with chat_server(status=500, share=0.04) as server:
        outcomes = asked(teacher_params(server, tries=1), numbered(1000), journal)
    assert 910 < answered(outcomes) < 990
    assert server.count() == len(outcomes) == 1000


@pytest.mark.parametrize(
    ("faults", "cause"),
    [
        ({"status": 500}, "HTTP 500"),
        ({"status": 400, "says": "too long"}, "HTTP 400: "),
        ({"reset": True}, "the connection broke"),
        ({"half": True}, "the answer broke off"),
    ],
    ids=["500", "400", "reset", "half"],
)
def test_one_poisonous_request_leaves_the_others_done(
    journal: Path, caplog: pytest.LogCaptureFixture, faults: dict[str, Any], cause: str
) -> None:
    caplog.set_level(logging.WARNING)
    with chat_server(match="<500>", **faults) as server:
        outcomes = asked(teacher_params(server), numbered(1000), journal)
    assert answered(outcomes) == 999
    assert isinstance(outcomes["generate/book/500"], Failure)
    [warning] = caplog.messages
    assert warning.startswith(f"1 requests failed: {cause}")
    assert warning.endswith(" (1×)")
    assert server.count() == 999 + (1 if "says" in faults else 6)


def test_a_server_that_comes_back_is_gone_on_with(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch, 0.05, 0.3)
    with chat_server(latency=0.005) as server:

        def restart() -> None:
            server.wait_for(50)
            server.stop()
            server.start()

        restarting = threading.Thread(target=restart)
        restarting.start()
        outcomes = asked(teacher_params(server, tries=20), numbered(300), journal)
        restarting.join()
    assert answered(outcomes) == len(lines_of(journal)) == 300


def test_a_server_that_stays_away_costs_no_reply(journal: Path) -> None:
    with chat_server(hold=40) as server:

        def stop() -> None:
            server.wait_for(48)
            server.stop()

        stopping = threading.Thread(target=stop)
        stopping.start()
        with pytest.raises(TeacherError, match=DEAD):
            asked(teacher_params(server, concurrency=8, tries=2, model="tiny"), numbered(100), journal)
        stopping.join()
        kept = [line["id"] for line in lines_of(journal) if "text" in line]
        assert len(kept) == 40
        server.start(latency=0)
        assert answered(asked(teacher_params(server, model="tiny"), numbered(100), journal)) == 100
    assert server.count() == 48 + 60


# Ends that nobody wished for


def test_nothing_to_ask_is_no_failure(journal: Path) -> None:
    with chat_server() as server:
        assert asked(teacher_params(server), [], journal) == {}
    assert not journal.exists()


@pytest.mark.parametrize("concurrency", [1, 7, 1000])
def test_any_number_of_workers_does_it(journal: Path, concurrency: int) -> None:
    teacher = Fake()
    assert answered(asked_of(teacher, numbered(8), journal, concurrency=concurrency)) == 8
    assert len(teacher.asked) == 8


class Chain(RequestList):
    """Gives the next request only when the one before is done with."""

    def __init__(self, requests: Sequence[ChatRequest]) -> None:
        super().__init__(requests)
        self.given = 0

    def next(self) -> ChatRequest | None:
        if self.given > len(self.outcomes):
            return None
        self.given += 1
        return super().next()


class Refusing(RequestList):
    """Fails over the first reply."""

    def take(self, request: ChatRequest, outcome: Outcome) -> None:
        raise RuntimeError("taken amiss")


def ask_source(source: RequestList, teacher: Fake, opened: Journal, **changes: Any) -> None:
    async def run() -> None:
        async with asyncio.timeout(MOST_S):
            await ask(source, teacher, opened, teacher_params(**changes), NO_LIMITS)

    asyncio.run(run())


def test_replies_may_lead_to_further_requests(journal: Path) -> None:
    source, teacher = Chain(numbered(20)), Fake()
    with Journal(journal, PLAN) as opened:
        ask_source(source, teacher, opened, concurrency=8)
    assert len(source.outcomes) == 20


def test_an_error_of_our_own_ends_it_and_loses_no_reply(journal: Path) -> None:
    async def say(request: ChatRequest) -> Reply:
        if request.id.endswith("/5"):
            raise ValueError("a bug")
        return Reply("1. da")

    with pytest.raises(ValueError, match="a bug"):
        asked_of(Fake(say), numbered(50), journal, concurrency=1)
    assert len(lines_of(journal)) == 5


class SlowJournal(Journal):
    """Takes its time until `go_on` is set, then fails if it is told to."""

    fails = False

    def __init__(self, path: Path) -> None:
        super().__init__(path, PLAN)
        self.began, self.go_on = threading.Event(), threading.Event()

    def write(self, lines: Sequence[bytes]) -> list[int]:
        self.began.set()
        assert self.go_on.wait(MOST_S)
        if self.fails:
            raise DataError("cannot write: no space left")
        return super().write(lines)


@pytest.mark.parametrize("fails", [False, True], ids=["the source fails", "the disk is full"])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_where_nobody_takes_replies_in_any_more_nobody_waits(journal: Path, fails: bool, concurrency: int) -> None:
    async def go_on_when_no_more_is_asked(opened: SlowJournal) -> None:
        asked_before, turns = 0, 0
        while turns < 100 or not opened.began.is_set():
            await asyncio.sleep(0)
            turns = turns + 1 if len(teacher.asked) == asked_before else 0
            asked_before = len(teacher.asked)
        opened.go_on.set()

    async def run() -> None:
        with SlowJournal(journal) as opened:
            opened.fails = fails
            going_on = asyncio.create_task(go_on_when_no_more_is_asked(opened))
            params = teacher_params(concurrency=concurrency)
            async with asyncio.timeout(MOST_S) as limit:
                try:
                    await ask(Refusing(numbered(500)), teacher, opened, params, NO_LIMITS)
                finally:
                    assert not limit.expired(), "it hung"
                    await going_on

    async def say(_: ChatRequest) -> Reply:
        await asyncio.sleep(0)  # or the first batch to be written would hold all that may wait
        return Reply("1. da")

    teacher = Fake(say)
    with pytest.raises(DataError if fails else RuntimeError, match="no space left" if fails else "taken amiss"):
        asyncio.run(run())
    assert 2 * concurrency < len(teacher.asked) < 100
    if not fails:
        assert len(lines_of(journal)) == len(teacher.asked)  # paid for, whatever ails the source


def test_a_reply_whose_faults_cannot_be_told_is_on_disk_all_the_same(journal: Path) -> None:
    def stumble(request: ChatRequest, reply: Reply) -> list[str]:
        raise RuntimeError("stumbled")

    async def run() -> None:
        with Journal(journal, PLAN) as opened:
            await ask(RequestList(numbered(5)), teacher, opened, teacher_params(concurrency=5), NO_LIMITS, stumble)

    teacher = Fake()
    with pytest.raises(RuntimeError, match="stumbled"):
        asyncio.run(run())
    assert len(lines_of(journal)) == len(teacher.asked) == 5


def test_an_interruption_while_the_disk_is_busy_loses_no_reply(journal: Path) -> None:
    teacher, source = Fake(), RequestList(numbered(50))

    async def run() -> None:
        with SlowJournal(journal) as opened:
            asking = asyncio.create_task(ask(source, teacher, opened, teacher_params(concurrency=2), NO_LIMITS))
            while not opened.began.is_set():
                await asyncio.sleep(0)
            asking.cancel()
            for _ in range(20):
                await asyncio.sleep(0)
            assert not asking.done()
            opened.go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await asking

    asyncio.run(asyncio.wait_for(run(), MOST_S))
    assert [line["id"] for line in lines_of(journal)] == list(source.outcomes) != []


@pytest.mark.parametrize("limits", [NO_LIMITS, budget(tokens=5000)], ids=["no limits", "one at a time"])
def test_an_interruption_at_any_moment_leaves_a_journal_to_go_on_from(tmp_path: Path, limits: Any) -> None:
    requests = numbered(12)

    async def say(_: ChatRequest) -> Reply:
        await asyncio.sleep(0)
        return Reply("1. da", "stop", 1, 1)

    async def interrupted(moment: int, path: Path) -> None:
        with Journal(path, PLAN) as opened:
            params = teacher_params(concurrency=4)
            asking = asyncio.create_task(ask(RequestList(requests), Fake(say), opened, params, limits))
            for _ in range(moment):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    for moment in range(40):
        path = tmp_path / f"{moment}.jsonl"
        asyncio.run(asyncio.wait_for(interrupted(moment, path), MOST_S))
        kept = {line["id"] for line in lines_of(path)}
        teacher = Fake(say)
        assert answered(asked_of(teacher, requests, path, limits, concurrency=4)) == 12
        assert sorted(teacher.asked) == sorted({request.id for request in requests} - kept)
