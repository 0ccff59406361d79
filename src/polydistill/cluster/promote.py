"""Makes the challengers that won the champions of their cells, and their bento the one that serves.

Everything is uploaded under its digest first; then registry.json is swapped, which is all that a promotion changes. So
whoever is ended before has promoted nothing, whoever tries again uploads nothing twice, and of two who promote at once
the later one takes in what the earlier one did. What was promoted before stays in the store, to go back to.

Where nothing won, the bento that is promoted already is passed on, so that a roll-out that failed is made up for.
"""

import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from polydistill.cluster.challenge import newer_data
from polydistill.cluster.champions import read_champions
from polydistill.cluster.due import table_cell
from polydistill.cluster.registry import (
    MOST_HISTORY,
    REGISTRY,
    Bento,
    Champion,
    Data,
    Decision,
    Kept,
    Lost,
    Promotion,
    Registry,
    read_registry,
)
from polydistill.cluster.store import Store, open_store
from polydistill.errors import DataError, PolydistillError
from polydistill.files import new_folder, read_json, require_input, write_json
from polydistill.gather import cell_name
from polydistill.serve import bento_tag

log = logging.getLogger(__name__)

Rebuild = Callable[[Path, Path, Path], None]
"""Writes a bento: takes winners and cards by <task>/<language>, and the folder to write."""

MOST_TRIES = 50
_REFERENCE = ("winner.json", "reference.parquet")
_ASKED = ("winner.json", "known_answers.json")
_TAKEN = "another run has promoted this cell meanwhile, and its data are no older"


def run_promote(
    store_url: str | None,
    run: str,
    bento: Path,
    victors: Path,
    cards: Path,
    challenges: Path,
    champions: Path,
    promoted: Path,
    rebuild: Rebuild,
) -> dict[str, Any]:
    """Promote what won.

    Args:
        store_url: The store; None: there is none, and nothing is promoted.
        run: Name of the run; what it has promoted once it does not promote again.
        bento: The bento of the victors, and of the champions of all other cells.
        victors: Folder with <task>/<language>/, for each cell of the run, the winner that is to serve it.
        cards: The same with their cards.
        challenges: The same with what `run_challenge` wrote.
        champions: What `run_champions` wrote for this run.
        promoted: Folder to write promoted.json and promoted.md to, and winners/<task>/<language>/ of what was promoted:
            winner.json and known_answers.json, by which to ask whatever serves the bento.
        rebuild: Called where others have promoted meanwhile, so that the bento must take in their winners.

    Returns:
        promoted.json: which cells were promoted and which were not, with the reasons, and the bento (url, digest,
        version) to roll out: that of the run's promotion, else the one that is promoted already; {} where none is.

    Raises:
        PolydistillError: If the store does not answer, or others promote without end.
        DataError: If the folders do not fit together, or the registry cannot be read.
    """
    files = sorted(challenges.glob("*/*/challenge.json"))
    records = {file.parent.relative_to(challenges).as_posix(): read_json(file) for file in files}
    won = {cell: record for cell, record in records.items() if record["promoted"]}
    done: Promotion | None = None
    stands: Registry | Promotion = Registry()
    if store_url is None:
        why = "no store is set (cluster.store), so nothing is promoted; the bento of the run stands by itself"
    else:
        store = open_store(store_url)
        if won:
            done = _promote(store, run, bento, victors, cards, won, champions, rebuild)
        lost = {cell: record for cell, record in records.items() if cell not in won}
        registry = _remember(store, run, lost, champions)
        stands = done or registry
        why = "" if done else _TAKEN if won else "no challenger won, so the champions stay"
    cells = done.cells if done else {}
    content = {
        "schema_version": 1,
        "run": run,
        "serial": stands.serial if stands.bento else None,
        "reason": why,
        "promoted": {cell: decision.model_dump(mode="json") for cell, decision in cells.items()},
        "not_promoted": {
            cell: why or _TAKEN if record["promoted"] else record["reason"]
            for cell, record in records.items()
            if cell not in cells
        },
        "bento": stands.bento.model_dump(include={"url", "digest", "version"}) if stands.bento else {},
    }
    with new_folder(promoted) as folder:
        write_json(folder / "promoted.json", content)
        (folder / "promoted.md").write_text(told(content), encoding="utf-8")
        for cell in cells:
            _copy(victors / cell, folder / "winners" / cell, _ASKED)
    log.info("promoted: %s", ", ".join(cells) or f"nothing; {why}")
    return content


