"""The journal: every reply that was paid for, on disk before it counts, so that none is asked for twice.

Its first line tells the plan that the replies belong to, every other line one reply or failure:

    {"journal": 1, "paid": true, "plan": {"model": ..., "temperature": ..., ...}}
    {"id": ..., "digest": ..., "text": ..., "finish_reason": ..., "prompt_tokens": ..., "completion_tokens": ...}
    {"id": ..., "digest": ..., "failed": "HTTP 500", "refused": false}

and where there is something to tell `seconds`, `tries`, `fault`, `faults` (what is wrong with the reply), `max_tokens`
(at which it was cut off), `charged` (tokens, where the server counts none) and `about` (what guided the request).
"""

import fcntl
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic_core import from_json

from polydistill.errors import DataError
from polydistill.files import explained
from polydistill.teachers.base import ChatRequest, Failure, Outcome, Reply, purpose_of

VERSION = 1
ABLATION = "POLYDISTILL_ABLATION"
"""Environment variable of `polydistill ablate`: replies of another plan stay, those of this plan stand beside them."""
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What comes of reading a line that this module has not written."""


@dataclass
class Usage:
    """What the requests of one purpose took; tokens are None where a reply came without a count.

    `sent` are the tries of all requests; `counted` are the tokens of prompts and of replies that count against the
    budget: those of a reply that came without a count are what it was charged.
    """

    requests: int = 0
    retries: int = 0
    failed: int = 0
    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    sent: int = field(default=0, compare=False)
    counted: tuple[int, int] = field(default=(0, 0), compare=False)

    def add(self, outcome: Outcome, faults: Sequence[str]) -> None:
        """Count one request in."""
        self.requests += 1
        self.retries += max(0, outcome.tries - 1)
        self.sent += outcome.tries
        self.seconds += round(outcome.seconds, 3)  # as a journal has it, so that another run counts the same
        if isinstance(outcome, Failure):
            self.failed += 1
            self.failures[outcome.cause] += 1
            return
        prompt, completion = outcome.charged or (outcome.prompt_tokens or 0, outcome.completion_tokens or 0)
        self.counted = self.counted[0] + prompt, self.counted[1] + completion
        self.prompt_tokens = _sum(self.prompt_tokens, outcome.prompt_tokens)
        self.completion_tokens = _sum(self.completion_tokens, outcome.completion_tokens)
        if faults:
            self.faults.update(faults)


def _sum(total: int | None, more: int | None) -> int | None:
    return None if total is None or more is None else total + more


def _own_path(path: Path, plan: Mapping[str, Any]) -> Path:
    """Return where the journal of a plan is among those of other plans: the first one has the plain name."""
    try:
        with path.open("rb") as file:
            there = _parsed(file.readline())["plan"]
    except (OSError, *_DAMAGE):
        return path
    own = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:8]
    return path if there == plan else path.with_stem(f"{path.stem}-{own}")


def journal_path(folder: Path, name: str, *, paid: bool) -> Path:
    """Return where the journal of this name is in a step's folder.

    Replies of a recording have one of their own: they stand in for those that were paid for, and must not end them.
    """
    return folder / "journal" / (f"{name}.jsonl" if paid else f"recorded-{name}.jsonl")


class Journal:
    """An append-only JSON Lines file. One process at a time may hold open any in a folder, by the folder's `.lock`.

    Memory holds no reply, only where each stands: about 150 bytes a line.
    """

    def __init__(self, path: Path, plan: Mapping[str, Any], *, paid: bool = True) -> None:
        """Say where it is and what it belongs to.

        Args:
            path: The file; none is left where nothing was written.
            plan: What all replies in it have in common (model, prompts, temperature, seeds, ...), for JSON.
            paid: Whether its replies cost anything; those of a recording do not, and give way to another plan.
        """
        self.plan: dict[str, Any] = json.loads(json.dumps(plan))
        self.path, self.paid = _own_path(path, self.plan) if paid and os.environ.get(ABLATION) else path, paid
        self.usage: defaultdict[str, Usage] = defaultdict(Usage)
        self.latest: dict[str, int] = {}
        """The highest number that was answered in each series of requests, such as generate/<label>."""
        self._places: dict[int, int] = {}  # 64 bits of a digest -> offset of its line
        self._failed: dict[int, int] = {}  # the same, of requests that failed
        self._torn = False  # whether a part of a write that failed stands behind the last whole line

    def __enter__(self) -> Self:
        """Lock the folder, look through the file, and drop what a killed process left half-written at its end.

        Raises:
            DataError: If another process holds the folder, the file belongs to another plan, a line other than the
                last is damaged, or it cannot be written.
        """
        with explained(self.path, "write"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened:
            self._lock(opened)
            with explained(self.path, "write"):
                self._out = opened.enter_context(self.path.open("ab", buffering=0))
                self._in = opened.enter_context(self.path.open("rb"))
            with explained(self.path, "read"):
                self._end = self._look_through()
            with explained(self.path, "write"):
                self._out.truncate(self._end)
            # What it has buffered may not be in the file any more.
            self._in.close()
            self._in = opened.enter_context(self.path.open("rb"))
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, and leave none where nothing was written."""
        if not self._end:
            with suppress(OSError):
                self.path.unlink()
        self._opened.close()

    def _lock(self, opened: ExitStack) -> None:
        """Take hold of the folder: whoever asks in it also writes what stands beside it.

        The lock is on a file that stays for good, so that all processes mean the same one; network file systems lock
        no folders.

        Raises:
            DataError: If another process has it, or there can be no lock.
        """
        path = self.path.parent / ".lock"
        with explained(path, "write"):
            lock = opened.enter_context(path.open("ab"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise DataError(
                    f"{path.parent} is in use by another process; wait until it has ended, or stop it, and run again"
                ) from exc

    def __len__(self) -> int:
        """How many requests have a reply."""
        return len(self._places)

    def get(self, digest: str, max_tokens: int | None = None) -> Reply | None:
        """Return the reply to the request of this digest, if there is one.

        Args:
            digest: Of the request, as `ChatRequest.digest` returns it.
            max_tokens: Where it is given, a reply that was cut off at a lower limit does not count.
        """
        offset = self._places.get(int(digest, 16))
        if offset is None:
            return None
        row = self._read(offset)
        if max_tokens is not None and row.get("max_tokens", max_tokens) < max_tokens:
            return None
        outcome = to_outcome(row)
        return outcome if isinstance(outcome, Reply) else None

    def failure(self, digest: str) -> Failure | None:
        """Return how the request of this digest failed last, if it did."""
        offset = self._failed.get(int(digest, 16))
        outcome = None if offset is None else to_outcome(self._read(offset))
        return outcome if isinstance(outcome, Failure) else None

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield all lines but the first, in their order."""
        with explained(self.path, "read"), self.path.open("rb") as lines:
            position = len(next(lines, b""))
            while position < self._end:  # behind it a part of a write that failed may stand
                line = next(lines)
                position += len(line)
                yield _parsed(line)

    def encode(
        self, request: ChatRequest, digest: str, outcome: Outcome, faults: Sequence[str], max_tokens: int
    ) -> bytes:
        """Return the line of an outcome."""
        row: dict[str, Any] = {"id": request.id, "digest": digest}
        if isinstance(outcome, Failure):
            row |= {"failed": outcome.cause, "refused": outcome.refused}
        else:
            row["text"] = outcome.text
            row["finish_reason"] = outcome.finish_reason
            row["prompt_tokens"] = outcome.prompt_tokens
            row["completion_tokens"] = outcome.completion_tokens
            if outcome.charged and self.paid:
                row["charged"] = outcome.charged
            if outcome.fault:
                row["fault"] = outcome.fault
            if outcome.finish_reason == "length":
                row["max_tokens"] = max_tokens
            if faults:
                row["faults"] = list(faults)
        if outcome.seconds:
            row["seconds"] = round(outcome.seconds, 3)
        if outcome.tries != 1:
            row["tries"] = outcome.tries
        if request.about is not None:
            row["about"] = request.about
        return _line(row)

    def write(self, lines: Sequence[bytes]) -> list[int]:
        """Append the lines and force them to disk; return where each starts.

        Raises:
            DataError: If the disk is full or the like; what is in the file then is as before.
        """
        start, offsets = self._end, []
        head = b"" if start else self._header()
        position = start + len(head)
        for line in lines:
            offsets.append(position)
            position += len(line)
        with explained(self.path, "write"):
            if self._torn:
                self._out.truncate(start)
                self._torn = False
            try:
                rest = memoryview(head + b"".join(lines))
                while rest:  # a disk that runs full takes a part before it fails
                    rest = rest[self._out.write(rest) :]
                os.fsync(self._out.fileno())
                if not start:
                    self._keep_name()
            except OSError:
                self._torn = True
                with suppress(OSError):
                    self._out.truncate(start)
                    self._torn = False
                raise
        self._end = position
        return offsets

    def note(self, id: str, digest: str, outcome: Outcome, faults: Sequence[str], offset: int) -> None:
        """Let an outcome count whose line is on disk."""
        self.usage[purpose_of(id)].add(outcome, faults)
        if isinstance(outcome, Failure):
            self._failed[int(digest, 16)] = offset
            return
        self._places[int(digest, 16)] = offset
        series, _, number = id.rpartition("/")
        if number.isdecimal() and int(number) > self.latest.get(series, -1):
            self.latest[series] = int(number)

    def _keep_name(self) -> None:
        """Force to disk that the folder has the file; not every file system wants that asked, or lets it be."""
        with suppress(OSError):
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _header(self) -> bytes:
        return _line({"journal": VERSION, "paid": self.paid, "plan": self.plan})

    def _look_through(self) -> int:
        """Read the file once; return where its last whole line ends."""
        end = 0
        for number, line in enumerate(self._in, start=1):
            if not line.endswith(b"\n"):
                break  # torn: its reply never counted
            try:
                row = _parsed(line)
                if number == 1:
                    if not self._takes(row):
                        return 0
                else:
                    self._take_in(row, end)
            except _DAMAGE as exc:
                if number == 1:
                    raise DataError(
                        f"{self.path}:1: no journal of version {VERSION}; move the file away to start anew"
                    ) from exc
                raise self._damaged(number, exc) from exc
            end += len(line)
        return end

    def _damaged(self, number: int, why: Exception) -> DataError:
        return DataError(f"{self.path}:{number}: damaged ({why}); mend or delete this line and run again")

    def _takes(self, header: Any) -> bool:
        """Say whether the file goes on; one without paid replies makes room for another plan.

        Raises:
            DataError: If it belongs to another plan.
        """
        if header["journal"] != VERSION:
            raise ValueError("another version")
        there: dict[str, Any] = header["plan"] | {"recorded": not header["paid"]}
        here = self.plan | {"recorded": not self.paid}
        changed = [key for key in sorted(there.keys() | here.keys()) if there.get(key) != here.get(key)]
        paid = self._count_replies() if changed and header["paid"] else 0
        if changed and not paid:
            return False
        if changed:
            ways = "; ".join(f"{key} was {_shown(there, key)}, is {_shown(here, key)}" for key in changed)
            raise DataError(
                f"{self.path} holds {paid} paid replies of another plan: {ways}. Set that back to "
                "go on, or move the file away to start anew"
            )
        return True

    def _count_replies(self) -> int:
        """Count what was paid for in the rest of the file; the canary is little, and is sent again."""
        count = 0
        for number, line in enumerate(self._in, start=2):
            if not line.endswith(b"\n"):
                break
            try:
                row = _parsed(line)
                count += isinstance(to_outcome(row), Reply) and not row["id"].startswith("canary/")
            except _DAMAGE as exc:
                raise self._damaged(number, exc) from exc
        return count

    def _take_in(self, row: dict[str, Any], offset: int) -> None:
        self.note(row["id"], row["digest"], to_outcome(row), row.get("faults", ()), offset)

    def _read(self, offset: int) -> dict[str, Any]:
        with explained(self.path, "read"):
            self._in.seek(offset)
            row: dict[str, Any] = _parsed(self._in.readline())
        return row


def _parsed(line: bytes) -> Any:
    try:
        return from_json(line)  # five times as fast, but it takes no lone surrogate
    except ValueError:
        return json.loads(line)


def _line(row: Mapping[str, Any]) -> bytes:
    # A lone surrogate cannot be encoded; the escape that backslashreplace writes is the one JSON wants.
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def to_outcome(row: Mapping[str, Any]) -> Outcome:
    """Return what a line of a journal says came of a request."""
    seconds, tries = row.get("seconds", 0.0), row.get("tries", 1)
    if "failed" in row:
        return Failure(row["failed"], row["refused"], seconds, tries)
    tokens = row["prompt_tokens"], row["completion_tokens"]
    charged = None
    if "charged" in row:
        prompt, completion = row["charged"]
        charged = int(prompt), int(completion)
    return Reply(row["text"], row["finish_reason"], *tokens, row.get("fault"), seconds, tries, charged)


def _shown(plan: Mapping[str, Any], key: str) -> str:
    return json.dumps(plan[key], ensure_ascii=False) if key in plan else "not there"
