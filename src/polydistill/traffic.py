"""The log of answers: how the service writes it, how the drift monitor reads it."""

import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from polydistill.classifier import ClassifyResponse, Prediction
from polydistill.errors import DataError
from polydistill.files import explained

log = logging.getLogger(__name__)

# Names the file to log to; nothing is logged where it is not set.
VARIABLE = "POLYDISTILL_TRAFFIC_LOG"

# The header of a request that nobody asked in earnest: its answers are no traffic.
UNLOGGED = "Polydistill-Unlogged"


class Answer(BaseModel):
    """A line of the log; `time` is missing where answers must be the same each time."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    task: str
    language: str
    text: str
    label: str
    probability: float = Field(ge=0, le=1)
    time: str | None = None


def answers(response: ClassifyResponse, texts: Sequence[str], when: datetime | None = None) -> list[Answer]:
    """Return what the log says of a response."""
    time = when.isoformat(timespec="milliseconds") if when else None
    return [
        Answer(task=response.task, text=text, time=time, **_told(prediction))
        for text, prediction in zip(texts, response.predictions, strict=True)
    ]


def _told(prediction: Prediction) -> dict[str, Any]:
    return prediction.model_dump(include={"language", "label", "probability"})


def to_lines(rows: Iterable[Answer]) -> str:
    """Return a JSON line an answer."""
    told = (row.model_dump(exclude_none=True) for row in rows)
    return "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in told)


class TrafficLog:
    """Appends answers to a file that only its owner may read, since texts are personal; servers may share it."""

    def __init__(self, path: Path) -> None:
        with explained(path, "write"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._path = path

    def append(self, rows: Sequence[Answer]) -> None:
        """Log the answers to a request; a full disk costs the log, not the answers."""
        try:
            os.write(self._file, to_lines(rows).encode())
        except OSError as exc:
            log.error("%d answers are missing in %s: %s", len(rows), self._path, exc.strerror)


def traffic_log() -> TrafficLog | None:
    """Return the log that the environment asks for.

    Raises:
        DataError: If it cannot be written, or its path is not absolute: BentoML changes the folder that it runs in.
    """
    path = os.environ.get(VARIABLE)
    if path and not Path(path).is_absolute():
        raise DataError(f"{VARIABLE}={path} is no absolute path; begin it with /")
    return TrafficLog(Path(path)) if path else None


def read_traffic(path: Path) -> Iterator[Answer]:
    """Yield the answers in the log; a last line that a crash tore off is passed over with a warning.

    Raises:
        DataError: If the file is missing, or any other line is no answer; the message names the line.
    """
    with explained(path, "read"), path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield Answer.model_validate_json(line)
            except ValidationError as exc:
                if not line.endswith(b"\n"):
                    log.warning("%s:%d: the last line is not whole and is passed over", path, number)
                    return
                error = exc.errors()[0]
                what = f"{'.'.join(map(str, error['loc']))}: {error['msg']}".removeprefix(": ")
                raise DataError(f"{path}:{number}: no line of the service's log ({what}); mend or remove it") from exc
