"""Puts a schedule on Kubeflow so that there is one of its name afterwards, and it is the one that was wanted."""

import logging
import re
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from polydistill.cluster.cron import Cron, Schedule, read_zone
from polydistill.cluster.git import without_passwords
from polydistill.cluster.kubeflow import Kubeflow, Recurring, Version
from polydistill.errors import ParamsError, PolydistillError

log = logging.getLogger(__name__)

_DESCRIBED = re.compile(r"polydistill (?P<pipeline>\w+): (?P<line>.+) of (?P<zone>\S+), read in (?P<read_in>\S+)")


class Described(NamedTuple):
    """What the description of a schedule of ours keeps, since Kubeflow has no place for it."""

    pipeline: str
    line: str
    zone: ZoneInfo
    read_in: ZoneInfo


def describe(pipeline: str, line: str, schedule: Schedule) -> str:
    """Return the description of a schedule, which says what it was asked for."""
    return f"polydistill {pipeline}: {' '.join(line.split())} of {schedule.zone.key}, read in {schedule.read_in.key}"


def read_description(description: str) -> Described | None:
    """Read a description; None where the schedule is none of ours."""
    found = _DESCRIBED.fullmatch(description)
    if found is None:
        return None
    try:
        return Described(found["pipeline"], found["line"], read_zone(found["zone"]), read_zone(found["read_in"]))
    except ParamsError:
        return None


def next_start(recurring: Recurring, now: datetime) -> datetime | None:
    """Return when Kubeflow starts a schedule next, in UTC; None where that cannot be told."""
    cron, described = Cron.read_back(recurring.cron), read_description(recurring.description)
    return cron.next_time(now, described.read_in if described else ZoneInfo("UTC")) if cron else None


def ours_of(kubeflow: Kubeflow, name: str) -> list[Recurring]:
    """Return the schedules of that name, all of which are of this workspace.

    Raises:
        ParamsError: If one is not of polydistill, or of another workspace: one of another repository.
    """
    found = [recurring for recurring in kubeflow.schedules() if recurring.name == name]
    foreign = [recurring for recurring in found if not recurring.description.startswith("polydistill ")]
    if foreign:
        raise ParamsError(
            f"schedule {name} ({foreign[0].id}) was not made by polydistill, which leaves it alone; take another --name"
        )
    for recurring in found:
        of, own = recurring.arguments.get("repository"), kubeflow.repository
        if of != own:
            theirs, ours = without_passwords(of or "not known"), without_passwords(own or "not set")
            raise ParamsError(
                f"schedule {name} ({recurring.id}) is of another workspace and is left alone: its repository is "
                f"{theirs}, and cluster.repository here is {ours}; take another --name; "
                "where only the address has changed, delete it in Kubeflow's pages, Recurring Runs"
            )
    return found


def put_schedule(kubeflow: Kubeflow, wanted: Recurring, version: Version) -> tuple[Recurring, str]:
    """Have exactly one schedule of that name, as wanted, and return it as Kubeflow has it, with what was done.

    Kubeflow cannot change a schedule but for its pause. So a changed one is added and read back first, and only then
    the old one is deleted: whatever ends this in between, one is left, and doing it again leaves one.

    Raises:
        ParamsError: If one of that name is not of polydistill, or of another workspace.
        PolydistillError: If Kubeflow does not keep what it is told.
    """
    there = ours_of(kubeflow, wanted.name)
    same = next((recurring for recurring in there if not recurring.differences(wanted)), None)
    if same is not None:
        id, done = same.id, "unchanged"
        if same.is_enabled != wanted.is_enabled:
            kubeflow.set_enabled(id, wanted.is_enabled)
            done = "no longer paused" if wanted.is_enabled else "paused"
    else:
        id, done = kubeflow.add_schedule(wanted, version), "created"
        if there:
            done = f"changed ({_in_words(there[0], wanted)})"
    kept = kubeflow.schedule(id)
    unlike = kept.differences(wanted) + ["paused"] * (kept.is_enabled != wanted.is_enabled)
    if unlike:
        if same is None:
            kubeflow.delete_schedule(id)
        raise PolydistillError(
            f"Kubeflow did not keep schedule {wanted.name} as it was told ({', '.join(unlike)} differ); "
            + ("the old one stays" if there else "it was deleted again")
        )
    for old in there:
        if old.id != id:
            kubeflow.delete_schedule(old.id)
            log.info("deleted %s, which %s replaces", old.id, id)
    return kept, done


def _in_words(old: Recurring, new: Recurring) -> str:
    """Return what differs, by the names that a person gave it."""
    told = []
    for name in old.differences(new):
        if name == "arguments":
            keys = [
                key for key in {**old.arguments, **new.arguments} if old.arguments.get(key) != new.arguments.get(key)
            ]
            told.append(f"params.yaml: {', '.join(sorted(keys))}")
        elif name != "description":  # says what `cron` does
            told.append({"version_id": "pipeline", "experiment_id": "experiment"}.get(name, name))
    return "; ".join(told) or "time zone"


def pause_schedule(kubeflow: Kubeflow, name: str) -> list[Recurring]:
    """Pause the schedules of that name, and return them as Kubeflow has them.

    Raises:
        ParamsError: If there is none, or it is not of polydistill, or of another workspace.
        PolydistillError: If Kubeflow does not keep the pause.
    """
    there = _require_ours(kubeflow, name)
    for recurring in there:
        kubeflow.set_enabled(recurring.id, False)
    kept = [kubeflow.schedule(recurring.id) for recurring in there]
    if any(recurring.is_enabled for recurring in kept):
        raise PolydistillError(f"Kubeflow did not pause schedule {name}")
    return kept


def remove_schedule(kubeflow: Kubeflow, name: str) -> None:
    """Delete the schedules of that name.

    Raises:
        ParamsError: If there is none, or it is not of polydistill, or of another workspace.
    """
    for recurring in _require_ours(kubeflow, name):
        kubeflow.delete_schedule(recurring.id)


def _require_ours(kubeflow: Kubeflow, name: str) -> list[Recurring]:
    there = ours_of(kubeflow, name)
    if not there:
        known = ", ".join(sorted(recurring.name for recurring in kubeflow.schedules())) or "none"
        raise ParamsError(f"there is no schedule {name}; there are: {known}")
    return there
