"""Progress for people: a bar in a terminal, plain lines elsewhere, nothing when a program calls the library."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

_console: Console | None = None


def show_on(console: Console | None) -> None:
    """Draw later bars on `console`; None, the state at the start, draws none."""
    global _console  # noqa: PLW0603
    _console = console


@contextmanager
def progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """Show that work is under way; the yielded function tells how many parts are done, of how many."""
    if _console is None or not _console.is_terminal:
        yield lambda done, total: None
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