def told(content: Mapping[str, Any]) -> str:
    """Return promoted.json in Markdown."""
    promoted, others = content["promoted"], content["not_promoted"]
    lines = [f"# {len(promoted)} of {len(promoted) + len(others)} cells promoted", ""]
    if content["reason"]:
        lines += [f"{content['reason'][0].upper()}{content['reason'][1:]}.", ""]
    lines += ["| cell | promoted | why |", "| --- | --- | --- |"]
    lines += [f"| {cell} | yes | {table_cell(decision['reason'])} |" for cell, decision in promoted.items()]
    lines += [f"| {cell} | no | {table_cell(reason)} |" for cell, reason in others.items()]
    if bento := content["bento"]:
        lines += ["", f"Bento {bento['version']}, `{bento['url']}`"]
    return "\n".join([*lines, ""])


def _promote(
    store: Store,
    run: str,
    bento: Path,
    victors: Path,
    cards: Path,
    won: Mapping[str, Any],
    champions: Path,
    rebuild: Rebuild,
) -> Promotion | None:
    """Return what the run promoted, now or in an earlier try; None where other runs were first in each cell."""
    base = read_champions(champions).champions
    brought = {
        cell: _upload_champion(store, cell, victors / cell, cards / cell, record, run) for cell, record in won.items()
    }
    with tempfile.TemporaryDirectory(prefix="polydistill-promote-") as scratch:
        # Where winners and their cards lie here, by the digest of the winner; what others promote is fetched once.
        here = {of.winner.digest: (champions / cell / "winner", champions / cell / "card") for cell, of in base.items()}
        here |= {of.winner.digest: (victors / cell, cards / cell) for cell, of in brought.items()}
        bentos: dict[frozenset[str], tuple[Kept, str]] = {}
        for _ in range(MOST_TRIES):
            registry, version = read_registry(store)
            if done := registry.promotion_of(run):
                return done
            ours = {
                cell: champion
                for cell, champion in brought.items()
                if _may_take(champion, base.get(cell), registry.champions.get(cell))
            }
            if not ours:
                return None
            serving = registry.champions | ours
            winners = _digests(serving)
            if winners not in bentos and winners == _digests(base | brought):
                bentos[winners] = _upload_bento(store, bento)
            elif winners not in bentos:
                here |= _fetched(store, [of for of in serving.values() if of.winner.digest not in here], Path(scratch))
                bentos[winners] = _rebuilt(
                    store, {cell: here[of.winner.digest] for cell, of in serving.items()}, rebuild
                )
            after = _after(registry, run, ours, won, store, *bentos[winners])
            if store.swap(REGISTRY, after.to_bytes(), version):
                return after.history[0]
            log.info("another run has promoted meanwhile; its winners are taken in")
    raise _overtaken(store)


def _remember(store: Store, run: str, lost: Mapping[str, Any], champions: Path) -> Registry:
    """Note which challengers lost, so that the same data do not fall due at once again; return the registry."""
    base = read_champions(champions).champions
    for _ in range(MOST_TRIES):
        registry, version = read_registry(store)
        notes = {
            cell: Lost(run=run, at=_now(), data=_data(record).digest)
            for cell, record in lost.items()
            if registry.champions.get(cell) == base.get(cell)
            and not (cell in registry.lost and registry.lost[cell].run == run)
        }
        after = registry.model_copy(update={"lost": registry.lost | notes})
        if not notes or store.swap(REGISTRY, after.to_bytes(), version):
            return after
    raise _overtaken(store)


def _overtaken(store: Store) -> PolydistillError:
    return PolydistillError(f"{store.url}: other runs promoted {MOST_TRIES} times meanwhile; run this step again")


def _may_take(ours: Champion, then: Champion | None, now: Champion | None) -> bool:
    """Say whether a challenger takes its cell: the champion is still the one that it beat, or is of older data."""
    return now is None or now == then or newer_data(ours.data, now.data)[0]


def _digests(champions: Mapping[str, Champion]) -> frozenset[str]:
    return frozenset(f"{cell} {champion.winner.digest}" for cell, champion in champions.items())


