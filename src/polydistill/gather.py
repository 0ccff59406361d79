"""Lays the folders of single cells out by task and language, for engines that keep each in a place of its own."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polydistill.errors import DataError
from polydistill.files import read_json


@contextmanager
def gathered(folders: Iterable[Path], facts: str) -> Iterator[Path]:
    """Yield a folder in which <task>/<language>/ is a link to that of `folders` which is of this cell.

    Args:
        folders: A folder a cell, in any order.
        facts: The file in each that names its cell, winner.json or card.json.

    Raises:
        DataError: If a folder lacks the file, or two are of one cell.
    """
    with tempfile.TemporaryDirectory(prefix="polydistill-cells-") as together:
        for folder in folders:
            link = Path(together, cell_name(read_json(folder / facts)))
            if link.is_symlink():
                raise DataError(f"{folder} and {link.readlink()} are of one cell; leave one out")
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(folder.resolve(), target_is_directory=True)
        yield Path(together)


def cell_name(facts: dict[str, Any]) -> str:
    """Return the cell, task/language, that a winner.json, a card.json or a prepare.json is of."""
    task = facts["task"]
    return f"{task if isinstance(task, str) else task['name']}/{facts['language']}"
