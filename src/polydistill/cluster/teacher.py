"""The teacher on demand: a Deployment that is scaled up while at least one run holds it, and down by the last.

Who holds it stands in an annotation of the Deployment, run by run with the time until which it does, and is changed in
one update together with the number of pods. So no run scales it down under another, whatever happens at the same time.
A run that died holds it until its time is up; `release_expired`, run by a CronJob, lets go for it. A run that lives
lets go at its end, and does not renew its hold: so that time is the longest that a run may take.

Pods that a person had asked for before the first run came are a person's: the last run puts that number back, and
`release_expired` leaves it alone. What a person changes while runs hold the Deployment does not outlive them.

Verbs: `run_teacher_up` all of those that kube.py lists, the other two only get and patch of the Deployment.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from polydistill.cluster.kube import Kube, Object, UnreachableError, annotations, is_rolled_out, replicas
from polydistill.cluster.waiting import NotReadyError, Patience, wait_for
from polydistill.errors import PolydistillError
from polydistill.params import TeacherOnDemandParams

log = logging.getLogger(__name__)

HOLDERS = "polydistill.dev/holders"
"""Annotation: JSON, each run that holds the Deployment with the time until which it does."""

UNHELD_REPLICAS = "polydistill.dev/unheld-replicas"
"""Annotation, while runs hold it: how many pods it had before, and gets back."""

_TRIES = 5

Holders = dict[str, datetime]


def run_teacher_up(
    params: TeacherOnDemandParams, run: str, needs_s: int = 0, *, poll_s: float = 5.0, stuck_s: float = 300.0
) -> None:
    """Hold the teacher for a run, and return once it is ready; a run that holds it already holds it longer.

    Args:
        params: The Deployment, and how long to wait and to hold.
        run: Who holds it, any string.
        needs_s: Seconds that a run may need it, as far as that is known.
        poll_s: Seconds between two looks.
        stuck_s: Seconds after which it counts as stuck, for example because its image cannot be pulled.

    Raises:
        PolydistillError: If it does not get ready; the message says why, and the run does not hold it any more.
    """
    kube = Kube.connect()
    namespace, name = params.namespace, params.deployment

    def hold(found: Object) -> Object:
        now = datetime.now(UTC)
        holders = _living(_holders(found), now) | {run: now + timedelta(seconds=params.hold_within_s)}
        before = _unheld_replicas(found)
        return _patch(holders, before, max(replicas(found), params.replicas))

    def is_ready(found: Object) -> bool:
        if run not in _holders(found):
            raise PolydistillError(
                f"{namespace}/{name}: the hold of this run ended before the teacher was ready; the run was ended, or "
                f"`cluster.teacher.hold_within_s` is too short"
            )
        if replicas(found) < params.replicas:
            log.warning("%s/%s: somebody scaled it down; it is scaled up again", namespace, name)
            kube.change(namespace, name, hold)
            return False
        return is_rolled_out(found)

    if params.hold_within_s < needs_s:
        log.warning(
            "hold_within_s is %d, and by the time-outs of its pods a cell may take %d s: another run, or the CronJob "
            "teacher-idle, may scale the teacher down under this one; raise it under `cluster.teacher` in params.yaml",
            params.hold_within_s,
            needs_s,
        )
    held = kube.change(namespace, name, hold)
    others = len(_holders(held)) - 1
    log.info("%s/%s: held by this run and %d others, %d pods", namespace, name, others, replicas(held))
    try:
        wait_for(kube, namespace, name, Patience(params.ready_within_s, poll_s, stuck_s), is_ready)
    except PolydistillError as exc:
        left = _let_go(kube, params, run, poll_s)
        if not isinstance(exc, NotReadyError):
            raise
        look = f"kubectl scale deployment/{name} --replicas={params.replicas} --namespace {namespace}"
        now = f"it has {left} pods now" if left else f"it is scaled down again, `{look}` brings it back to look at"
        raise NotReadyError(f"the teacher {exc}\n{now}") from exc
    log.info("%s/%s is ready", namespace, name)


def run_teacher_down(params: TeacherOnDemandParams, run: str, *, poll_s: float = 5.0) -> None:
    """Let go of the teacher, whether the run holds it or not; the last who does scales it down.

    Raises:
        PolydistillError: If the Deployment cannot be changed; then the run lets go of it when its time is up.
    """
    left = _let_go(Kube.connect(), params, run, poll_s)
    log.info("%s/%s: let go of, %d pods", params.namespace, params.deployment, left)


def release_expired(params: TeacherOnDemandParams) -> list[str]:
    """Let go of the teacher for the runs whose time is up; return them.

    Raises:
        PolydistillError: If the Deployment cannot be changed.
    """
    expired: list[str] = []

    def release(found: Object) -> Object | None:
        holders = _holders(found)
        living = _living(holders, datetime.now(UTC))
        expired[:] = sorted(holders.keys() - living.keys())
        return _released(found, living) if expired else None

    Kube.connect().change(params.namespace, params.deployment, release)
    return expired


def _let_go(kube: Kube, params: TeacherOnDemandParams, run: str, poll_s: float) -> int:
    """Take a run, and those whose time is up, from the holders; return how many pods there are to be from now on."""

    def release(found: Object) -> Object | None:
        holders = _holders(found)
        living = {who: until for who, until in _living(holders, datetime.now(UTC)).items() if who != run}
        return _released(found, living) if holders.keys() - living.keys() else None

    changed = _persistently(lambda: kube.change(params.namespace, params.deployment, release), poll_s)
    return replicas(changed)


def _released(found: Object, living: Holders) -> Object:
    before = _unheld_replicas(found)
    return _patch(living, before, replicas(found) if living else before)


def _patch(holders: Holders, before: int, wanted: int) -> Object:
    told = json.dumps({run: until.isoformat() for run, until in sorted(holders.items())})
    notes = {HOLDERS: told if holders else None, UNHELD_REPLICAS: str(before) if holders else None}
    return {"metadata": {"annotations": notes}, "spec": {"replicas": wanted}}


def _holders(found: Object) -> Holders:
    """Return who holds a Deployment, until when.

    Raises:
        PolydistillError: If the annotation holds something else.
    """
    try:
        held = json.loads(annotations(found).get(HOLDERS, "{}"))
        return {run: datetime.fromisoformat(until).astimezone(UTC) for run, until in held.items()}
    except (ValueError, TypeError, AttributeError) as exc:
        raise _unreadable(found, HOLDERS) from exc


def _unheld_replicas(found: Object) -> int:
    """Return how many pods a Deployment gets when nobody holds it."""
    if HOLDERS not in annotations(found):
        return replicas(found)
    try:
        return int(annotations(found).get(UNHELD_REPLICAS, "0"))
    except ValueError as exc:
        raise _unreadable(found, UNHELD_REPLICAS) from exc


def _unreadable(found: Object, note: str) -> PolydistillError:
    namespace, name = found["metadata"]["namespace"], found["metadata"]["name"]
    return PolydistillError(
        f"the annotation {note} of the Deployment {namespace}/{name} is not what polydistill wrote; with no run under "
        f"way, `kubectl annotate deployment/{name} --namespace {namespace} {note}-` removes it"
    )


def _living(holders: Mapping[str, datetime], now: datetime) -> Holders:
    return {run: until for run, until in holders.items() if until > now}


def _persistently(change: Callable[[], Object], pause_s: float) -> Object:
    """Make a change that costs money when it is not made, also where the API server is away for a minute."""
    for attempt in range(_TRIES - 1):
        try:
            return change()
        except UnreachableError as exc:
            log.warning("%s; trying again", exc)
            time.sleep(pause_s * 2**attempt)
    return change()
