"""Has trainings run side by side, each in a process, as many at once as the machine bears."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

from polydistill.errors import PolydistillError

Job = TypeVar("Job")
Result = TypeVar("Result")

_ORPHANED_S = 1.0

_work: Callable[[Any], Any] | None = None


def side_by_side(
    work: Callable[[Job], Result], jobs: Sequence[Job], at_once: int, *, forks: bool
) -> Iterator[tuple[Job, Result]]:
    """Yield each job with what `work` makes of it, in the order in which they end.

    Args:
        work: Does one job; pickled where processes do not fork.
        jobs: What to do.
        at_once: Processes; with 1 the work is done in this one.
        forks: Whether the processes may be forks of this one, which start at once and share its memory.

    Raises:
        PolydistillError: If a process dies, as one does that takes more memory than there is.
    """
    if at_once == 1 or len(jobs) < 2:
        for job in jobs:
            yield job, work(job)
        return
    method = "fork" if forks and sys.platform == "linux" else "spawn"
    others = {*multiprocessing.active_children()}
    # By initargs a fork inherits the work with all its data; nothing is pickled.
    pool = ProcessPoolExecutor(
        min(at_once, len(jobs)), multiprocessing.get_context(method), initializer=_start, initargs=(work, os.getpid())
    )
    # Python's own `wait` takes the lock of every future: Ctrl-C just then leaves some locked, and the pool never ends.
    ended: SimpleQueue[Future[Result]] = SimpleQueue()
    under_way: dict[Future[Result], Job] = {}
    try:
        with _ctrl_c_waits():
            for job in jobs:
                future = pool.submit(_do, job)
                under_way[future] = job
                future.add_done_callback(ended.put)
        while under_way:
            some = [ended.get()]
            while not ended.empty():
                some.append(ended.get())
            # What has ended well comes first: an error ends all.
            for done in sorted(some, key=lambda one: one.exception() is not None):
                yield under_way.pop(done), done.result()
    except BrokenProcessPool as exc:
        raise PolydistillError(
            "a training was killed, perhaps for want of memory; lower params.yaml:train.jobs and run again: what has "
            "ended is kept"
        ) from exc
    except BaseException:  # an error, or Ctrl-C: what the others are at is not waited for
        for process in {*multiprocessing.active_children()} - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Hold Ctrl-C back until the block has ended; processes that are started in it never hear of it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(work: Callable[[Any], Any], parent: int) -> None:
    global _work  # noqa: PLW0603
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: a parent that was killed cannot end it."""
    while os.getppid() == parent:
        time.sleep(_ORPHANED_S)
    os._exit(1)


def _do(job: Any) -> Any:
    assert _work is not None
    return _work(job)
