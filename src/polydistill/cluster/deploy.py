"""The roll-out of a promoted bento: the serving Deployment takes it, is asked what is known, and else takes the last.

What the pods fetch stands in their template: in the environment of the init container `fetch-bento`; notes beside it
say more of it. A person may change that environment, to go back to an earlier bento: so the environment is what counts.
The bento that this person left is not rolled out again; one that is promoted later is.

While a roll-out is under way, an annotation of the Deployment holds what was served before. So a pod that is ended
half-way and run again goes on from there: it waits, asks and, if need be, goes back to the same.
The manifests name none of these fields, so `kubectl apply` leaves them as they are.

Another annotation holds what a run took back, so that a second try of that run does not put it before users again.

The number of pods belongs to the autoscaler and is not touched, unless it is 0.

Verbs: all of those that kube.py lists.
"""

import http.client
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from polydistill.classifier import winner_cells
from polydistill.cluster.kube import (
    Kube,
    Object,
    annotations,
    conditions,
    has_ended,
    is_observed,
    is_rolled_out,
    replicas,
)
from polydistill.cluster.waiting import Patience, wait_for
from polydistill.errors import DataError, PolydistillError
from polydistill.files import new_folder, read_json, write_json
from polydistill.gather import gathered
from polydistill.params import ServingParams
from polydistill.serve import rehearse
from polydistill.traffic import Answer

log = logging.getLogger(__name__)

CONTAINER = "fetch-bento"
BENTO = "polydistill.dev/bento"
"""Annotation of the pods: the bento that they fetch, as JSON."""
DIGEST = "polydistill.dev/bento-digest"
"""Annotation of the pods: its digest."""
BEFORE = "polydistill.dev/bento-before"
"""Annotation of the Deployment while a roll-out is under way: the bento before it; `null`: none."""
REFUSED = "polydistill.dev/bento-refused"
"""Annotation of the Deployment after a roll-back: the run, and the digest of the bento that it took back."""

# What pods and proxies answer for a moment while they start or go away.
_FOR_NOW = frozenset({502, 503, 504})
# A proxy that the environment names is not for Services.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bento:
    """A bento in the store; `serial` is that of its promotion, larger for later ones, 0 where it is not known."""

    url: str
    digest: str
    version: str = ""
    serial: int = 0

    @classmethod
    def read(cls, content: Mapping[str, Any], where: str) -> Self:
        """Return the bento that JSON tells of; further keys do not matter.

        Raises:
            DataError: If it tells of none.
        """
        try:
            return cls(content["url"], content["digest"], content.get("version", ""), content.get("serial", 0))
        except (KeyError, TypeError, AttributeError) as exc:
            raise DataError(f"{where} tells of no bento: it needs `url` and `digest`, and has {content!r}") from exc

    def __str__(self) -> str:
        """Return what tells it from others."""
        return f"bento {self.version or 'of an unknown version'} ({self.digest[:12]})"


class _SupersededError(PolydistillError):
    """The Deployment is to serve another bento, which came later."""


class _NoAnswerError(PolydistillError):
    """The service did not answer, and may do soon."""


