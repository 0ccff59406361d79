"""Asks a teacher many things at once, each reply in the journal before it counts.

A source gives requests; workers bring them to the teacher; all replies that came while the disk was busy go to the
journal together; and only then the source takes them in, which may give it more to ask.
"""

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from polydistill.errors import DataError, PolydistillError, TeacherError
from polydistill.params import BudgetParams, TeacherParams
from polydistill.progress import progress
from polydistill.teachers.base import BusyError, ChatRequest, Failure, Outcome, RefusedError, Reply, Teacher
from polydistill.teachers.budget import Budget, Charge
from polydistill.teachers.journal import Journal

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
FAILURES_IN_A_ROW = 10
"""So many requests that fail one after the other, each after all its tries, and the server counts as dead."""
WHAT_TO_CHECK = (
    "check params.yaml:teacher: model, max_tokens, and whether prompt and reply together fit the model's context"
)
"""What may be wrong where a server refuses all that it is asked."""
_REPLIES_PER_TURN = 1000  # from the journal, before others get a turn

Faults = Callable[[ChatRequest, Reply], Sequence[str]]


class RequestSource(Protocol):
    """What there is to ask. Its methods are called from one thread, and never twice for a request."""

    @property
    def total(self) -> int:
        """How many requests there will be, as far as is known."""

    def next(self) -> ChatRequest | None:
        """Return the next request; None while there is none, which a reply may change."""

    def take(self, request: ChatRequest, outcome: Outcome) -> None:
        """Take in what came of a request."""


class RequestList:
    """Asks the requests of a list; `outcomes` holds what came of each, by its id."""

    def __init__(self, requests: Sequence[ChatRequest]) -> None:
        self.total = len(requests)
        self.outcomes: dict[str, Outcome] = {}
        self._rest = iter(requests)

    def next(self) -> ChatRequest | None:
        """Return the next of the list."""
        return next(self._rest, None)

    def take(self, request: ChatRequest, outcome: Outcome) -> None:
        """Keep the outcome."""
        self.outcomes[request.id] = outcome


async def ask(
    source: RequestSource,
    teacher: Teacher,
    journal: Journal,
    params: TeacherParams,
    budget: BudgetParams,
    faults_of: Faults | None = None,
    stands: Callable[[ChatRequest], bool] = lambda _request: False,
) -> None:
    """Ask all that the source has; only what the journal does not hold is sent.

    Args:
        source: Gives the requests and takes the outcomes.
        teacher: Whom to ask, connected.
        journal: Open; an outcome reaches the source when it is on disk.
        params: Section `teacher` of params.yaml: how many at once, how long, how often.
        budget: Section `budget` of params.yaml.
        faults_of: Says what is wrong with a reply, for the journal.
        stands: Says of which requests even a failure in the journal, or a reply that was cut off, is not asked again.

    Raises:
        TeacherError: If the teacher answers nobody, too many requests failed one after the other, all failed, or the
            budget is reached. Requests under way are waited for first, and every reply is in the journal.
        DataError: If the journal cannot be written.
    """
    asking = _Asking(
        source,
        teacher,
        journal,
        params,
        Budget(budget, params.max_tokens, journal.usage, free=not journal.paid),
        faults_of,
        stands,
    )
    await asking.run()


async def ask_all(
    requests: Sequence[ChatRequest],
    teacher: Teacher,
    journal: Journal,
    params: TeacherParams,
    budget: BudgetParams,
    faults_of: Faults | None = None,
) -> dict[str, Outcome]:
    """Return what came of each request, by its id; arguments and errors as of `ask`."""
    source = RequestList(requests)
    await ask(source, teacher, journal, params, budget, faults_of)
    return source.outcomes


async def ask_one(
    request: ChatRequest,
    teacher: Teacher,
    journal: Journal,
    params: TeacherParams,
    budget: BudgetParams,
    faults_of: Faults | None = None,
) -> Outcome:
    """Return what came of one request, be it the server's refusal; arguments and other errors as of `ask`."""
    source = RequestList([request])
    try:
        await ask(source, teacher, journal, params, budget, faults_of)
    except TeacherError:
        outcome = source.outcomes.get(request.id)
        if not (isinstance(outcome, Failure) and outcome.refused):
            raise
    return source.outcomes[request.id]


