"""What is asked of a teacher, and what comes back."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from polydistill.prompts import Purpose, prompt_hash


@dataclass(frozen=True)
class ChatRequest:
    """One question to a teacher.

    `id` is unique within a cell and tells its purpose first (generate/<label>/<number>, revise/<label>/<number>,
    zero-shot/<text id>); `schema` is the JSON schema of the reply, None for free text.
    """

    id: str
    purpose: Purpose
    content: str
    temperature: float
    seed: int
    schema: Mapping[str, Any] | None = None

    def digest(self, teacher: "Teacher") -> str:
        """Return a hash of all that the reply depends on: what is asked, how, and of whom."""
        asked = [self.content, self.temperature, self.seed, self.schema, prompt_hash(self.purpose)]
        whole = json.dumps([*asked, teacher.models[self.purpose], teacher.revision], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(whole.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Reply:
    """What a teacher answered; token counts are None where they are not known."""

    text: str
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def token_count(said: object) -> int | None:
    """Return a count of tokens as a server or a recording gives it, None where it is no count."""
    return said if isinstance(said, int) and not isinstance(said, bool) else None


class Teacher(Protocol):
    """An LLM that can be asked; entered with `async with` before the first request."""

    kind: str
    models: Mapping[Purpose, str]
    """The model behind each purpose; a purpose that is not there cannot be asked."""
    revision: str
    """What tells this teacher from another of the same model name, where anything does."""

    async def complete(self, request: ChatRequest) -> Reply:
        """Return the reply.

        Raises:
            PolydistillError: If there is none.
        """

    async def __aenter__(self) -> Self:
        """Connect."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