def run_deploy(
    params: ServingParams | None,
    bento: Mapping[str, Any],
    winners: Path,
    deployed: Path,
    *,
    run: str = "",
    poll_s: float = 2.0,
    stuck_s: float = 300.0,
    answer_within_s: float = 60.0,
) -> dict[str, Any]:
    """Roll a promoted bento out and make sure that it answers as its winners did; else go back to the one before.

    Args:
        params: The Deployment, and where its Service answers; None: there is none.
        bento: url, digest and version of what was promoted, and the serial of the promotion; {}: nothing was.
        winners: The winners of the run, <task>/<language>/ with their known answers. Asked are those that are in the
            bento, since another run may have promoted a cell meanwhile; where none is, it is enough that the bento is
            ready and of the right version.
        deployed: Folder to write deploy.json to.
        run: Id of the run, which may try again: a bento that it has taken back once is not rolled out by it again.
        poll_s: Seconds between two looks.
        stuck_s: Seconds after which a pod counts as stuck, for example because its image cannot be pulled.
        answer_within_s: Seconds after the roll-out in which the service must answer.

    Returns:
        What deploy.json holds.

    Raises:
        PolydistillError: If the bento is not served in the end; the message says why, and what is.
    """
    facts: dict[str, Any] = {"schema_version": 1, "deployment": None, "bento": None, "checked": {}}
    if params is None:
        facts["told"] = "`cluster.serving` names no Deployment, so nothing is rolled out."
    elif not bento:
        facts["told"] = "Nothing is promoted, so what is served stays."
    else:
        wanted = Bento.read(bento, "what was promoted")
        patience = Patience(params.ready_within_s, poll_s, stuck_s)
        rollout = _Rollout(Kube.connect(), params, patience, answer_within_s, run)
        facts |= {"deployment": f"{params.namespace}/{params.deployment}", "bento": asdict(wanted)}
        try:
            facts["checked"] = rollout.to(wanted, winners)
            proven = (
                "answers as its winners did" if facts["checked"] else "is ready; none of its winners is of this run"
            )
            facts["told"] = f"{facts['deployment']} serves {wanted}, and {proven}."
        except _SupersededError as exc:
            facts["told"] = f"{exc}; that one stays."
    log.info("%s", facts["told"])
    with new_folder(deployed) as folder:
        write_json(folder / "deploy.json", facts)
    return facts


def to_markdown(facts: Mapping[str, Any]) -> str:
    """Return what deploy.json holds for the Kubeflow UI."""
    rows = [f"| {cell} | {checked} |" for cell, checked in facts["checked"].items()]
    table = ["", "| cell | known answers given again |", "| --- | --- |", *rows] if rows else []
    return "\n".join([facts["told"], *table, ""])


