"""Asks a teacher many things at once, each reply in the journal before it counts."""

import asyncio
import logging
from collections.abc import Sequence

from polydistill.errors import DataError, PolydistillError
from polydistill.progress import progress
from polydistill.teachers.base import ChatRequest, Reply, Teacher
from polydistill.teachers.journal import Journal

log = logging.getLogger(__name__)


async def ask_all(
    teacher: Teacher, requests: Sequence[ChatRequest], journal: Journal, concurrency: int
) -> dict[str, Reply]:
    """Return the reply to each request by its id; only what the journal does not hold is asked.

    Raises:
        DataError: If the teacher cannot be asked for such a purpose.
        PolydistillError: The first failure, once the requests under way have been answered; all replies until then are
            in the journal.
    """
    for purpose in sorted({request.purpose for request in requests} - set(teacher.models)):
        raise DataError(f"the {teacher.kind} teacher holds no replies for {purpose!r}; it has {sorted(teacher.models)}")
    known = {request.id: journal.get(request, teacher) for request in requests}
    open_requests = [request for request in requests if known[request.id] is None]
    replies = {id: reply for id, reply in known.items() if reply is not None}
    if not open_requests:
        return replies
    purpose = requests[0].purpose
    log.debug("%s: %d replies in %s, %d to ask for", purpose, len(replies), journal.path, len(open_requests))
    queue = iter(open_requests)
    failures: list[PolydistillError] = []

    with progress(f"asking the teacher ({purpose})", len(open_requests)) as advance:

        async def work() -> None:
            for request in queue:
                if failures:
                    return
                try:
                    reply = await teacher.complete(request)
                except PolydistillError as exc:
                    failures.append(exc)
                    return
                journal.add(request, teacher, reply)
                replies[request.id] = reply
                advance()

        workers = [asyncio.create_task(work()) for _ in range(min(concurrency, len(open_requests)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
    if failures:
        raise failures[0]
    return replies