class _Asking:
    def __init__(
        self,
        source: RequestSource,
        teacher: Teacher,
        journal: Journal,
        params: TeacherParams,
        budget: Budget,
        faults_of: Faults | None,
        stands: Callable[[ChatRequest], bool],
    ) -> None:
        self.source, self.teacher, self.journal, self.params, self.budget = source, teacher, journal, params, budget
        self.faults_of = faults_of or (lambda _request, _reply: ())
        self.stands = stands
        self.under_way = 0  # asked for, and not yet taken by the source
        self.answered = self.from_journal = 0
        self.failures: Counter[str] = Counter()
        self.failures_in_a_row = self.refused = 0
        # The canary alone does not show that the prompts of another purpose fit the model.
        self.purposes_answered = {purpose for purpose, of in journal.usage.items() if of.requests > of.failed}
        self.not_before = 0.0  # the server asked for a pause until then
        self.error: Exception | None = None
        self.stopped = asyncio.Event()
        self._all_came = False
        self._unwritten: list[tuple[ChatRequest, str, Outcome]] = []
        self._something_to_write = asyncio.Event()
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def run(self) -> None:
        with ThreadPoolExecutor(1, "journal") as thread, progress("asking the teacher") as self._show:
            writer = asyncio.create_task(self._write(thread))
            writer.add_done_callback(lambda _: self._halt())  # workers would wait for it for ever
            workers = [asyncio.create_task(self._work()) for _ in range(self.params.concurrency)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
                self._all_came = True
                self._something_to_write.set()
                await writer  # what has come reaches the disk even at Ctrl-C
        self._conclude()

    def _conclude(self) -> None:
        causes = ", ".join(f"{cause} ({n}×)" for cause, n in self.failures.most_common(5))
        if self.error is not None:
            if causes and isinstance(self.error, TeacherError):
                raise TeacherError(f"{self.error}\nof {self.failures.total()} requests that failed: {causes}")
            raise self.error
        if self.failures and not self.answered + self.from_journal:
            way_on = f"{WHAT_TO_CHECK}; then run" if self.refused == self.failures.total() else "run"
            raise TeacherError(f"all {self.failures.total()} requests failed: {causes}; {way_on} again to go on")
        if self.failures:
            log.warning("%d requests failed: %s", self.failures.total(), causes)

    async def _work(self) -> None:
        while (found := await self._next()) is not None:
            request, digest = found
            outcome = await self._answer(request)
            if outcome is None:
                self.under_way -= 1
                self._wake_all()
                return
            self._unwritten.append((request, digest, outcome))
            self._something_to_write.set()
            # A disk slower than the teacher. Once all has stopped, perhaps nobody writes any more.
            while len(self._unwritten) > self.params.concurrency and not self.stopped.is_set():
                await self._change()

    async def _next(self) -> tuple[ChatRequest, str] | None:
        """Return what to ask next, None at the end; replies that the journal holds go straight to the source."""
        replayed = 0
        while not self.stopped.is_set():
            request = self.source.next()
            if request is None:
                if not self.under_way:
                    self._wake_all()
                    return None
                await self._change()
                continue
            if request.purpose not in self.teacher.models:
                self._stop(
                    DataError(
                        f"the {self.teacher.kind} teacher holds no replies for {request.purpose!r}; "
                        f"it has {sorted(self.teacher.models)}"
                    )
                )
                return None
            digest = request.digest(self.teacher.models[request.purpose], self.teacher.revision)
            known: Outcome | None
            if self.stands(request):
                known = self.journal.get(digest) or self.journal.failure(digest)
            else:
                known = self.journal.get(digest, self.params.max_tokens)
            if known is None:
                self.under_way += 1
                return request, digest
            self.from_journal += 1
            self._take(request, known)
            replayed += 1
            if replayed % _REPLIES_PER_TURN == 0:
                await asyncio.sleep(0)
        return None

    async def _answer(self, request: ChatRequest) -> Outcome | None:
        """Try until there is a reply or a failure; None where all asking has stopped before the first try."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        pause = FIRST_PAUSE_S
        cause, tries, invited = "", 0, 0
        while True:
            tries += 1
            admitted = await self._admit(request, started + self.params.total_timeout_s)
            if admitted is None and self.stopped.is_set():
                # Tries that were sent count, and only what is in the journal counts in the next run.
                if not cause:
                    return None
                return self._failed(request, Failure(cause, False, loop.time() - started, tries - 1))
            if admitted is None:
                limit = f"{self.params.total_timeout_s:g} s (params.yaml:teacher.total_timeout_s)"
                cause = f"the server asks to wait longer than {limit}"
                return self._failed(request, Failure(cause, False, loop.time() - started, tries - 1))
            reserved, queued = admitted
            started += queued  # for the budget, which is no fault of this request
            deadline = started + self.params.total_timeout_s
            reply: Reply | None = None
            retry_after: float | None = None
            try:
                async with asyncio.timeout_at(deadline):
                    reply = self.budget.charged(request, await self.teacher.complete(request))
            except BusyError as exc:
                cause, retry_after = str(exc), exc.retry_after
            except TimeoutError:
                cause = f"no reply within {self.params.total_timeout_s:g} s (params.yaml:teacher.total_timeout_s)"
            except RefusedError as exc:
                return self._failed(request, Failure(str(exc), True, loop.time() - started, tries))
            except PolydistillError as exc:
                self._stop(exc)
                if not cause:
                    return None
                return self._failed(request, Failure(cause, False, loop.time() - started, tries))
            finally:
                self.budget.settle(reserved, reply)
            if reply is not None:
                self.answered += 1
                self.failures_in_a_row = 0
                self.purposes_answered.add(request.purpose)
                return replace(reply, seconds=loop.time() - started, tries=tries) if self.journal.paid else reply
            # Full pauses would have all requests that failed together come back together.
            wait = max(retry_after or 0.0, pause * random.uniform(0.5, 1.0))
            if retry_after is not None:
                invited += 1  # a rate limit is no fault: the server will answer, only later
                self.not_before = max(self.not_before, loop.time() + retry_after)
            pause = min(2 * pause, LONGEST_PAUSE_S)
            if tries - invited == self.params.tries or loop.time() + wait > deadline or self.stopped.is_set():
                return self._failed(request, Failure(cause, False, loop.time() - started, tries))
            log.debug("%s: %s; try %d follows in %.1f s", request.id, cause, tries + 1, wait)
            await self._pause(wait)

    async def _admit(self, request: ChatRequest, deadline: float) -> tuple[Charge, float] | None:
        """Wait until a try may be sent; None once all has stopped, or if the pause of the server outlasts the deadline.

        Returns:
            What is set aside for the try, and how many seconds it waited for the budget.
        """
        loop, queued = asyncio.get_running_loop(), 0.0
        while not self.stopped.is_set():
            if (wait := self.not_before - loop.time()) > 0:
                if self.not_before > deadline + queued:
                    return None
                await self._pause(wait)
                continue
            if (reserved := self.budget.reserve(request)) is not None:
                return reserved, queued
            if exhausted := self.budget.exhausted_by(request):
                self._stop(
                    TeacherError(f"{exhausted}. Stopped; raise it in params.yaml and run again to go on from here")
                )
                return None
            waited = loop.time()
            await self._change()
            queued += loop.time() - waited
        return None

    def _failed(self, request: ChatRequest, failure: Failure) -> Failure:
        if not self.journal.paid:  # replayed; how long that took is no news, and differs from run to run
            failure = replace(failure, seconds=0.0)
        self.failures[failure.cause] += 1
        self.refused += failure.refused
        if failure.refused and request.purpose in self.purposes_answered:
            return failure  # by a content filter, say; the server is well
        self.failures_in_a_row += 1
        if self.failures_in_a_row >= FAILURES_IN_A_ROW:
            hint = "is the teacher up and well?"
            if self.refused == self.failures.total():
                hint = f"{WHAT_TO_CHECK}."
            self._stop(
                TeacherError(
                    f"stopped asking after {self.failures_in_a_row} failed requests in a row; {hint} Run again to go "
                    "on from here"
                )
            )
        return failure

    async def _pause(self, seconds: float) -> None:
        """Wait, but not once all has stopped."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopped.wait(), seconds)

    def _stop(self, error: Exception) -> None:
        """Send nothing more; the first error is the one to tell."""
        self.error = self.error or error
        self._halt()

    def _halt(self) -> None:
        self.stopped.set()
        self._wake_all()

    def _take(self, request: ChatRequest, outcome: Outcome) -> None:
        self.source.take(request, outcome)
        self._show(self.answered + self.from_journal + self.failures.total(), self.source.total)

    async def _change(self) -> None:
        """Wait until something has come of a request."""
        changed = asyncio.get_running_loop().create_future()
        self._waiting.append(changed)
        await changed

    def _wake_all(self) -> None:
        while self._waiting:
            changed = self._waiting.popleft()
            if not changed.done():
                changed.set_result(None)

    async def _write(self, thread: ThreadPoolExecutor) -> None:
        """Bring outcomes to disk, all that have come meanwhile at once, then to the source."""
        loop = asyncio.get_running_loop()
        while self._unwritten or not self._all_came:
            await self._something_to_write.wait()
            self._something_to_write.clear()
            batch, self._unwritten = self._unwritten, []
            if not batch:
                continue
            noted = [self._faults(request, outcome) for request, _, outcome in batch]
            lines = [
                self.journal.encode(request, digest, outcome, faults, self.params.max_tokens)
                for (request, digest, outcome), faults in zip(batch, noted, strict=True)
            ]
            try:
                offsets = await loop.run_in_executor(thread, self.journal.write, lines)
            except PolydistillError as exc:
                self._stop(exc)
                self.under_way -= len(batch)
                self._wake_all()
                continue
            for (request, digest, outcome), faults, offset in zip(batch, noted, offsets, strict=True):
                self.journal.note(request.id, digest, outcome, faults, offset)
                self.under_way -= 1
                try:
                    self._take(request, outcome)
                except Exception as exc:  # whatever it is, replies that still come are to reach the disk
                    self._stop(exc)
            self._wake_all()

    def _faults(self, request: ChatRequest, outcome: Outcome) -> Sequence[str]:
        try:
            return self.faults_of(request, outcome) if isinstance(outcome, Reply) else ()
        except Exception as exc:  # the reply is to reach the disk all the same
            self._stop(exc)
            return ()
