"""The teacher on demand: a Deployment that is scaled up while at least one run holds it, and down by the last.

Who holds it stands in an annotation of the Deployment, run by run with the time until which it does, and is changed in
one update together with the number of pods. So no run scales it down under another, whatever happens at the same time.
A run that lives lets go at its end. One that was terminated, or died, may not: `release_ended`, run by a CronJob, lets
go for it once Kubeflow says that it is over; where Kubeflow does not know the run, once its time is up. No run renews
its hold: so that time is the longest that a run may take.

Pods that a person had asked for before the first run came are a person's: the last run puts that number back, and
`release_ended` leaves it alone. What a person changes while runs hold the Deployment does not outlive them.

Verbs: `run_teacher_up` all of those that kube.py lists, the other two only get and patch of the Deployment, and
`release_ended` list of the Workflows.
"""

import json
import logging
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
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

RUN_LABEL = "pipeline/runid"
"""Label that Kubeflow gives the Workflow of a run: the run's id, by which the run holds the teacher."""

_TRIES = 5
_OVER = frozenset({"Succeeded", "Failed", "Error"})
"""Phases of a Workflow that has ended; of one that was terminated it is Failed. Any other one may still ask."""
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")

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


def release_ended(params: TeacherOnDemandParams, runs_namespace: str | None = None) -> dict[str, str]:
    """Let go of the teacher for the runs that are over, by their Workflow or since their time is up.

    Args:
        params: The Deployment.
        runs_namespace: Where Kubeflow has its runs; None: only the time counts.

    Returns:
        Why for each run that was let go of.

    Raises:
        PolydistillError: If the Deployment cannot be changed.
    """
    kube = Kube.connect()
    workflows, over = _Workflows(kube, runs_namespace), dict[str, str]()

    def release(found: Object) -> Object | None:
        holders = _holders(found)
        in_time = _living(holders, datetime.now(UTC))
        # Workflows are looked at after the Deployment. A run that goes on again, and holds it again, in between has
        # changed the Deployment by then: this change is refused, and both are looked at anew.
        phases = workflows.over(in_time)
        over.clear()
        over.update({run: "its time is up" for run in sorted(holders.keys() - in_time.keys())})
        over.update({run: f"its Workflow has ended: {phase}" for run, phase in sorted(phases.items())})
        living = {run: until for run, until in in_time.items() if run not in phases}
        return _released(found, living) if over else None

    kube.change(params.namespace, params.deployment, release)
    return over


class _Workflows:
    """What Kubeflow says of its runs; nothing where it may not be asked."""

    def __init__(self, kube: Kube, namespace: str | None) -> None:
        self._kube = kube
        self._namespace = namespace

    def over(self, runs: Iterable[str]) -> dict[str, str]:
        """Return the runs that have ended, each with the phase of its Workflow.

        A run without a Workflow is none of them: it may be one of the local runner, or of another namespace.
        """
        asked = sorted(run for run in runs if _LABEL_VALUE.fullmatch(run))  # the server refuses any other
        if self._namespace is None or not asked:
            return {}
        try:
            found = self._kube.workflows(self._namespace, f"{RUN_LABEL} in ({','.join(asked)})")
        except PolydistillError as exc:
            log.warning("%s; so a run that was terminated holds the teacher until its time is up", exc)
            self._namespace = None
            return {}
        phases = defaultdict[str, set[str]](set)
        for workflow in found:
            phases[workflow["metadata"]["labels"][RUN_LABEL]].add(workflow.get("status", {}).get("phase", ""))
        for run in asked:
            if run not in phases:
                log.info("%s has no Workflow in namespace %s; only its time counts", run, self._namespace)
        return {run: ", ".join(sorted(of)) for run, of in phases.items() if of <= _OVER}


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