@dataclass(frozen=True, slots=True)
class _Rollout:
    kube: Kube
    params: ServingParams
    patience: Patience
    answer_within_s: float
    run: str

    def to(self, wanted: Bento, winners: Path) -> dict[str, int]:
        """Roll out; return how many known answers of each cell were given again."""
        self._change(lambda found: self._forward(found, wanted))
        try:
            checked = self._prove(wanted, winners)
        except _SupersededError:
            raise
        except Exception as exc:  # whatever a strange service makes of the questions
            raise PolydistillError(f"{self._name()}: {wanted} is not served: {exc}\n{self._back(wanted)}") from exc
        self._change(lambda found: _ended() if _is_of(found, wanted) else None)
        return checked

    def _forward(self, found: Object, wanted: Bento) -> Object | None:
        now, noted = _bento(found), _noted(found)
        if self.run and annotations(found).get(REFUSED) == self._note(wanted):
            raise PolydistillError(
                f"{self._name()}: {wanted} was rolled out by this run already, and taken back; the log of that try of "
                "`deploy` says why; mend that and submit `distill` again, which rolls it out"
            )
        by_hand = _digest(now) != _digest(noted)
        if _digest(now) == wanted.digest:
            log.info("%s has %s already", self._name(), wanted)
            return _template(wanted) if by_hand else None
        if noted and noted.serial > wanted.serial > 0:
            raise _SupersededError(f"{self._name()} was given {noted}, which was promoted after {wanted}")
        if _digest(noted) == wanted.digest:
            raise _SupersededError(
                f"{self._name()} has {now or 'no bento'}, which took the place of {wanted} by hand, until another is "
                f"promoted"
            )
        if CONTAINER not in {container["name"] for container in _pod(found).get("initContainers", ())}:
            raise PolydistillError(
                f"the Deployment {self._name()} has no init container {CONTAINER}, which fetches the bento; apply the "
                f"manifests, or correct the name under `cluster.serving` in params.yaml"
            )
        under_way = None if by_hand else annotations(found).get(BEFORE)
        before = under_way or json.dumps(now and asdict(now))
        patch = _template(wanted) | {"metadata": {"annotations": {BEFORE: before}}}
        if not replicas(found):
            log.warning("%s had no pods; it gets one, so that the bento is tried", self._name())
            patch["spec"]["replicas"] = 1
        log.info("%s: from %s to %s", self._name(), now or "no bento", wanted)
        return patch

    def _prove(self, wanted: Bento, winners: Path) -> dict[str, int]:
        """Wait until the bento is rolled out, and ask it the known answers of the winners that it serves."""
        self._wait(wanted, gives_up=_deadline_passed)
        served = self._persistently(lambda: self._served(wanted))
        same = []
        for cell in winner_cells(winners):
            if cell not in served:
                raise PolydistillError(f"the service at {self.params.url} does not serve {cell}")
            if served[cell] == read_json(winners / cell / "winner.json")["digests"]:
                same.append(winners / cell)
            else:
                log.info("%s: not asked, since another run has promoted another winner", cell)
        if not same:
            return {}
        with gathered(same, "winner.json") as folder:
            rows = self._persistently(lambda: _rehearsed(self.params.url, folder))
        cells = sorted(f"{row.task}/{row.language}" for row in rows)
        return {cell: cells.count(cell) for cell in cells}

    def _back(self, wanted: Bento) -> str:
        """Put back what was served before, if it is known; return what became of that."""
        look = f"kubectl get pods --namespace {self.params.namespace}"
        try:
            found = self.kube.deployment(self.params.namespace, self.params.deployment)
            if BEFORE not in annotations(found):
                return f"it was rolled out earlier, so nothing is changed; `{look}` shows its pods"
            before = _read(annotations(found)[BEFORE], self._name())
        except PolydistillError as exc:
            return f"nothing is rolled back: {exc}"
        if before is None:
            return f"nothing was rolled out before, so there is nothing to go back to; `{look}` shows its pods"
        log.warning("%s: going back to %s", self._name(), before)
        try:
            refused = self._note(wanted)
            self._change(lambda found: _template(before) | _ended(refused) if _is_of(found, wanted) else None)
            # A deadline that has passed stands in the status until the first pod of before is ready again.
            self._wait(before, gives_up=lambda _: None)
            self._persistently(lambda: self._served(before))
        except PolydistillError as exc:
            return f"the roll-back to {before} failed as well: {exc}"
        return f"rolled back to {before}, which answers"

    def _wait(self, wanted: Bento, gives_up: Callable[[Object], str | None]) -> None:
        def is_wanted(pod: Object) -> bool:
            return _environment(pod["spec"]).get("BENTO_DIGEST") == wanted.digest

        def is_done(found: Object) -> bool:
            if not _is_of(found, wanted):
                raise _SupersededError(f"{self._name()} was given {_bento(found) or 'no bento'} meanwhile")
            pods = self.kube.pods(self.params.namespace, found)
            return is_rolled_out(found) and all(is_wanted(pod) or has_ended(pod) for pod in pods)

        params = self.params
        wait_for(self.kube, params.namespace, params.deployment, self.patience, is_done, gives_up, is_wanted)

    def _served(self, wanted: Bento) -> dict[str, Any]:
        """Return the digests of the winners that the service has, by cell."""
        url = self.params.url.rstrip("/")
        _get(f"{url}/readyz")
        content = _get(f"{url}/models")
        try:
            told = json.loads(content)
            version, models = told["model_version"], told["models"]
            served = {f"{model['task']}/{model['language']}": model["digests"] for model in models}
        except (ValueError, KeyError, TypeError) as exc:
            raise PolydistillError(f"{url} is no service of polydistill; correct `cluster.serving.url`") from exc
        if wanted.version and version != wanted.version.rpartition(":")[2]:
            raise _NoAnswerError(f"{url} serves version {version}, and not {wanted.version}")
        return served

    def _persistently(self, ask: Callable[[], T]) -> T:
        """Ask until it is answered: a Service takes a moment to find its new pods."""
        deadline = time.monotonic() + self.answer_within_s
        while True:
            try:
                return ask()
            except _NoAnswerError as exc:
                if time.monotonic() >= deadline:
                    shows = f"kubectl get endpointslices --namespace {self.params.namespace}"
                    raise PolydistillError(f"{exc}; `{shows}` shows the pods behind it") from exc
                time.sleep(self.patience.poll_s)

    def _change(self, patch_for: Callable[[Object], Object | None]) -> None:
        self.kube.change(self.params.namespace, self.params.deployment, patch_for)

    def _note(self, refused: Bento) -> str:
        return json.dumps({"run": self.run, "digest": refused.digest})

    def _name(self) -> str:
        return f"{self.params.namespace}/{self.params.deployment}"