def _upload_champion(
    store: Store, cell: str, winner: Path, card: Path, record: Mapping[str, Any], run: str
) -> Champion:
    facts = read_json(require_input(winner / "winner.json", "select"))
    if cell_name(facts) != cell or facts["digests"] != record["challenger"]["digests"]:
        raise DataError(f"{winner} is not the challenger that won {cell}; run `challenge` again")
    with tempfile.TemporaryDirectory(prefix="polydistill-reference-") as scratch:
        _copy(winner, Path(scratch), _REFERENCE)
        reference = _kept(store, Path(scratch), f"references/{cell}")
    return Champion(
        winner=_kept(store, winner, f"winners/{cell}"),
        card=_kept(store, require_input(card / "card.json", "card").parent, f"cards/{cell}"),
        reference=reference,
        student=facts["student"],
        data=_data(record),
        run=run,
        promoted_at=_now(),
    )


def _copy(winner: Path, target: Path, names: Sequence[str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(require_input(winner / name, "select"), target / name)


def _data(record: Mapping[str, Any]) -> Data:
    data = record["challenger"]["data"]
    time = data["committed_at"]
    return Data(
        digest=data["digest"],
        commit=data["commit"],
        committed_at=None if time is None else datetime.fromisoformat(time),
    )


def _kept(store: Store, folder: Path, prefix: str) -> Kept:
    path, digest = store.upload_folder(folder, prefix)
    return Kept(path=path, digest=digest)


def _upload_bento(store: Store, bento: Path) -> tuple[Kept, str]:
    return _kept(store, bento, "bentos"), bento_tag(bento)


def _fetched(store: Store, champions: Sequence[Champion], scratch: Path) -> dict[str, tuple[Path, Path]]:
    """Fetch champions; return where they and their cards lie, by the digest of the winner."""
    found = {}
    for champion in champions:
        winner, card = scratch / f"{champion.winner.digest}-winner", scratch / f"{champion.winner.digest}-card"
        store.fetch_folder(champion.winner.path, champion.winner.digest, winner)
        store.fetch_folder(champion.card.path, champion.card.digest, card)
        found[champion.winner.digest] = (winner, card)
    return found


def _rebuilt(store: Store, serving: Mapping[str, tuple[Path, Path]], rebuild: Rebuild) -> tuple[Kept, str]:
    """Build and upload the bento of all that is to serve: by cell, its winner and its card."""
    with tempfile.TemporaryDirectory(prefix="polydistill-rebuild-") as scratch:
        winners, cards, bento = Path(scratch, "winners"), Path(scratch, "cards"), Path(scratch, "bento")
        for cell, folders in serving.items():
            for together, folder in zip((winners, cards), folders, strict=True):
                (together / cell).parent.mkdir(parents=True, exist_ok=True)
                (together / cell).symlink_to(folder.resolve(), target_is_directory=True)
        rebuild(winners, cards, bento)
        return _upload_bento(store, bento)


def _after(
    registry: Registry,
    run: str,
    ours: Mapping[str, Champion],
    won: Mapping[str, Any],
    store: Store,
    kept: Kept,
    version: str,
) -> Registry:
    """Return the registry with this promotion."""
    now, serial = _now(), registry.serial + 1
    bento = Bento(url=f"{store.url}/{kept.path}", digest=kept.digest, version=version, run=run, promoted_at=now)
    decisions = {
        cell: Decision(
            winner=champion.winner.digest,
            replaced=before.winner.digest if (before := registry.champions.get(cell)) else None,
            data=champion.data,
            verdict=won[cell]["verdict"],
            reason=won[cell]["reason"],
            difference=won[cell]["difference"],
            interval=tuple(won[cell]["interval"]) if won[cell]["interval"] else None,
            p_value=won[cell]["p_value"],
            texts=won[cell]["texts"],
        )
        for cell, champion in ours.items()
    }
    promotion = Promotion(serial=serial, run=run, promoted_at=now, bento=bento, cells=decisions)
    promoted = {cell: champion.model_copy(update={"promoted_at": now}) for cell, champion in ours.items()}
    return Registry(
        serial=serial,
        bento=bento,
        champions=registry.champions | promoted,
        lost={cell: of for cell, of in registry.lost.items() if cell not in promoted},
        history=[promotion, *registry.history][:MOST_HISTORY],
    )


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
