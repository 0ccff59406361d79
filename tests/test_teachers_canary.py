import asyncio
from pathlib import Path
from typing import Any

import pytest

from asks import NO_LIMITS, PLAN, budget, lines_of, teacher_params
from build import build_prepared
from chat_server import ChatServer, chat_server
from polydistill.errors import TeacherError
from polydistill.generate import run_generate
from polydistill.params import BudgetParams, FilterParams, GenerateParams, check
from polydistill.teachers import Journal, follows_schema, open_teacher
from spaces import SEEDS, settings

pytestmark = pytest.mark.usefixtures("short_pauses")


def follows(server: ChatServer, journal: Path, limits: BudgetParams = NO_LIMITS, **changes: Any) -> bool:
    async def run() -> bool:
        params = teacher_params(server, **changes)
        async with open_teacher(params, Path("none")) as teacher:
            with Journal(journal, PLAN) as opened:
                return await follows_schema(teacher, opened, params, limits)

    return asyncio.run(run())


def test_a_server_that_follows_is_asked_once(journal: Path, caplog: pytest.LogCaptureFixture) -> None:
    with chat_server() as server:
        for _ in range(3):
            assert follows(server, journal)
    assert server.count() == 1
    assert server.chats()[0]["response_format"]["type"] == "json_schema"
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("faults", "count"),
    [
        pytest.param({"ignore_schema": True}, 1, id="ignores it"),
        pytest.param({"fenced": True}, 1, id="puts a fence around it"),
        pytest.param({"content": "[" * 100_000}, 1, id="nests"),
        pytest.param({"content": '{"word": "no"}'}, 1, id="other value"),
        pytest.param({"empty_choices": True}, 1, id="no choice"),
        pytest.param({"reject_schema": True}, 2, id="refuses it"),
    ],
)
def test_a_server_that_does_not_follow_is_named_and_asked_no_more(
    journal: Path, caplog: pytest.LogCaptureFixture, faults: dict[str, Any], count: int
) -> None:
    with chat_server(**faults) as server:
        assert not follows(server, journal)
        assert not follows(server, journal)
    warning = f"the server at {server.url} does not follow a JSON schema that it is given; replies are asked for as pl"
    assert [message.startswith(warning) for message in caplog.messages] == [True]
    assert server.count() == count


def test_a_server_that_refuses_everything_is_no_server_for_plain_lines(journal: Path) -> None:
    with chat_server(status=400, says="no such thing") as server:
        with pytest.raises(TeacherError, match=r"all 1 requests failed: HTTP 400: .*no such thing"):
            follows(server, journal)
        assert server.count() == 2
        server.set()
        assert follows(server, journal)


@pytest.mark.parametrize(
    ("faults", "message", "count"),
    [
        pytest.param({"status": 401}, "wants a key", 1, id="401"),
        pytest.param({"status": 404}, "no such address or model", 1, id="404"),
        pytest.param({"status": 503}, r"all 1 requests failed: HTTP 503 \(1×\)", 3, id="503"),
        pytest.param({"reset": True}, "the connection broke", 3, id="reset"),
    ],
)
def test_a_server_that_answers_nothing_is_not_asked_for_plain_lines(
    journal: Path, faults: dict[str, Any], message: str, count: int
) -> None:
    with chat_server(**faults) as server, pytest.raises(TeacherError, match=message):
        follows(server, journal, tries=3)
    assert server.count() == count


def test_a_budget_of_nothing_allows_no_canary(journal: Path) -> None:
    with chat_server() as server, pytest.raises(TeacherError, match=r"budget\.requests 0 is reached: 0 sent"):
        follows(server, journal, budget(requests=0))
    assert server.count() == 0


@pytest.mark.parametrize("faults", [{}, {"ignore_schema": True}, {"reject_schema": True}], ids=str)
def test_the_canary_comes_before_anything_that_is_paid_for(tmp_path: Path, faults: dict[str, Any]) -> None:
    build_prepared(tmp_path / "prepared", SEEDS)
    values = settings()
    with chat_server(**faults, latency=0.05) as server:
        run_generate(
            tmp_path / "prepared",
            Path("none"),
            tmp_path / "generated",
            check(GenerateParams, values["generate"], "test"),
            check(FilterParams, values["filter"], "test"),
            teacher_params(server),
            NO_LIMITS,
        )
    canaries = 2 if "reject_schema" in faults else 1
    formats = [chat.get("response_format") is not None for chat in server.chats()]
    prompts = [chat["messages"][0]["content"] for chat in server.chats()]
    assert ["one word" in prompt for prompt in prompts] == [n < canaries for n in range(len(prompts))]
    assert set(formats[canaries:]) == {not faults}
    assert len(formats) >= 6
    [written] = (tmp_path / "generated" / "journal").glob("*.jsonl")
    assert lines_of(written)[0]["id"] == "canary/0"
