"""The recorded teacher: answers each request with what a file holds under its id, whatever the prompt says."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Self

from polydistill.errors import DataError, PolydistillError
from polydistill.files import explained, new_file, read_text
from polydistill.prompts import Purpose
from polydistill.teachers.base import (
    ChatRequest,
    Failure,
    Outcome,
    RefusedError,
    Reply,
    Teacher,
    purpose_of,
    token_count,
)
from polydistill.teachers.journal import Journal, journal_path, to_outcome
from polydistill.text import tidy

log = logging.getLogger(__name__)

VERSION = 1
_STRATEGY = "plain"  # of a recording that names none
_MAX_NOTE = 1000  # characters of all that is not the reply itself


class RecordedTeacher:
    """Replies from a JSON Lines file.

    Its first line is {"recording": 1, "purposes": {purpose: {"model": name}}}, with "structured": false where the
    replies are plain lines, and "strategy" where it was another than `plain`; every other line is one reply, {"id",
    "reply", "finish_reason", "prompt_tokens", "completion_tokens", "fault", "options"}, the last five optional, or a
    request that got none, {"id", "failed"}. `options` are the labels that the prompt numbered from 1, in its order.
    """

    kind = "recorded"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.models: Mapping[Purpose, str] = {}
        self.revision = ""
        self.structured: bool | None = True
        self.strategy = _STRATEGY
        self.outcomes: dict[str, Reply | Failure] = {}
        self.options: dict[str, list[str]] = {}

    async def __aenter__(self) -> Self:
        """Read the recording; raises as `read` does."""
        self.read()
        return self

    def read(self) -> None:
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
        header = self._parse(*next(lines, (1, "")))
        if header.get("recording") != VERSION:
            raise DataError(
                f'{self.path}:1: no recording of version {VERSION}; the first line is {{"recording": 1, ...}}'
            )
        try:
            self.models = {
                purpose: tidy(str(facts["model"]), _MAX_NOTE) for purpose, facts in header["purposes"].items()
            }
        except (KeyError, TypeError, AttributeError) as exc:
            raise DataError(
                f'{self.path}:1: names no models; wanted is "purposes": {{"generate": {{"model": ...}}, ...}}'
            ) from exc
        self.structured = header.get("structured") is not False
        self.strategy = tidy(str(header.get("strategy", _STRATEGY)), _MAX_NOTE)
        for number, line in lines:
            row = self._parse(number, line)
            if isinstance(row.get("id"), str) and isinstance(row.get("failed"), str):
                self.outcomes[row["id"]] = Failure(tidy(row["failed"], _MAX_NOTE))
                continue
            if not isinstance(row.get("id"), str) or not isinstance(row.get("reply"), str):
                raise DataError(f"{self.path}:{number}: `id` or `reply` is missing or no text")
            self.outcomes[row["id"]] = Reply(
                row["reply"],
                _note(row.get("finish_reason")),
                token_count(row.get("prompt_tokens")),
                token_count(row.get("completion_tokens")),
                _note(row.get("fault")),
            )
            if _is_options(row.get("options")):
                self.options[row["id"]] = row["options"]

    async def __aexit__(self, *_: object) -> None:
        """Nothing is held open."""

    async def complete(self, request: ChatRequest) -> Reply:
        """Return the recorded reply.

        Raises:
            DataError: If the recording holds none for the request.
            RefusedError: If the request failed when it was recorded.
        """
        outcome = self.outcomes.get(request.id)
        if isinstance(outcome, Failure):
            raise RefusedError(outcome.cause)
        if outcome is not None:
            return outcome
        known = sum(id.rpartition("/")[0] == request.id.rpartition("/")[0] for id in self.outcomes)
        ways = {
            "generate": "ask for no more than was recorded (texts_per_label and top_up in params.yaml:generate)",
            "revise": "switch self-revision off (params.yaml:generate.self_revision)",
            "zero-shot": "leave the test texts as they were, or do without (params.yaml:evaluate.zero_shot)",
        }
        way = ways.get(request.purpose, "record it")
        raise DataError(
            f"{self.path} holds no reply to {request.id} ({known} others of its kind); {way}, "
            "or ask a server (params.yaml:teacher)"
        )

    def _parse(self, number: int, line: str) -> dict[str, Any]:
        try:
            row = json.loads(line)
        # Not JSONDecodeError alone: a number of thousands of digits is another one.
        except (ValueError, RecursionError) as exc:
            raise DataError(f"{self.path}:{number}: not JSON ({exc})") from exc
        if not isinstance(row, dict):
            raise DataError(f"{self.path}:{number}: not a JSON object")
        return row


def _note(content: Any) -> str | None:
    """Return what a recording says beside a reply, fit for every file that it goes to; None remains None."""
    return None if content is None else tidy(str(content), _MAX_NOTE)


def _is_options(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(name, str) for name in content)


def write_recording(
    path: Path,
    models: Mapping[Purpose, str],
    outcomes: Iterable[tuple[str, Outcome]],
    *,
    structured: bool = True,
    strategy: str = _STRATEGY,
    options: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write a recording of what came of requests, each with its id; `options` as there, by the id."""
    header: dict[str, Any] = {"recording": VERSION}
    if not structured:
        header["structured"] = False
    if strategy != _STRATEGY:
        header["strategy"] = strategy
    header["purposes"] = {purpose: {"model": model} for purpose, model in models.items()}
    with new_file(path) as partial, partial.open("w", encoding="utf-8", errors="backslashreplace") as out:
        out.write(json.dumps(header, ensure_ascii=False) + "\n")
        for id, outcome in outcomes:
            shown = {"options": options[id]} if options and id in options else {}
            out.write(json.dumps({"id": id, **_to_row(outcome), **shown}, ensure_ascii=False) + "\n")


