import asyncio
from pathlib import Path
from typing import Any

import pytest

from asks import PLAN, Fake, asked, asked_of, budget, lines_of, numbered, teacher_params
from chat_server import chat_server
from polydistill.errors import TeacherError
from polydistill.teachers import Budget, ChatRequest, Journal, Reply, Usage, ask_all, ledger

PRICES = {"prompt_price": 1000.0, "completion_price": 3000.0}


pytestmark = pytest.mark.usefixtures("short_pauses")


def tokens_of(journal: Path) -> tuple[int, int]:
    lines = [line for line in lines_of(journal) if "text" in line]
    return sum(line["prompt_tokens"] or 0 for line in lines), sum(line["completion_tokens"] or 0 for line in lines)


@pytest.mark.parametrize("faults", [{}, {"status": 500, "share": 0.3}, {"status": 429, "share": 0.5}], ids=str)
def test_no_more_requests_are_sent_than_allowed_in_any_number_of_runs(journal: Path, faults: dict[str, Any]) -> None:
    requests = numbered(100)
    with chat_server(**faults, latency=0.005) as server:
        for limit in (20, 20, 50):
            with pytest.raises(
                TeacherError, match=rf"^budget.requests {limit} is reached: {limit} sent. Stopped; raise"
            ):
                asked(teacher_params(server), requests, journal, budget(requests=limit))
            assert server.count() == limit
        server.set()
        outcomes = asked(teacher_params(server), requests, journal)
    assert all(isinstance(outcome, Reply) for outcome in outcomes.values())
    answered = [line["id"] for line in lines_of(journal) if "text" in line]
    assert len(set(answered)) == len(answered) == 100


def test_tries_count_as_requests(journal: Path) -> None:
    with chat_server(status=503) as server, pytest.raises(TeacherError, match=r"budget\.requests 4 is reached: 4 sent"):
        asked(teacher_params(server, concurrency=1, tries=6), numbered(3), journal, budget(requests=4))
    assert server.count() == 4


def test_the_last_request_that_is_allowed_is_sent(journal: Path) -> None:
    with chat_server() as server:
        assert len(asked(teacher_params(server), numbered(30), journal, budget(requests=30))) == 30


def test_tokens_are_never_more_than_allowed_whatever_is_under_way(journal: Path) -> None:
    requests, limit = numbered(400), 6000
    with chat_server(latency=0.005) as server:
        params = teacher_params(server, max_tokens=200)
        with pytest.raises(TeacherError, match=r"budget\.tokens 6000 is reached: \d+ used, and one more request may"):
            asked(params, requests, journal, budget(tokens=limit))
        assert limit - 600 < sum(tokens_of(journal)) <= limit
        count = server.count()
        with pytest.raises(TeacherError, match=r"budget\.tokens"):
            asked(params, requests, journal, budget(tokens=limit))
        assert server.count() == count  # what was spent before is not forgotten
        with pytest.raises(TeacherError, match=r"budget\.tokens 8000"):
            asked(params, requests, journal, budget(tokens=8000))
        assert limit < sum(tokens_of(journal)) <= 8000


def test_money_is_never_more_than_allowed(journal: Path) -> None:
    with (
        chat_server(latency=0.005) as server,
        pytest.raises(TeacherError, match=r"budget\.cost 10 is reached: 9\.\d+ "),
    ):
        params = teacher_params(server, max_tokens=200)
        asked(params, numbered(400), journal, budget(cost=10.0, **PRICES))
    prompt, completion = tokens_of(journal)
    assert 9 <= (prompt * 1000 + completion * 3000) / 1e6 <= 10


def test_one_reply_without_a_count_does_not_make_the_others_free(journal: Path) -> None:
    requests = numbered(400)
    with chat_server(rules=[{"match": "<0>", "mega": 500_000}]) as server:
        params = teacher_params(server, max_tokens=200)
        for _ in range(3):
            with pytest.raises(TeacherError, match=r"budget\.tokens"):
                asked(params, requests, journal, budget(tokens=6000))
    assert lines_of(journal)[0]["prompt_tokens"] is None or any(x["prompt_tokens"] is None for x in lines_of(journal))
    assert 5000 < sum(tokens_of(journal)) <= 6000


@pytest.mark.parametrize("limits", [{"tokens": 10}, {"requests": 0}, {"cost": 0.0, **PRICES}, {"tokens": 0}], ids=str)
def test_a_budget_too_small_for_anything_sends_nothing(journal: Path, limits: dict[str, Any]) -> None:
    with chat_server() as server, pytest.raises(TeacherError, match=r"budget\.\w+ \d+ is reached: (0|0\.0000) "):
        asked(teacher_params(server), numbered(50), journal, budget(**limits))
    assert server.count() == 0
    assert not journal.exists()


@pytest.mark.parametrize("limits", [{}, PRICES, {"cost": 0.0, "prompt_price": 0.0, "completion_price": 0.0}], ids=str)
def test_without_a_limit_nothing_is_held_back(journal: Path, limits: dict[str, Any]) -> None:
    with chat_server(latency=0.02) as server:
        assert len(asked(teacher_params(server), numbered(64), journal, budget(**limits))) == 64
    assert server.most_at_once() == 16


