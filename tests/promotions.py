"""Builds what promotion passes on (winners with their cards, champions, challenges, registries), and promotes.

    python tests/promotions.py s3://bucket/folder WORK one 10 2

promotes ten cells of task `one`, each in a run of its own, and each only when 2 such processes are about to.
"""

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from polydistill.classifier import winner_cells
from polydistill.cluster.champions import run_champions
from polydistill.cluster.promote import run_promote
from polydistill.cluster.registry import REGISTRY, Champion, Data, Kept, Lost, Registry
from polydistill.cluster.store import Store
from polydistill.files import digest, read_json, write_json
from winners import build_winner

Texts = Mapping[str, Sequence[str]]  # label -> texts

MAY = datetime(2026, 5, 1, 12, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, 12, tzinfo=UTC)
# What a person writes who books, or cancels, an appointment.
TEXTS: Texts = {
    "book": [f"Rada bi naročila termin številka {i}." for i in range(20)],
    "cancel": [f"Žal odpovedujem obisk številka {i}." for i in range(20)],
}
SWAPPED: Texts = {"book": TEXTS["cancel"], "cancel": TEXTS["book"]}


def data(digest: str = "a", committed_at: datetime | None = MAY) -> Data:
    """Return data whose digest is this digit all over."""
    return Data(digest=digest * 64, commit="c" * 40 if committed_at else None, committed_at=committed_at)


def champion(promoted_at: datetime = MAY, of: Data | None = None, digest: str = "1") -> Champion:
    """Return what the registry tells of a champion, of which nothing is in the store."""
    winner, card, reference = (
        Kept(path=f"{kind}/{digest}.tar", digest=digest * 64) for kind in ("winners", "cards", "references")
    )
    return Champion(
        winner=winner,
        card=card,
        reference=reference,
        student="linear",
        data=of or data(),
        run="spring",
        promoted_at=promoted_at,
    )


def write_champions(folder: Path, champions: Mapping[str, Champion], lost: Mapping[str, Lost] | None = None) -> Path:
    """Write the registry of a folder of champions."""
    folder.mkdir(parents=True, exist_ok=True)
    registry = Registry(serial=1, champions=dict(champions), lost=dict(lost or {}))
    (folder / REGISTRY).write_bytes(registry.to_bytes())
    return folder


def new_winner(work: Path, cell: str, texts: Texts, metric: str = "accuracy") -> Path:
    """Write winners/<cell> and cards/<cell> below `work`; return the folder of the winner."""
    build_winner(work, cell, texts)
    path = work / "winners" / cell / "winner.json"
    write_json(path, read_json(path) | {"metric": metric})
    return path.parent


def copy_winner(winner: Path, work: Path, cell: str, teacher: str = "Llama-3-70B-Instruct") -> Path:
    """Copy a winner and its card for another cell, or of another teacher; cheaper than to train it."""
    task, language = cell.split("/")
    copy = work / "winners" / cell
    shutil.copytree(winner, copy)
    facts = read_json(copy / "winner.json") | {"task": task, "language": language, "teacher": [teacher]}
    write_json(copy / "winner.json", facts)
    write_json(work / "cards" / cell / "card.json", {"task": {"name": task}, "language": language})
    return copy


def fake_bento(winners: Path, cards: Path, folder: Path) -> None:
    """Write a folder that has the version of a bento, and the winners that would be in it."""
    assert winner_cells(winners) == sorted(card.parent.relative_to(cards).as_posix() for card in cards.glob("*/*/*"))
    folder.mkdir(parents=True)
    for cell in winner_cells(winners):
        shutil.copytree(winners / cell, folder / "src/winners" / cell)
    write_json(folder / "bento.yaml", {"name": "polydistill", "version": digest(folder / "src")[:16]})


class Run:
    """A run of some cells, from the champions that it begins with to its promotion."""

    def __init__(self, store_url: str | None, work: Path, name: str, cells: Sequence[str] = ()) -> None:
        self.store_url, self.work, self.name = store_url, work / name, name
        run_champions(store_url, self.work / "champions", cells)
        self.rebuilt = 0

    def win(self, winner: Path, cell: str, of: Data | None = None, verdict: str = "first") -> None:
        """Have a challenger win its cell."""
        copy = copy_winner(winner, self.work, cell, teacher=self.name)
        write_challenge(self.work / "challenges" / cell, copy, of=of, verdict=verdict)

    def lose(self, cell: str) -> None:
        """Have a challenger lose its cell, so that the champion is the victor."""
        for kind in ("winner", "card"):
            shutil.copytree(self.work / "champions" / cell / kind, self.work / f"{kind}s" / cell)
        write_challenge(self.work / "challenges" / cell, self.work / "winners" / cell, promoted=False, verdict="worse")

    def package(self) -> None:
        """Write the bento of the victors, and of the champions of other cells."""
        for kind in ("winner", "card"):
            together = self.work / "all" / f"{kind}s"
            for folder in (self.work / "champions").glob(f"*/*/{kind}"):
                shutil.copytree(folder, together / folder.parent.relative_to(self.work / "champions"))
            shutil.copytree(self.work / f"{kind}s", together, dirs_exist_ok=True)
        fake_bento(self.work / "all/winners", self.work / "all/cards", self.work / "bento")

    def promote(self) -> dict[str, Any]:
        """Return promoted.json."""
        if not (self.work / "bento").exists():
            self.package()
        folders = (self.work / name for name in ("bento", "winners", "cards", "challenges", "champions", "promoted"))
        return run_promote(self.store_url, self.name, *folders, self.rebuild)

    def rebuild(self, winners: Path, cards: Path, folder: Path) -> None:
        """Do what the promotion has rebuilt."""
        self.rebuilt += 1
        fake_bento(winners, cards, folder)


def write_challenge(
    folder: Path, winner: Path, promoted: bool = True, of: Data | None = None, verdict: str = "first"
) -> None:
    """Write the challenge.json that a challenge of this winner leaves."""
    facts = read_json(winner / "winner.json")
    content: dict[str, Any] = {
        "schema_version": 1,
        "task": facts["task"],
        "language": facts["language"],
        "promoted": promoted,
        "verdict": verdict,
        "reason": f"it is {verdict}",
        "difference": None,
        "interval": None,
        "p_value": None,
        "texts": 0,
        "challenger": {"digests": facts["digests"], "data": (of or data()).model_dump(mode="json")},
    }
    write_json(folder / "challenge.json", content)


def _promote_many(store_url: str, work: Path, task: str, runs: int, processes: int) -> None:
    swap, meeting = Store.swap, work / "meeting"
    meeting.mkdir(parents=True, exist_ok=True)
    winner = new_winner(work / f"trained-{task}", f"{task}/sl", TEXTS)
    for i in range(runs):

        def swap_together(store: Store, *arguments: Any, i: int = i) -> bool:
            (meeting / f"{i}-{task}").touch()
            while len(list(meeting.glob(f"{i}-*"))) < processes:
                time.sleep(0.002)
            return swap(store, *arguments)

        Store.swap = swap_together  # type: ignore[method-assign]
        run = Run(store_url, work, f"{task}-{i}")
        run.win(winner, f"{task}/l{i}")
        run.promote()


if __name__ == "__main__":
    _promote_many(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
