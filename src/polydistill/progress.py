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
def progress(description: str, total: int) -> Iterator[Callable[[], None]]:
    """Show that work of `total` parts is under way; the yielded function tells of one part done."""
    if _console is None or not _console.is_terminal:
        yield lambda: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_console, transient=True) as bars:
        task = bars.add_task(description, total=total)
        yield lambda: bars.advance(task)