def _bento(found: Object) -> Bento | None:
    """Return what the pods of a Deployment are to fetch; None where nobody has told them yet."""
    told, noted = _environment(_pod(found)), _noted(found)
    digest = told.get("BENTO_DIGEST")
    if not digest:
        return None
    return noted if noted and noted.digest == digest else Bento(told.get("BENTO_URL", ""), digest)


def _noted(found: Object) -> Bento | None:
    """Return what a run has last told them to fetch."""
    name = f"{found['metadata']['namespace']}/{found['metadata']['name']}"
    return _read(annotations(found["spec"]["template"]).get(BENTO, "null"), name)


def _digest(bento: Bento | None) -> str | None:
    return bento.digest if bento else None


def _environment(pod: Object) -> dict[str, str]:
    """Return what the container that fetches the bento is told, of the spec of a pod."""
    containers = [each for each in pod.get("initContainers", ()) if each["name"] == CONTAINER]
    return {each["name"]: each.get("value", "") for of in containers for each in of.get("env", ())}


def _read(note: str, name: str) -> Bento | None:
    try:
        content = json.loads(note)
    except ValueError:
        content = note
    return None if content is None else Bento.read(content, f"an annotation of the Deployment {name}")


def _is_of(found: Object, wanted: Bento) -> bool:
    return _digest(_bento(found)) == wanted.digest


def _pod(found: Object) -> Object:
    spec: Object = found["spec"]["template"]["spec"]
    return spec


def _template(bento: Bento) -> Object:
    """Return the patch that has the pods fetch a bento; their lists are merged by the names in them."""
    told = [{"name": "BENTO_URL", "value": bento.url}, {"name": "BENTO_DIGEST", "value": bento.digest}]
    notes = {BENTO: json.dumps(asdict(bento)), DIGEST: bento.digest}
    pod = {"initContainers": [{"name": CONTAINER, "env": told}]}
    return {"spec": {"template": {"metadata": {"annotations": notes}, "spec": pod}}}


def _ended(refused: str | None = None) -> Object:
    """Return the patch that ends a roll-out, with what is noted of a bento that was taken back."""
    return {"metadata": {"annotations": {BEFORE: None, REFUSED: refused}}}


def _deadline_passed(found: Object) -> str | None:
    passed = conditions(found).get("Progressing", {}).get("reason") == "ProgressDeadlineExceeded"
    return "within the progressDeadlineSeconds of the Deployment" if passed and is_observed(found) else None


def _rehearsed(url: str, winners: Path) -> Sequence[Answer]:
    try:
        return rehearse(url.rstrip("/"), winners)
    except PolydistillError as exc:
        cause = exc.__cause__
        if isinstance(cause, OSError) and getattr(cause, "code", 503) in _FOR_NOW:
            raise _NoAnswerError(str(exc)) from exc
        raise


def _get(url: str) -> bytes:
    try:
        with _DIRECT.open(url, timeout=30) as response:
            content: bytes = response.read()
            return content
    except urllib.error.HTTPError as exc:
        if exc.code in _FOR_NOW:
            raise _NoAnswerError(f"{url} answers {exc.code}") from exc
        raise PolydistillError(f"{url} answers {exc.code}; correct `cluster.serving.url`") from exc
    except (OSError, http.client.HTTPException) as exc:
        raise _NoAnswerError(f"{url} does not answer: {exc}") from exc
