"""Which cells are due for a retraining, and why: no champion yet, drift in production, or age.

A challenger that lost is the same again where the data are the same. So a cell whose last challenger lost waits, in
spite of drift and age, until its data change or max_age_days have passed.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from polydistill.cluster.registry import Champion, Lost, Registry, read_registry
from polydistill.cluster.store import Store, open_store
from polydistill.errors import DataError
from polydistill.files import new_folder, write_json
from polydistill.params import RetrainParams

log = logging.getLogger(__name__)

VERDICT = "monitor/verdict.json"
"""Where in the store the drift monitor leaves what it found."""


class CellVerdict(BaseModel):
    """What the drift monitor says of a cell; further keys are of no concern here."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    retrain: bool | None
    reasons: list[str]


class DriftVerdict(BaseModel):
    """What the drift monitor found, and when."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    time: AwareDatetime
    cells: Mapping[str, CellVerdict] = {}


def read_verdict(store: Store) -> DriftVerdict | None:
    """Return what the drift monitor found last; None where it has not run yet.

    Raises:
        DataError: If that cannot be read.
    """
    found = store.read(VERDICT)
    if found is None:
        return None
    try:
        return DriftVerdict.model_validate_json(found[0])
    except ValidationError as exc:
        error = exc.errors()[0]
        raise DataError(
            f"{store.url}/{VERDICT} is no verdict of the drift monitor ({'.'.join(map(str, error['loc']))}: "
            f"{error['msg']}); delete it, the monitor writes a new one"
        ) from exc


def reason_due(
    champion: Champion | None,
    missing: str | None,
    verdict: CellVerdict | None,
    judged_at: datetime | None,
    now: datetime,
    max_age_days: int | None,
) -> str | None:
    """Return why a cell is due; None where it is not.

    Args:
        champion: The champion of the cell.
        missing: What of it is not in the store.
        verdict: What the drift monitor says of the cell.
        judged_at: When it said so; what it said before the promotion was about another champion.
        now: The time.
        max_age_days: From which age on a champion is due.
    """
    if champion is None:
        return "it has no champion yet"
    if missing:
        return f"its champion cannot be used: {missing} is missing"
    if verdict is not None and judged_at is not None and verdict.retrain and judged_at > champion.promoted_at:
        return f"drift in production: {'; '.join(verdict.reasons)}"
    age = now - champion.promoted_at
    if max_age_days is not None and age > timedelta(days=max_age_days):
        return f"its champion is {age.days} days old, more than max_age_days {max_age_days}"
    return None


def reason_to_wait(lost: Lost | None, digest: str | None, now: datetime, max_age_days: int | None) -> str | None:
    """Return why a cell that drifted or is old is not due all the same; None where there is no reason.

    Args:
        lost: Its last challenger, where that lost.
        digest: Digest of its data now; None: it is not known.
        now: The time.
        max_age_days: How long the same data wait; None: for ever.
    """
    if lost is None or lost.data != digest:
        return None
    if max_age_days is not None and now - lost.at > timedelta(days=max_age_days):
        return None
    until = "" if max_age_days is None else f" or until max_age_days {max_age_days} have passed"
    return f"the challenger of {lost.at:%Y-%m-%d} lost, and its data are those of today; it waits for others{until}"


def run_due(
    store_url: str | None,
    cells: Sequence[str],
    params: RetrainParams,
    due: Path,
    digests: Callable[[Sequence[str]], Mapping[str, str]] = lambda _: {},
) -> list[str]:
    """Say which cells to train again.

    Args:
        store_url: Where champions are, and the drift monitor leaves its verdict; None: there are none. Champions are
            not fetched: of one that is damaged, and not missing, the next run of any cell says so in its first steps.
        cells: The cells of params.yaml, task/language.
        params: Section `cluster.retrain` of params.yaml.
        due: Folder to write due.json to: for each cell that is due the reason, the cells that are not, and of those
            that wait after a challenge why they do.
        digests: Returns the digests of the data of cells; asked for those alone whose last challenger lost.

    Returns:
        The cells that are due, in the order of `cells`.
    """
    store = open_store(store_url) if store_url else None
    registry = read_registry(store)[0] if store else Registry()
    missing = {cell: _missing(store, registry.champions.get(cell)) for cell in cells} if store else {}
    verdict = read_verdict(store) if store else None
    judged_at, judged = (verdict.time, verdict.cells) if verdict else (None, {})
    now = datetime.now(UTC)
    reasons = {
        cell: reason_due(
            registry.champions.get(cell), missing.get(cell), judged.get(cell), judged_at, now, params.max_age_days
        )
        for cell in cells
    }
    due_at_all = {cell: reason for cell, reason in reasons.items() if reason is not None}
    held = [cell for cell in due_at_all if cell in registry.champions.keys() & registry.lost and not missing.get(cell)]
    today = digests(held) if held else {}
    waits = {cell: reason_to_wait(registry.lost[cell], today.get(cell), now, params.max_age_days) for cell in held}
    waiting = {cell: f"{due_at_all[cell]}; but {why}" for cell, why in waits.items() if why is not None}
    found = {cell: reason for cell, reason in due_at_all.items() if cell not in waiting}
    content: dict[str, Any] = {
        "schema_version": 1,
        "time": now.isoformat(timespec="seconds"),
        "judged_at": judged_at.isoformat(timespec="seconds") if judged_at else None,
        "due": found,
        "not_due": [cell for cell in cells if cell not in found],
        "waiting": waiting,
    }
    with new_folder(due) as folder:
        write_json(folder / "due.json", content)
        (folder / "due.md").write_text(told(found, waiting, len(cells)), encoding="utf-8")
    for cell, reason in found.items():
        log.info("%s is due: %s", cell, reason)
    for cell, reason in waiting.items():
        log.info("%s is not due: %s", cell, reason)
    return list(found)


def _missing(store: Store, champion: Champion | None) -> str | None:
    """Return where a part of a champion should be that is not there; None where it can be compared and served."""
    kept = [champion.winner, champion.card] if champion else []
    return next((f"{store.url}/{part.path}" for part in kept if not store.has(part.path)), None)


def told(due: Mapping[str, str], waiting: Mapping[str, str], cells: int) -> str:
    """Return in Markdown which cells are due, and which wait."""
    headline = f"{len(due)} of {cells} cells are due" if due else "Nothing is due"
    lines = [f"# {headline}", "", *_table("why", due)]
    if not due:
        lines += [f"The champions of all {cells} cells stay.", ""]
    return "\n".join([*lines, *_table("why it is not due", waiting)])


def _table(why: str, of: Mapping[str, str]) -> list[str]:
    rows = [f"| {cell} | {table_cell(reason)} |" for cell, reason in of.items()]
    return [f"| cell | {why} |", "| --- | --- |", *rows, ""] if rows else []


def table_cell(value: object) -> str:
    """Return text for a cell of a Markdown table."""
    return " ".join(str(value).replace("|", "\\|").split())
