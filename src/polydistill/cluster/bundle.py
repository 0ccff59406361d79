"""Puts what the steps wrote of one cell together, as it stands in work/ of a workspace, for `snapshot`."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from polydistill.files import explained, new_folder, read_json, require_input, write_json
from polydistill.runs import read_training
from polydistill.workspace import Cell

ROOMS = ("prepared", "heldout", "generated", "filtered", "measured", "evaluated", "selected")
"""The folders of a cell in work/, beside those of its students."""

_FACTS = "bundle.json"


def run_bundle(
    cell: str, rooms: Mapping[str, Path], trained: Sequence[Path], winner: Path, card: Path, bundle: Path
) -> None:
    """Copy the outputs of a cell to where a workspace has them.

    Args:
        cell: task/language.
        rooms: The folder that each of `ROOMS` was written to.
        trained: What `train` wrote, a folder a student.
        winner: The winner's folder, as `select` wrote it.
        card: What `card` wrote.
        bundle: Folder to write: work/, and bundle.json, which names the cell.
    """
    with new_folder(bundle) as folder:
        place = Cell(folder, *cell.split("/"))
        sources = {place.room(name): rooms[name] for name in ROOMS}
        sources |= {place.trained(read_training(source)["student"]): source for source in trained}
        sources |= {place.gathered("winners"): winner, place.gathered("cards"): card}
        for target, source in sources.items():
            with explained(source, "read"):
                shutil.copytree(source, target, copy_function=shutil.copyfile)
        write_json(folder / _FACTS, {"schema_version": 1, "cell": cell})


def bundled_cell(bundle: Path) -> str:
    """Return the cell that a bundle is of.

    Raises:
        DataError: If it is no bundle.
    """
    return str(read_json(require_input(bundle / _FACTS, "bundle"))["cell"])
