"""What is asked of a teacher, what comes back, and how it fails."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from polydistill.prompts import Purpose, prompt_hash


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question to a teacher.

    `id` is unique within a journal and tells its purpose first (generate/<label>/<number>, zero-shot/<text id> ...).
    `schema` is the JSON schema of the reply; None asks for plain text. `count` is how many texts or verdicts are
    wanted, 0 where the reply is a single answer. `about` is not sent but kept beside the reply: what guided the
    request, such as its seeds.
    """

    id: str
    purpose: Purpose
    content: str
    temperature: float
    seed: int
    schema: Mapping[str, Any] | None = None
    count: int = 0
    about: Mapping[str, Any] | None = None

    def digest(self, model: str, revision: str) -> str:
        """Return 16 hex digits of all that the reply depends on: what is asked, how, and of whom."""
        asked = [self.id, self.content, self.temperature, self.seed, self.schema, prompt_hash(self.purpose)]
        whole = json.dumps([*asked, model, revision], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(whole.encode()).hexdigest()[:16]


def purpose_of(id: str) -> str:
    """Return the purpose that a request's id tells first."""
    return id.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a teacher answered; token counts are None where they are not known.

    `fault` names what was wrong already with the answer around the text (one of `replies.FAULTS`); there is no text
    then. `seconds` and `tries` are what it took, 0 and 1 for a recording. `charged` are the tokens, of prompt and of
    reply, that count against the budget where the teacher does not say both.
    """

    text: str
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    fault: str | None = None
    seconds: float = 0.0
    tries: int = 1
    charged: tuple[int, int] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that got no reply; with `refused` for what it is, which no further try would change.

    `cause` holds nothing that differs from request to request, so that like failures can be counted. Another run asks
    again in either case. `tries` are those that were sent, perhaps none.
    """

    cause: str
    refused: bool = False
    seconds: float = 0.0
    tries: int = 1


Outcome = Reply | Failure


_MOST_TOKENS = 1_000_000_000  # of one request; whoever says more does not count, and no price could be put on it


def token_count(said: object) -> int | None:
    """Return a count of tokens as a server or a recording gives it, None where it is no count."""
    return said if isinstance(said, int) and not isinstance(said, bool) and 0 <= said <= _MOST_TOKENS else None


class BusyError(Exception):
    """A try that failed for a reason that may pass; `retry_after` are the seconds that the server asks to wait."""

    def __init__(self, cause: str, retry_after: float | None = None) -> None:
        super().__init__(cause)
        self.retry_after = retry_after


class RefusedError(Exception):
    """A request that the server will never answer, such as one that is too long for its model."""


class Teacher(Protocol):
    """An LLM that can be asked; entered with `async with` before the first request."""

    kind: str
    models: Mapping[Purpose, str]
    """The model behind each purpose; a purpose that is not there cannot be asked."""
    revision: str
    """What tells this teacher from another of the same model name, where anything does."""
    structured: bool | None
    """Whether replies follow a JSON schema that is asked for; None where nobody knows without a canary request."""

    async def complete(self, request: ChatRequest) -> Reply:
        """Return the reply to one try.

        Raises:
            BusyError: If another try may do better.
            RefusedError: If no try of this request will.
            PolydistillError: If no request at all will.
        """

    async def __aenter__(self) -> Self:
        """Connect."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
