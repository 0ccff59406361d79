"""The teacher behind any server with OpenAI's chat-completions API, vLLM's among them."""

import asyncio
import base64
import email.utils
import json
import logging
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, get_args
from urllib.parse import quote

import aiohttp
from yarl import URL

from polydistill.errors import DataError, ParamsError, TeacherError
from polydistill.files import read_text
from polydistill.params import TeacherParams
from polydistill.prompts import Purpose
from polydistill.teachers.base import BusyError, ChatRequest, RefusedError, Reply, token_count
from polydistill.text import tidy

log = logging.getLogger(__name__)

_BUSY = {408, 409, 425, 429}
# Of an answer: a token is seldom longer than ten characters, and JSON may write each as \uXXXX.
_BYTES_PER_TOKEN = 64
_LEAST_LIMIT_BYTES = 256 * 1024
_LEAST_PAUSE_S = 0.1
# What some servers call the finish_reason `length`.
_LENGTH = {"length", "max_tokens", "model_length"}
# A shorter key may well stand in a text by chance, and none that guards anything is so short.
_SHORTEST_SECRET = 8


class OpenAITeacher:
    """One connection pool to one server; no text that comes from it leaves with the key in it."""

    kind = "openai"

    def __init__(self, params: TeacherParams) -> None:
        """Say whom to ask.

        Raises:
            ParamsError: If the url is no address.
        """
        self.params = params
        self.url = str(params.url).rstrip("/")
        self.models: Mapping[Purpose, str] = {}
        self.revision = params.revision or ""
        self.structured: bool | None = None
        try:
            self._completions = URL(self.url + "/chat/completions")
        except ValueError as exc:
            raise ParamsError(f"params.yaml:teacher.url is no address ({exc})") from exc
        if not self._completions.host:
            raise ParamsError("params.yaml:teacher.url is no address (it names no host)")
        self._limit_bytes = max(_LEAST_LIMIT_BYTES, params.max_tokens * _BYTES_PER_TOKEN)
        self._max_tokens_key = "max_tokens"
        self._key = ""
        self._forms_of_key: list[str] = []

    async def __aenter__(self) -> Self:
        """Connect, and ask which model there is where the parameters name none.

        Raises:
            DataError: If the file with the key cannot be read, or there is no key in it.
            TeacherError: If the server cannot be reached, or lists another number of models than one.
        """
        self._key = self._read_key()
        self._forms_of_key = _forms(self._key) if len(self._key) >= _SHORTEST_SECRET else []
        if self._key and not self._forms_of_key:
            log.warning(
                "the key has fewer than %d characters: where the server repeats it, it stays in the replies",
                _SHORTEST_SECRET,
            )
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self.params.timeout_s),
            connector=aiohttp.TCPConnector(limit=self.params.concurrency),
            cookie_jar=aiohttp.DummyCookieJar(),
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
        """Return the first choice of the server's answer to one try.

        Raises:
            BusyError: If the server is busy, out of reach, or answers something that is no JSON.
            RefusedError: If the server refuses this request.
            TeacherError: If it refuses the key, the model or the address.
        """
        limit = self._max_tokens_key
        body: dict[str, Any] = {
            "model": self.models[request.purpose],
            "messages": [{"role": "user", "content": request.content}],
            "temperature": request.temperature,
            "seed": request.seed,
            limit: self.params.max_tokens,
        }
        if request.schema is not None:
            schema = {"name": request.purpose, "schema": request.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        try:
            answer = await self._call("POST", self._completions, json.dumps(body).encode())
        except RefusedError as exc:
            # Newer models of hosted services want the other name of the same limit, and say so.
            if limit == "max_tokens" and "max_completion_tokens" in str(exc):
                self._max_tokens_key = "max_completion_tokens"
                raise BusyError(str(exc), retry_after=0.0) from exc  # which uses up no try
            raise
        return Reply("", fault="oversized") if answer is None else self._to_reply(answer)

    def _to_reply(self, answer: Any) -> Reply:
        usage = answer.get("usage") if isinstance(answer, dict) else None
        usage = usage if isinstance(usage, dict) else {}
        prompt_tokens = token_count(usage.get("prompt_tokens"))
        completion_tokens = token_count(usage.get("completion_tokens"))
        try:
            choice = answer["choices"][0]
            message, finish_reason = choice["message"], choice.get("finish_reason")
            content, refusal = message.get("content"), message.get("refusal")
        except (KeyError, IndexError, TypeError, AttributeError):
            return Reply("", None, prompt_tokens, completion_tokens, "no_choice")
        finish_reason = self._redact(finish_reason)[:40] if isinstance(finish_reason, str) else None
        if finish_reason is not None and finish_reason.lower() in _LENGTH:
            finish_reason = "length"
        fault = None
        if refusal and not content:
            content, fault = "", "refusal"
        if not isinstance(content, str):
            content, fault = "", None if content is None else "no_choice"
        return Reply(self._redact(content), finish_reason, prompt_tokens, completion_tokens, fault)

    async def _only_model(self) -> str:
        """Ask for the model.

        Raises:
            TeacherError: If there is not one, whatever the reason.
        """
        name_one = "name one in params.yaml:teacher.model"
        try:
            answer = await self._models()
        except (BusyError, RefusedError) as exc:
            raise TeacherError(f"teacher {self.url} does not say which model it has ({exc}); is it up?") from exc
        try:
            names = [tidy(self._redact(str(model["id"])), 200) for model in answer["data"]]
        except (KeyError, TypeError) as exc:
            raise TeacherError(f"teacher {self.url} lists no models; is it a chat server? If so, {name_one}") from exc
        if len(names) != 1:
            listed = ", ".join(names[:20]) or "none"
            raise TeacherError(f"teacher {self.url} lists the models {listed}; {name_one}")
        return names[0]

    async def _models(self) -> Any:
        """Return the list of models, after the pauses that the server asks for."""
        deadline = time.monotonic() + self.params.total_timeout_s
        while True:
            try:
                return await self._call("GET", URL(self.url + "/models"), None)
            except BusyError as exc:
                if exc.retry_after is None or time.monotonic() + exc.retry_after > deadline:
                    raise
                await asyncio.sleep(max(exc.retry_after, _LEAST_PAUSE_S))

    async def _call(self, method: str, url: URL, body: bytes | None) -> Any:
        """Return the JSON of an answer; None where it is too long to be one."""
        try:
            # A redirect would carry the prompts, perhaps the key, to a place that nobody named.
            async with self._session.request(method, url, data=body, allow_redirects=False) as response:
                raw = await self._read(response)
                status, retry_after = response.status, _seconds(response.headers.get("Retry-After"))
        except aiohttp.ClientConnectorCertificateError as exc:
            raise TeacherError(
                f"teacher {self.url}: its certificate is not trusted; check params.yaml:teacher.url"
            ) from exc
        except TimeoutError as exc:
            raise BusyError(f"no reply within {self.params.timeout_s:g} s (params.yaml:teacher.timeout_s)") from exc
        except aiohttp.ClientConnectorError as exc:
            raise BusyError(f"cannot connect to {self.url} ({exc.os_error.strerror or 'no such host'})") from exc
        except aiohttp.ClientPayloadError as exc:
            raise BusyError("the answer broke off") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise BusyError(f"the connection broke ({type(exc).__name__})") from exc
        if status != 200:
            self._refuse(status, raw or b"", retry_after)
        if raw is None:
            return None
        try:
            # As bytes a surrogate pair in it would read as two halves here, and as one character from the journal.
            answer = json.loads(raw.decode("utf-8-sig"))
        except (ValueError, RecursionError) as exc:
            raise BusyError("HTTP 200 with something else than JSON; is the url that of a chat server?") from exc
        return {} if answer is None else answer  # null is none too, but not too long

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | None:
        """Return the body, None where it is longer than any answer can be; the connection is given up then."""
        length = response.content_length
        if length is not None and length <= self._limit_bytes and "Content-Encoding" not in response.headers:
            return await response.read()
        chunks, total = [], 0
        async for chunk in response.content.iter_any():
            total += len(chunk)
            if total > self._limit_bytes:
                response.close()
                return None
            chunks.append(chunk)
        return b"".join(chunks)

    def _refuse(self, status: int, raw: bytes, retry_after: float | None) -> None:
        # The key goes before anything is cut, or a part of it would stay.
        said = tidy(self._redact(raw.decode("utf-8", "replace")), 2000)[:300]
        if status in (401, 403) and not self._key:
            raise TeacherError(
                f"teacher {self.url} wants a key (HTTP {status}), and there is none to send; put one into "
                f"{self._source_of_key()}"
            )
        if status in (401, 403):
            raise TeacherError(
                f"teacher {self.url} refused the key (HTTP {status}); put a valid one into {self._source_of_key()}"
            )
        if status == 404:
            raise TeacherError(
                f"teacher {self.url} knows no such address or model (HTTP 404): {said}; check url and model in "
                "params.yaml:teacher"
            )
        if 300 <= status < 400:
            raise TeacherError(
                f"teacher {self.url} redirects (HTTP {status}); set params.yaml:teacher.url to where it really is"
            )
        if status >= 500 or status in _BUSY:
            raise BusyError(f"HTTP {status}", retry_after)
        raise RefusedError(f"HTTP {status}: {said}")

    def _read_key(self) -> str:
        name = self._source_of_key()
        if self.params.key_file:
            if not _is_there(self.params.key_file):
                raise DataError(f"{name} is missing, or out of reach; put the API key there")
            key = read_text(Path(self.params.key_file)).strip()
            if not key:
                raise DataError(f"{name} is empty; put the API key there, or set params.yaml:teacher.key_file to null")
        else:
            key = os.environ.get(self.params.key_env, "").strip()
        if not key.isascii() or not key.isprintable() or " " in key:
            raise DataError(f"what {name} holds is no API key: it has characters that no HTTP header may have")
        return key

    def _source_of_key(self) -> str:
        """Name the file or the variable, unless there is none of that name: it might be the key itself."""
        params = self.params
        if params.key_file:
            named = f"{params.key_file} (params.yaml:teacher.key_file)"
            return named if _is_there(params.key_file) else "the file that params.yaml:teacher.key_file names"
        named = f"${params.key_env} (params.yaml:teacher.key_env)"
        return named if params.key_env in os.environ else "the variable that params.yaml:teacher.key_env names"

    def _redact(self, text: str) -> str:
        for form in self._forms_of_key:
            if form in text:
                text = text.replace(form, "[key]")
        return text


def _is_there(path: str) -> bool:
    """Say whether there is a file; what is too long for a name, or holds what none may, is no file but maybe a key."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _forms(key: str) -> list[str]:
    """Return the key as it may stand in a text: as it is, and in JSON, in an address, in Base64."""
    in_json = json.dumps(key)[1:-1]
    encoded = base64.b64encode(key.encode()).decode().rstrip("=")
    forms = [key, in_json, in_json.replace("/", "\\/"), quote(key, safe=""), encoded]
    # A form may hold another, and what is left of it would tell.
    return sorted(set(forms), key=len, reverse=True)


def _seconds(retry_after: str | None) -> float | None:
    """Return how long a Retry-After header asks to wait, given as seconds or as a date."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
