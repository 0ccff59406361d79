"""The teacher behind any server with OpenAI's chat-completions API, vLLM's among them."""

import asyncio
import os
from collections.abc import Mapping
from typing import Any, Self, get_args

import aiohttp

from polydistill.errors import TeacherError
from polydistill.params import TeacherParams
from polydistill.prompts import Purpose
from polydistill.teachers.base import ChatRequest, Reply, token_count

TRIES = 5
FIRST_PAUSE_S = 1.0
BUSY = {408, 429, 500, 502, 503, 504}


class OpenAITeacher:
    """One connection pool to one server; a busy or unreachable server is tried again, with growing pauses."""

    kind = "openai"

    def __init__(self, params: TeacherParams) -> None:
        self.params = params
        self.url = str(params.url).rstrip("/")
        self.models: Mapping[Purpose, str] = {}
        self.revision = f"max_tokens {params.max_tokens}"  # a longer limit may be what a cut-off reply needs
        self._key = os.environ.get(params.key_env, "").strip()

    async def __aenter__(self) -> Self:
        """Connect, and ask which model there is where the parameters name none.

        Raises:
            TeacherError: If the server cannot be reached, or lists another number of models than one.
        """
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self.params.timeout_s),
            connector=aiohttp.TCPConnector(limit=self.params.concurrency),
        )
        try:
            model = self.params.model or await self._only_model()
        except BaseException:
            await self._session.close()
            raise
        self.models = dict.fromkeys(get_args(Purpose), model)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._session.close()

    async def complete(self, request: ChatRequest) -> Reply:
        """Return the first choice of the server's answer.

        Raises:
            TeacherError: If the server refuses the request, stays busy, or answers something else.
        """
        body: dict[str, Any] = {
            "model": self.models[request.purpose],
            "messages": [{"role": "user", "content": request.content}],
            "temperature": request.temperature,
            "seed": request.seed,
            "max_tokens": self.params.max_tokens,
        }
        if request.schema is not None:
            schema = {"name": request.purpose, "schema": request.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        answer = await self._call("POST", "/chat/completions", body)
        try:
            choice, usage = answer["choices"][0], answer.get("usage") or {}
            text = choice["message"]["content"] or ""
            if not isinstance(text, str):
                raise TypeError("content is no text")
            return Reply(
                text=text,
                finish_reason=choice.get("finish_reason"),
                prompt_tokens=token_count(usage.get("prompt_tokens")),
                completion_tokens=token_count(usage.get("completion_tokens")),
            )
        except (KeyError, IndexError, TypeError, AttributeError) as exc:
            raise TeacherError(
                f"teacher {self.url} answered {request.id} with no text in it; is it a chat server?"
            ) from exc

    async def _only_model(self) -> str:
        answer = await self._call("GET", "/models", None)
        try:
            names = [str(model["id"]) for model in answer["data"]]
        except (KeyError, TypeError) as exc:
            raise TeacherError(
                f"teacher {self.url} lists no models; is it a chat server? If so, name one in params.yaml:teacher.model"
            ) from exc
        if len(names) != 1:
            listed = ", ".join(names) or "none"
            raise TeacherError(f"teacher {self.url} lists the models {listed}; name one in params.yaml:teacher.model")
        return names[0]

    async def _call(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        pause, problem = FIRST_PAUSE_S, ""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(pause)
                pause *= 2
            try:
                async with self._session.request(method, self.url + path, json=body) as response:
                    if response.status == 200:
                        return await response.json(content_type=None)
                    problem = f"HTTP {response.status}"
                    if response.status not in BUSY:
                        raise TeacherError(self._refusal(response.status, await response.text()))
            except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
                problem = str(exc) or f"no answer within {self.params.timeout_s} s"
        raise TeacherError(
            f"teacher {self.url} failed {TRIES} times, last with: {problem}; is the server up? Run again to go on"
        )

    def _refusal(self, status: int, text: str) -> str:
        said = text.replace(self._key, "[key]") if self._key else text
        if status in (401, 403):
            return f"teacher {self.url} refused the key (HTTP {status}); put a valid one into ${self.params.key_env}"
        if status == 404:
            return (
                f"teacher {self.url} knows no such address or model (HTTP 404): {said[:200]}; check params.yaml:teacher"
            )
        return f"teacher {self.url} refused the request (HTTP {status}): {said[:300]}"