def test_where_one_fits_at_a_time_they_go_one_after_the_other(journal: Path) -> None:
    most = len(numbered(100)[-1].content) + 256 + 4096
    with chat_server(latency=0.002, rules=[{"status": 503, "share": 0.2}]) as server:
        # All wait longer than their time for the first ones; that is no fault of theirs.
        params = teacher_params(server, total_timeout_s=0.4, tries=20)
        outcomes = asked(params, numbered(100), journal, budget(tokens=most + 100 * 100))
    assert sum(isinstance(outcome, Reply) for outcome in outcomes.values()) == 100
    assert server.most_at_once() <= 3


def test_waiting_for_the_budget_takes_no_time_from_a_request(journal: Path) -> None:
    most = len(numbered(9)[-1].content) + 256 + 4096
    with chat_server(latency=0.1) as server:
        outcomes = asked(teacher_params(server, total_timeout_s=0.35), numbered(9), journal, budget(tokens=most + 1000))
    assert all(isinstance(outcome, Reply) for outcome in outcomes.values())
    assert server.most_at_once() == 1


@pytest.mark.parametrize(
    ("reply", "charged"),
    [
        pytest.param(Reply("1. č"), (None, 5), id="bytes of the text"),
        pytest.param(Reply("da " * 2000), (None, 4096), id="never more than may be written"),
        pytest.param(Reply(""), (None, 4096), id="no text"),
        pytest.param(Reply("", fault="oversized"), (None, 4096), id="no text for a fault"),
        pytest.param(Reply("1. da", None, 7, None), (7, 5), id="count of the prompt alone"),
        pytest.param(Reply("1. da", None, None, 9), (None, 9), id="count of the reply alone"),
        pytest.param(Reply("1. da", None, 7, 9), None, id="both counts"),
    ],
)
def test_a_reply_without_counts_is_charged_the_most_it_can_have_taken(
    journal: Path, reply: Reply, charged: tuple[int | None, int] | None
) -> None:
    async def say(_: ChatRequest) -> Reply:
        return reply

    [request] = numbered(1)
    asked_of(Fake(say), [request], journal, budget(tokens=20_000))
    [line] = lines_of(journal)
    if charged is None:
        assert "charged" not in line
    else:
        most = len(request.content.encode()) + 256
        assert line["charged"] == [charged[0] or most, charged[1]]
    with Journal(journal, PLAN) as opened:
        assert list(opened.usage["generate"].counted) == line.get("charged", [7, 9])


def test_a_limit_holds_over_runs_on_a_server_that_counts_no_tokens(journal: Path) -> None:
    requests = numbered(100)
    with chat_server(no_usage=True) as server:
        params, counts = teacher_params(server, max_tokens=200), []
        for limit in (6000, 6000, 12_000):
            with pytest.raises(TeacherError, match=rf"budget\.tokens {limit} is reached: \d+ used"):
                asked(params, requests, journal, budget(tokens=limit))
            counts.append(server.count())
            charged = sum(sum(line["charged"]) for line in lines_of(journal))
            assert limit - 800 < charged <= limit
    assert 0 < counts[0] == counts[1] < counts[2] < 50
    assert {line["prompt_tokens"] for line in lines_of(journal)} == {None}


def test_tries_of_a_request_that_ended_all_count_in_the_next_run(journal: Path) -> None:
    with chat_server(rules=[{"status": 503, "first": 2}, {"status": 401, "after": 2}]) as server:
        params = teacher_params(server, concurrency=1)
        with pytest.raises(TeacherError, match="wants a key"):
            asked(params, numbered(5), journal, budget(requests=5))
        server.set()
        with pytest.raises(TeacherError, match=r"budget\.requests 5 is reached: 5 sent"):
            asked(params, numbered(5), journal, budget(requests=5))
    assert server.count() == 5


def test_what_was_spent_counts_from_the_start() -> None:
    request = numbered(1)[0]
    usage = {"generate": Usage(), "revise": Usage()}
    usage["generate"].add(Reply("x", "stop", 100, 50, tries=3), ())
    usage["revise"].add(Reply("x"), ())
    assert Budget(budget(requests=4), 10, usage).exhausted_by(request) == "budget.requests 4 is reached: 4 sent"
    assert Budget(budget(requests=5), 10, usage).exhausted_by(request) is None
    spent = Budget(budget(tokens=160), 10, usage).exhausted_by(request)
    assert spent == "budget.tokens 160 is reached: 150 used, and one more request may break it"


def test_the_ledger_says_what_each_purpose_took() -> None:
    usage = {"generate": Usage(), "revise": Usage()}
    usage["generate"].add(Reply("x", "stop", 1_000_000, 2_000_000, seconds=1.5, tries=3), ["fenced"])
    usage["revise"].add(Reply("x"), ())
    told = ledger(usage, budget(prompt_price=2.0, completion_price=3.0))
    assert told["generate"] == {
        "requests": 1,
        "retries": 2,
        "failed": 0,
        "prompt_tokens": 1_000_000,
        "completion_tokens": 2_000_000,
        "cost": 8.0,
        "seconds": 1.5,
        "faults": {"fenced": 1},
        "failures": {},
    }
    assert (told["revise"]["prompt_tokens"], told["revise"]["cost"]) == (None, None)
    assert ledger(usage, budget())["generate"]["cost"] is None


def test_replies_that_cost_nothing_have_no_limit(journal: Path) -> None:
    async def run() -> None:
        with Journal(journal, PLAN, paid=False) as opened:
            outcomes = await ask_all(numbered(5), Fake(), opened, teacher_params(), budget(requests=1, tokens=1))
            assert len(outcomes) == 5

    asyncio.run(run())
