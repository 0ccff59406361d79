"""How the service's log of answers gets into the store: each whole line once, in pieces, and its space is given back.

The service keeps its log open and appends to it, so the file can be neither renamed nor cut off without losing a line.
What is in the store is therefore punched out of it: the file keeps its length, and no longer takes up space.
"""

import ctypes
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from polydistill.cluster.store import Store
from polydistill.errors import DataError, PolydistillError
from polydistill.files import explained, read_text, write_json
from polydistill.traffic import Answer

log = logging.getLogger(__name__)

TRAFFIC = "traffic"
"""The folder of the store: traffic/<day of shipping>/<log>-<offset>.jsonl."""

_READ = 1 << 20
_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # of Linux' fallocate


class _Piece(BaseModel):
    """A piece on its way: uploaded again, the same bytes to the same path, where nobody knows whether it arrived."""

    model_config = ConfigDict(extra="forbid", strict=True)

    path: str
    end: int


class _State(BaseModel):
    """How far a log is shipped; stands beside it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    log: str
    shipped: int = 0
    piece: _Piece | None = None


class Shipper:
    """Ships one log.

    Args:
        path: The log; it need not be there yet.
        store: Where its lines go.
        piece_bytes: From which size on a piece is uploaded by itself.
        most_waiting: Where so many bytes wait because the store takes none, the oldest lines are given up.
    """

    def __init__(self, path: Path, store: Store, piece_bytes: int, most_waiting: int) -> None:
        self._path, self._store = path, store
        self._piece_bytes, self._most_waiting = piece_bytes, most_waiting
        self._state_path = path.with_name(f"{path.name}.shipped")
        self._state = self._read_state()

    def ship(self) -> None:
        """Ship all lines that are whole.

        Raises:
            PolydistillError: If the store does not take them; they wait, unless too many do.
        """
        if not self._path.exists():
            return
        with explained(self._path, "read"), self._path.open("rb+") as file:
            if os.fstat(file.fileno()).st_size < self._state.shipped:
                log.warning("%s is shorter than what was shipped of it, so it is another file now", self._path)
                self._keep(_State(log=uuid.uuid4().hex))
            self._make_room(file)
            while content := self._next(file):
                assert self._state.piece is not None
                self._store.write(self._state.piece.path, content)
                self._keep(_State(log=self._state.log, shipped=self._state.piece.end))
                _punch_out(file.fileno(), self._state.shipped, self._path)

    def _next(self, file: Any) -> bytes:
        """Return the next piece, after writing down which it is; empty where there is no whole line."""
        start = self._state.shipped
        file.seek(start)
        if self._state.piece is not None:
            return bytes(file.read(self._state.piece.end - start))
        content = file.read(self._piece_bytes) + file.readline()
        content = content[: content.rfind(b"\n") + 1]
        if content:
            path = f"{TRAFFIC}/{datetime.now(UTC):%Y-%m-%d}/{self._state.log}-{start:015d}.jsonl"
            self._keep(_State(log=self._state.log, shipped=start, piece=_Piece(path=path, end=start + len(content))))
        return bytes(content)

    def _make_room(self, file: Any) -> None:
        """Give up the oldest lines where too many wait, so that the disk, and with it the service, is not lost."""
        end = os.fstat(file.fileno()).st_size
        if end - self._state.shipped <= self._most_waiting:
            return
        file.seek(self._state.shipped)
        lines = 0
        while file.tell() < end - self._most_waiting:
            lines += file.readline(_READ).endswith(b"\n")
        log.error("%d lines of %s are lost: the store takes none, and there is no room to keep them", lines, self._path)
        self._keep(_State(log=self._state.log, shipped=file.tell()))
        _punch_out(file.fileno(), self._state.shipped, self._path)

    def _read_state(self) -> _State:
        if not self._state_path.exists():
            return _State(log=uuid.uuid4().hex)
        try:
            return _State.model_validate_json(read_text(self._state_path))
        except ValidationError as exc:
            raise DataError(f"{self._state_path} is damaged; delete the pod, the next one begins anew") from exc

    def _keep(self, state: _State) -> None:
        write_json(self._state_path, state.model_dump())
        self._state = state


def run_ship(shipper: Shipper, every_s: float, told_to_stop: Callable[[float], bool]) -> None:
    """Ship every so often until told to stop, and then what is left.

    Args:
        shipper: What ships the log.
        every_s: Seconds between pieces.
        told_to_stop: Waits so many seconds at most, and returns whether it was told to stop.

    Raises:
        PolydistillError: If what is left cannot be shipped.
    """
    while not told_to_stop(every_s):
        try:
            shipper.ship()
        except PolydistillError as exc:
            log.error("%s; the lines wait", exc)
    shipper.ship()


def read_shipped(store: Store, since: datetime) -> Iterator[Answer]:
    """Yield the answers that were given since then; a line that cannot be read is passed over with a warning."""
    unreadable = 0
    for path in store.paths(TRAFFIC):
        if path.split("/")[1] < f"{since.astimezone(UTC):%Y-%m-%d}":
            continue  # shipped before, so answered before
        found = store.read(path)
        for line in found[0].splitlines() if found else []:
            try:
                answer = Answer.model_validate_json(line)
                recent = datetime.fromisoformat(answer.time or "") >= since
            except (ValueError, TypeError):  # no answer, no time, or one without its zone
                unreadable += 1
                continue
            if recent:
                yield answer
    if unreadable:
        log.warning(
            "%d lines in %s/%s are none of the service's log, and are passed over", unreadable, store.url, TRAFFIC
        )


def _punch_out(file: int, end: int, path: Path) -> None:
    """Give back the space of the bytes before `end`; the file stays as long as it is."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if libc.fallocate(file, _KEEP_SIZE | _PUNCH_HOLE, 0, end):
        log.warning("%s: its file system does not give back space (%s)", path, os.strerror(ctypes.get_errno()))
