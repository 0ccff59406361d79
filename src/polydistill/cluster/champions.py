"""The winners that are promoted, as folders: what challengers are held against, and what other cells serve with."""

import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from polydistill.cluster.registry import REGISTRY, Champion, Registry, parse_registry, read_registry
from polydistill.cluster.store import DamagedError, Store, open_store
from polydistill.errors import DataError
from polydistill.files import new_folder, read_json, write_json
from polydistill.gather import cell_name, gathered

log = logging.getLogger(__name__)

Kind = Literal["winner", "card"]

_FACTS: dict[Kind, str] = {"winner": "winner.json", "card": "card.json"}
_DAMAGED = "damaged.json"


def run_champions(
    store_url: str | None, champions: Path, cells: Sequence[str], registry_alone: Path | None = None
) -> None:
    """Fetch every champion.

    Args:
        store_url: Where the registry is; None: there are no champions.
        champions: Folder to write: registry.json and <task>/<language>/{winner,card}. A champion that is missing or
            damaged in the store leaves a damaged.json. Kubeflow keeps no empty folder, so the registry is always there.
        cells: Cells of the run, task/language: what it trains again may be missing or damaged.
        registry_alone: Folder to write the same registry.json to, without champions, for `champion_of`.

    Raises:
        PolydistillError: If the store does not answer, or could not take a promotion.
        DataError: If the registry cannot be read, or the champion of a cell that is not of the run, which is to be in
            its bento, is missing or damaged.
    """
    with new_folder(champions) as folder:
        registry = Registry() if store_url is None else _fetch(open_store(store_url), folder)
        for cell in sorted(registry.champions.keys() - set(cells)):  # now, and not when the run has been paid for
            _require(folder, cell)
        (folder / REGISTRY).write_bytes(registry.to_bytes())
    if registry_alone:
        with new_folder(registry_alone) as folder:
            (folder / REGISTRY).write_bytes(registry.to_bytes())
    log.info("champions: %s", len(registry.champions) or "none, nothing is promoted yet")


def _fetch(store: Store, folder: Path) -> Registry:
    """Fetch every champion into the folder; return the registry."""
    store.require_comparison()  # which `promote` needs, at the end of all that a run pays for
    registry, _ = read_registry(store)
    for cell, champion in registry.champions.items():
        _fetch_champion(store, cell, champion, folder)
    return registry


def _fetch_champion(store: Store, cell: str, champion: Champion, folder: Path) -> None:
    try:
        store.fetch_folder(champion.winner.path, champion.winner.digest, folder / cell / "winner")
        store.fetch_folder(champion.card.path, champion.card.digest, folder / cell / "card")
    except DamagedError as exc:
        log.warning("%s: %s", cell, exc)
        write_json(folder / cell / _DAMAGED, {"schema_version": 1, "reason": str(exc)})


@contextmanager
def champion_of(cell: str, registry: Path, store_url: str | None) -> Iterator[Path]:
    """Yield a folder as `run_champions` writes it, with the champion of one cell alone.

    Args:
        cell: The cell, task/language.
        registry: What `run_champions` wrote as the registry alone.
        store_url: Where the champion is.

    Raises:
        PolydistillError: If the store does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="polydistill-champion-") as scratch:
        folder = Path(scratch)
        shutil.copyfile(registry / REGISTRY, folder / REGISTRY)
        champion = read_champions(folder).champions.get(cell)
        if champion and store_url:
            _fetch_champion(open_store(store_url), cell, champion, folder)
        yield folder


def read_champions(champions: Path) -> Registry:
    """Return the registry as it was when `run_champions` wrote the folder."""
    path = champions / REGISTRY
    return parse_registry(path.read_bytes(), str(path)) if path.exists() else Registry()


def damage(champions: Path, cell: str) -> str | None:
    """Return what is wrong with a champion's folder, None where nothing is."""
    path = champions / cell / _DAMAGED
    return str(read_json(path)["reason"]) if path.exists() else None


def _require(champions: Path, cell: str) -> None:
    """Check that the champion of a cell can serve.

    Raises:
        DataError: If not.
    """
    if reason := damage(champions, cell):
        raise DataError(f"the champion of {cell} cannot serve any longer: {reason}; or train that cell again too")


@contextmanager
def merged(victors: Sequence[Path], champions: Path, kind: Kind) -> Iterator[Path]:
    """Yield a folder <task>/<language>/ of what is to serve: victors, and champions of all cells that have none.

    Args:
        victors: Winners, or their cards, of the cells of a run, in any order.
        champions: What `run_champions` wrote.
        kind: Which of the two.

    Raises:
        DataError: If two victors are of one cell, or a champion that is needed is damaged.
    """
    taken = {cell_name(read_json(folder / _FACTS[kind])) for folder in victors}
    others = sorted(set(read_champions(champions).champions) - taken)
    for cell in others:
        _require(champions, cell)
    with gathered([*victors, *(champions / cell / kind for cell in others)], _FACTS[kind]) as folder:
        yield folder
