"""The recorded teacher: answers each request with what a file holds under its id, whatever the prompt says."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from polydistill.errors import DataError
from polydistill.files import new_file, read_text
from polydistill.prompts import Purpose
from polydistill.teachers.base import ChatRequest, Reply, token_count

VERSION = 1


class RecordedTeacher:
    """Replies from a JSON Lines file.

    Its first line is {"recording": 1, "purposes": {purpose: {"model": name}}}; every other line one reply:
    {"id", "reply", "finish_reason", "prompt_tokens", "completion_tokens"}, the last three optional.
    """

    kind = "recorded"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.models: Mapping[Purpose, str] = {}
        self.revision = ""
        self._replies: dict[str, Reply] = {}

    async def __aenter__(self) -> Self:
        """Read the recording.

        Raises:
            DataError: If it is missing or damaged; the message names the line.
        """
        if not self.path.exists():
            raise DataError(
                f"{self.path} is missing: params.yaml:teacher.kind is `recorded`, which replays that file; "
                "restore it, or set kind `openai` and the url of a server"
            )
        text = read_text(self.path)
        self.revision = hashlib.sha256(text.encode()).hexdigest()[:16]
        # Not splitlines: a reply may hold U+2028 and the like, which end no line of JSON Lines.
        lines = enumerate(text.removesuffix("\n").split("\n"), start=1)
        header = self._read(*next(lines, (1, "")))
        if header.get("recording") != VERSION:
            raise DataError(
                f'{self.path}:1: no recording of version {VERSION}; the first line is {{"recording": 1, ...}}'
            )
        try:
            self.models = {purpose: str(facts["model"]) for purpose, facts in header["purposes"].items()}
        except (KeyError, TypeError, AttributeError) as exc:
            raise DataError(
                f'{self.path}:1: names no models; wanted is "purposes": {{"generate": {{"model": ...}}, ...}}'
            ) from exc
        for number, line in lines:
            row = self._read(number, line)
            if not isinstance(row.get("id"), str) or not isinstance(row.get("reply"), str):
                raise DataError(f"{self.path}:{number}: `id` or `reply` is missing or no text")
            self._replies[row["id"]] = Reply(
                row["reply"],
                row.get("finish_reason"),
                token_count(row.get("prompt_tokens")),
                token_count(row.get("completion_tokens")),
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is held open."""

    async def complete(self, request: ChatRequest) -> Reply:
        """Return the recorded reply.

        Raises:
            DataError: If the recording holds none for the request.
        """
        try:
            return self._replies[request.id]
        except KeyError:
            known = sum(id.rpartition("/")[0] == request.id.rpartition("/")[0] for id in self._replies)
            ways = {
                "generate": "ask for no more than was recorded (params.yaml:generate)",
                "revise": "switch self-revision off (params.yaml:generate.self_revision)",
                "zero-shot": "leave the test texts as they were, or do without (params.yaml:evaluate.zero_shot)",
            }
            raise DataError(
                f"{self.path} holds no reply to {request.id} ({known} others of its kind); {ways[request.purpose]}, "
                "or ask a server (params.yaml:teacher)"
            ) from None

    def _read(self, number: int, line: str) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except ValueError as exc:  # not JSONDecodeError alone: a number of thousands of digits is another one
            raise DataError(f"{self.path}:{number}: not JSON ({exc})") from exc
        if not isinstance(row, dict):
            raise DataError(f"{self.path}:{number}: not a JSON object")
        return row


def write_recording(path: Path, models: Mapping[Purpose, str], replies: Iterable[tuple[str, Reply]]) -> None:
    """Write a recording of the replies, each with the id of its request."""
    header = {"recording": VERSION, "purposes": {purpose: {"model": model} for purpose, model in models.items()}}
    with new_file(path) as partial, partial.open("w", encoding="utf-8", errors="backslashreplace") as out:
        out.write(json.dumps(header, ensure_ascii=False) + "\n")
        for id, reply in replies:
            row = {"id": id, "reply": reply.text, "finish_reason": reply.finish_reason}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