def _to_row(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Failure):
        return {"failed": outcome.cause}
    row = {
        "reply": outcome.text,
        "finish_reason": outcome.finish_reason,
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.completion_tokens,
        "fault": outcome.fault,
    }
    return {key: value for key, value in row.items() if value is not None}


def record(
    path: Path,
    journal: Journal,
    models: Mapping[Purpose, str],
    *,
    structured: bool | None = None,
    strategy: str | None = None,
) -> None:
    """Write what a journal holds as a recording; what one at `path` holds of other purposes stays.

    Args:
        path: The recording.
        journal: Open.
        models: The model behind each purpose.
        structured: Whether texts were asked for in JSON; None if that did not matter.
        strategy: By which texts were asked for; None if none were.

    Raises:
        DataError: If there is a file at `path` that is no recording.
    """
    before = RecordedTeacher(path)
    if path.exists():
        before.read()
    last = {row["id"]: number for number, row in enumerate(journal.rows())}  # a request may stand there twice
    purposes = {purpose_of(id) for id in last} - {"canary"}
    # Verdicts are of texts: those on the texts of another run say nothing of these.
    gone = purposes | ({"revise"} if "generate" in purposes else set())
    kept = (of for of in before.outcomes.items() if purpose_of(of[0]) not in gone)
    news = (
        (row["id"], to_outcome(row))
        for number, row in enumerate(journal.rows())
        if last[row["id"]] == number and purpose_of(row["id"]) in purposes
    )
    all_models: dict[Purpose, str] = {purpose: m for purpose, m in before.models.items() if purpose not in gone}
    all_models |= {purpose: m for purpose, m in models.items() if purpose in purposes}
    options = {id: names for id, names in before.options.items() if purpose_of(id) not in gone}
    options |= {row["id"]: row["about"]["options"] for row in journal.rows() if "options" in row.get("about", ())}
    in_json = bool(before.structured) if structured is None else structured
    by = before.strategy if strategy is None else strategy
    write_recording(path, all_models, chain(kept, news), structured=in_json, strategy=by, options=options)


def check_target(path: Path | None) -> None:
    """Say now, before anything is paid for, if no recording can be written to a path.

    Raises:
        DataError: If what stands there is no recording, or its folder cannot be written.
    """
    if path is None:
        return
    with explained(path, "read"):
        there = path.exists()
    if there:
        RecordedTeacher(path).read()
    with explained(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass


@contextmanager
def open_journal(
    folder: Path,
    name: str,
    plan: Mapping[str, Any],
    teacher: Teacher,
    record_to: Path | None,
    *,
    strategy: str | None = None,
) -> Iterator[Journal]:
    """Open the journal of a step; what it holds in the end, whatever the end is, is written as a recording if wanted.

    Args:
        folder: Of the step, in a cell.
        name: Of the journal.
        plan: As of `Journal`.
        teacher: Who is asked in the block, connected.
        record_to: The recording; None for none.
        strategy: By which texts are asked for; None where it is no texts.

    Raises:
        DataError: As of `Journal`; or if the recording cannot be written, but where the block ends with an error, that
            one is raised instead.
    """
    paid = teacher.kind != "recorded"
    with Journal(journal_path(folder, name, paid=paid), plan, paid=paid) as journal:

        def write() -> None:
            if record_to is not None and len(journal):
                structured = None if strategy is None else teacher.structured
                record(record_to, journal, teacher.models, structured=structured, strategy=strategy)

        try:
            yield journal
        except BaseException:
            try:
                write()
            except PolydistillError as exc:
                log.warning("the replies were not recorded: %s", exc)
            raise
        write()
