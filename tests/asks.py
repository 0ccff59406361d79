"""Asks a teacher a few things in a test, as the steps do."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from chat_server import ChatServer
from polydistill.params import BudgetParams, TeacherParams, check
from polydistill.prompts import Purpose
from polydistill.replies import TEXTS_SCHEMA, faults_of
from polydistill.teachers import ChatRequest, Journal, Outcome, Reply, Teacher, ask_all, open_teacher
from polydistill.teachers import asking as asking_module
from spaces import settings

ASKED = ChatRequest("generate/book/0", "generate", "Write 2 new texts.", 0.7, 1, TEXTS_SCHEMA, 2)
NO_LIMITS = check(BudgetParams, settings()["budget"], "test")
PLAN: Mapping[str, Any] = {"what": "a test"}
MOST_S = 60
"""Who takes longer waits for what never comes."""


def numbered(count: int) -> list[ChatRequest]:
    """Return so many requests; the prompt of each tells its number."""
    return [replace(ASKED, id=f"generate/book/{n}", content=f"Request <{n}>. {ASKED.content}") for n in range(count)]


def teacher_params(server: ChatServer | str | None = None, **changes: Any) -> TeacherParams:
    """Return section `teacher`, of the recorded teacher or of a server, with changes."""
    if server is not None:
        url = server if isinstance(server, str) else server.url
        changes = {"kind": "openai", "url": url, "concurrency": 16, "timeout_s": 20.0} | changes
    return check(TeacherParams, settings()["teacher"] | changes, "test")


def budget(**changes: Any) -> BudgetParams:
    return check(BudgetParams, settings()["budget"] | changes, "test")


def asked(
    params: TeacherParams,
    requests: Sequence[ChatRequest],
    journal: Path,
    limits: BudgetParams = NO_LIMITS,
    recording: Path = Path("none"),
) -> dict[str, Outcome]:
    """Return what came of each request, by its id."""

    async def run() -> dict[str, Outcome]:
        async with asyncio.timeout(MOST_S), open_teacher(params, recording) as teacher:
            with Journal(journal, PLAN, paid=teacher.kind != "recorded") as opened:
                return await ask_all(requests, teacher, opened, params, limits, faults_of)

    return asyncio.run(run())


def asked_of(
    teacher: Teacher, requests: Sequence[ChatRequest], journal: Path, limits: BudgetParams = NO_LIMITS, **changes: Any
) -> dict[str, Outcome]:
    """Return what a teacher says that the test wrote itself."""

    async def run() -> dict[str, Outcome]:
        async with asyncio.timeout(MOST_S):
            with Journal(journal, PLAN) as opened:
                return await ask_all(requests, teacher, opened, teacher_params(**changes), limits, faults_of)

    return asyncio.run(run())


class Fake:
    """A teacher in the test itself, which answers what `say` returns."""

    kind = "fake"
    revision = ""
    structured: bool | None = True

    def __init__(self, say: Callable[[ChatRequest], Awaitable[Reply]] | None = None) -> None:
        self.models: Mapping[Purpose, str] = {"generate": "fake"}
        self.asked: list[str] = []
        self._say = say

    async def complete(self, request: ChatRequest) -> Reply:
        self.asked.append(request.id)
        return await self._say(request) if self._say else Reply("1. da", "stop", 1, 1)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


def lines_of(journal: Path) -> list[dict[str, Any]]:
    """Return the lines of a journal but the first; none where there is no journal."""
    if not journal.exists():
        return []
    return [json.loads(line) for line in journal.read_text(encoding="utf-8").split("\n")[1:-1]]


def hurry(monkeypatch: pytest.MonkeyPatch, first_pause_s: float = 0.005, longest_pause_s: float = 0.02) -> None:
    """Make the pauses between tries short."""
    monkeypatch.setattr(asking_module, "FIRST_PAUSE_S", first_pause_s)
    monkeypatch.setattr(asking_module, "LONGEST_PAUSE_S", longest_pause_s)
