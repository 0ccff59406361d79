"""The journal: every reply that was paid for, on disk before it counts, so that none is asked for twice."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from polydistill.errors import DataError
from polydistill.files import explained
from polydistill.teachers.base import ChatRequest, Reply, Teacher


class Journal:
    """An append-only JSON Lines file, a line a reply; what a killed process left half-written at its end is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._replies: dict[tuple[str, str], Reply] = {}

    def __enter__(self) -> Self:
        """Read what there is and open for appending.

        Raises:
            DataError: If a line other than the last is damaged, or the file cannot be written.
        """
        with explained(self.path, "write"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
            self._file.seek(0)
            whole = self._file.read()
            complete = whole.rfind(b"\n") + 1
            if complete < len(whole):
                self._file.truncate(complete)
        for number, line in enumerate(whole[:complete].splitlines(), start=1):
            try:
                row: dict[str, Any] = json.loads(line)
                self._replies[row["id"], row["digest"]] = Reply(**row["reply"])
            except (ValueError, KeyError, TypeError) as exc:
                self._file.close()
                raise DataError(
                    f"{self.path}:{number}: damaged ({exc}); mend or delete this line and run again"
                ) from exc
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()

    def get(self, request: ChatRequest, teacher: Teacher) -> Reply | None:
        """Return the reply that this teacher gave to this very request, if it is there."""
        return self._replies.get((request.id, request.digest(teacher)))

    def add(self, request: ChatRequest, teacher: Teacher, reply: Reply) -> None:
        """Append the reply and force it to disk."""
        digest = request.digest(teacher)
        row = {"id": request.id, "digest": digest, "reply": asdict(reply)}
        # A lone surrogate cannot be encoded; the escape that backslashreplace writes is the one JSON wants.
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace")
        with explained(self.path, "write"):
            self._file.write(line + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        self._replies[request.id, digest] = reply
