"""Progress for people: a bar in a terminal, plain lines elsewhere, nothing when a program calls the library."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

_LINE_EVERY_S = 30.0

_console: Console | None = None


def show_on(console: Console | None) -> None:
    """Show later work on `console`; None, the state at the start, shows none."""
    global _console  # noqa: PLW0603
    _console = console


@contextmanager
def progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """Show that work is under way; the yielded function tells how many parts are done, of how many."""
    if _console is None:
        yield lambda done, total: None
        return
    if not _console.is_terminal:
        yield _lines(description)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_console, transient=True) as bars:
        task = bars.add_task(description, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _lines(description: str) -> Callable[[int, int], None]:
    started = told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _LINE_EVERY_S:
            told = now
            left = (now - started) / done * (total - done) if done else 0.0
            log.info("%s: %d of %d%s", description, done, total, f", about {left:.0f} s left" if done else "")

    return tell
