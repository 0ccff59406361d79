"""A small API server of Kubernetes, with a controller of Deployments whose pods fare as a test wants them to.

    with kube_server() as kube:
        kube.add_deployment(teacher())
        kube.fates["teacher"] = image_pull("no such image")

It stands for the API server alone, and is as strict: an update for a state that is no more gets 409, an object that is
no valid one 422, what is denied 403, each with a Status; patches are merged as their content type says. The controller
takes a step at each look at a Deployment, so nothing depends on the time.
"""

import functools
import hashlib
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate
import yaml

Object = dict[str, Any]
WAIT_S = 30
MOST_ANNOTATIONS = 262_144
VALIDATED_FOR = "1.31"
_ROUTES = {
    "deployments.apps": re.compile(r"/apis/apps/v1/namespaces/(?P<namespace>[^/]+)/deployments/(?P<name>[^/]+)$"),
    "pods/log": re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/pods/(?P<name>[^/]+)/log$"),
    "pods": re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/pods$"),
    "events": re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/events$"),
    "workflows.argoproj.io": re.compile(r"/apis/argoproj.io/v1alpha1/namespaces/(?P<namespace>[^/]+)/workflows$"),
}
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
# By which key a strategic merge patch merges a list; other lists are replaced.
_MERGED_BY = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "conditions": "type",
}


@dataclass(frozen=True)
class Fate:
    """How the pods of a Deployment fare.

    Attributes:
        ready_after: Looks at the Deployment after which a pod is ready; None: never.
        status: Status of a pod until then, beyond its phase and that it is not ready.
        events: Reason and message of what is told of a pod, as a warning.
        log: What its container has written.
        previous_log: What it wrote before its last restart.
        refused: Why no pod can be made.
        progress_for: Looks after which the controller says that there is no progress.
    """

    ready_after: int | None = 1
    status: Mapping[str, Any] = field(default_factory=dict)
    events: Sequence[tuple[str, str]] = ()
    log: str = ""
    previous_log: str = ""
    refused: str = ""
    progress_for: int | None = None


def never(**changes: Any) -> Fate:
    """Return the fate of pods that run and do not get ready."""
    return Fate(**{"ready_after": None, "status": {"containerStatuses": [container({"running": {}})]}, **changes})


def unschedulable(message: str) -> Fate:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return Fate(ready_after=None, status={"conditions": [condition]}, events=[("FailedScheduling", message)])


def waiting(reason: str, message: str, *, then_ready_after: int | None = None, init: bool = False) -> Fate:
    """Return the fate of pods whose container waits, for ever or until it is ready after all."""
    statuses = [container({"waiting": {"reason": reason, "message": message}})]
    return Fate(then_ready_after, {"initContainerStatuses" if init else "containerStatuses": statuses})


def crashing(previous_log: str, *, restarts: int, reason: str = "Error", exit_code: int = 1) -> Fate:
    back_off = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}}
    ended = {"terminated": {"exitCode": exit_code, "reason": reason}}
    status = container(back_off, restartCount=restarts, lastState=ended)
    return Fate(None, {"containerStatuses": [status]}, [("BackOff", "Back-off")], previous_log=previous_log)


def container(state: Object, **changes: Any) -> Object:
    fixed = {"name": "main", "image": "image", "imageID": "", "ready": False, "restartCount": 0}
    return {**fixed, "state": state, **changes}


def deployment(namespace: str, name: str, *, replicas: int = 0, init: str | None = None, **spec: Any) -> Object:
    """Return a Deployment as `kubectl apply` sends it."""
    labels = {"app": name}
    pod: Object = {"containers": [{"name": "main", "image": "image:1", "env": [{"name": "PORT", "value": "8000"}]}]}
    if init:
        pod["initContainers"] = [{"name": init, "image": "image:1", "env": [{"name": "KEPT", "value": "yes"}]}]
    template = {"metadata": {"labels": labels}, "spec": pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **spec},
    }


def workflow(namespace: str, run: str, phase: str | None) -> Object:
    """Return the Workflow of a run of Kubeflow; a phase of None: its controller has not seen it yet."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": f"distill-{run}", "namespace": namespace, "labels": {"pipeline/runid": run}},
        "status": {} if phase is None else {"phase": phase},
    }


class Refused(Exception):
    """An answer that is a Status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason

    def status(self) -> Object:
        told = {"status": "Failure", "message": str(self), "reason": self.reason, "code": self.code}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, **told}


@dataclass
class _Pod:
    """A pod that the controller made."""

    name: str
    revision: str
    template: Object
    age: int = 0
    leaving: bool = False


@dataclass
class KubeServer:
    """What the server holds, and what a test may ask of it or do to it."""

    url: str = ""
    token: str | None = None
    fates: dict[str, Fate] = field(default_factory=dict)
    """By what stands in a pod's annotations, or else by the name of the Deployment."""
    denied: set[tuple[str, str]] = field(default_factory=set)
    """Verb and resource."""
    broken: list[int] = field(default_factory=list)
    """Statuses that the next requests get; 0: the connection is closed."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Verb and resource of each request."""
    patched: list[Object] = field(default_factory=list)
    """Each Deployment as it was after each patch."""
    patches: list[Object] = field(default_factory=list)
    """Each of those patches."""
    workflows: list[Object] | None = field(default_factory=list)
    """Those of Argo; None: it is not installed."""
    lag: int = 0
    """Looks after a change for which the controller has not seen it yet, so that the status is that of before."""
    lingering: int = 1
    """Looks for which a pod stays that is on its way out."""
    meddle: Callable[[], None] | None = None
    """Called once, before the next patch: somebody who is faster."""
    at_look: dict[int, Callable[[], None]] = field(default_factory=dict)
    """Called once, at the so manieth look at a Deployment from now on; it may use `edit`, and ask nothing by HTTP."""
    _deployments: dict[tuple[str, str], Object] = field(default_factory=dict)
    _pods: dict[tuple[str, str], list[_Pod]] = field(default_factory=dict)
    _unseen: dict[tuple[str, str], int] = field(default_factory=dict)
    _version: int = 100
    _made: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _changed: threading.Condition = field(init=False)

    def __post_init__(self) -> None:
        self._changed = threading.Condition(self._lock)

    def kubeconfig(self, path: Path) -> Path:
        """Write a file for kubectl and the client that names this server."""
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "clusters": [{"name": "here", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {"token": self.token or "token"}}],
        }
        path.write_text(yaml.safe_dump(content))
        return path

    def add(self, found: Object) -> None:
        """Make a Deployment."""
        with self._lock:
            key = (found["metadata"]["namespace"], found["metadata"]["name"])
            self._deployments[key] = deepcopy(found)
            self._deployments[key]["metadata"] |= {"generation": 1, "resourceVersion": "1", "uid": "-".join(key)}
            self._pods[key] = []
            self._store(key)

    def get(self, namespace: str, name: str) -> Object:
        """Return a Deployment as it stands, without a step of the controller."""
        with self._lock:
            return deepcopy(self._deployments[namespace, name])

    def edit(self, namespace: str, name: str, patch: Object) -> None:
        """Change a Deployment as a person does with kubectl."""
        with self._lock:
            self._patch((namespace, name), patch, strategic=True)

    def settle(self, namespace: str, name: str) -> None:
        """Let the controller take steps until nothing changes."""
        with self._lock:
            for _ in range(10):
                self._step((namespace, name))

    def variable_in_ready_pods(self, namespace: str, name: str, variable: str) -> list[str | None]:
        """Return what the init container is told in each pod that a Service sends requests to."""
        with self._lock:
            pods = [pod for pod in self._pods[namespace, name] if self._is_ready(name, pod) and not pod.leaving]
            told = [pod.template["spec"]["initContainers"][0]["env"] for pod in pods]
            return [{each["name"]: each["value"] for each in env}.get(variable) for env in told]

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Return once something is so; it is looked at after each request."""
        with self._changed:
            assert self._changed.wait_for(is_so, WAIT_S), "it did not come to be so"

    def answer(self, method: str, address: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Return the status and the body of an answer; status 0: there is none."""
        with self._changed:
            try:
                return self._answer(method, address, headers, body)
            except Refused as refused:
                return refused.code, json.dumps(refused.status()).encode()
            finally:
                self._changed.notify_all()

    def _answer(self, method: str, address: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        if self.broken:
            status = self.broken.pop(0)
            return status, b"upstream connect error"
        if self.token and headers.get("Authorization") not in (f"Bearer {self.token}", f"bearer {self.token}"):
            raise Refused(401, "Unauthorized", "Unauthorized")
        path, asked = urlsplit(address).path, {k: v[0] for k, v in parse_qs(urlsplit(address).query).items()}
        resource, found = _route(path)
        named = "name" in found
        verb = "patch" if method == "PATCH" else "get" if named else "list"
        self.asked.append((verb, resource))
        namespace, name = found["namespace"], found.get("name", "")
        if (verb, resource) in self.denied:
            raise _forbidden(verb, resource, namespace, name)
        if resource == "deployments.apps":
            return self._answer_deployment(verb, (namespace, name), headers, body)
        if resource == "pods/log":
            return self._answer_log(name, asked)
        if resource == "workflows.argoproj.io":
            if self.workflows is None:
                return 404, b"404 page not found\n"
            items = [found for found in self.workflows if found["metadata"]["namespace"] == namespace]
        else:
            items = self.pods_of(namespace) if resource == "pods" else self._events(namespace)
        items = [item for item in items if _is_selected(item, asked)]
        return 200, json.dumps({"kind": "List", "metadata": {}, "items": items}).encode()

    def _answer_deployment(
        self, verb: str, key: tuple[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]:
        if key not in self._deployments:
            raise Refused(404, "NotFound", f'deployments.apps "{key[1]}" not found')
        if verb == "get":
            self.at_look = {left - 1: act for left, act in self.at_look.items()}
            self.at_look.pop(0, lambda: None)()
            self._step(key)
        else:
            meddle, self.meddle = self.meddle, None
            if meddle:
                meddle()
            kind = headers.get("Content-Type", "")
            if kind not in ("application/strategic-merge-patch+json", "application/merge-patch+json"):
                raise Refused(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {kind}")
            patch = json.loads(body)
            self._patch(key, patch, strategic="strategic" in kind)
            self.patches.append(patch)
            self.patched.append(deepcopy(self._deployments[key]))
        return 200, json.dumps(self._deployments[key]).encode()

    def _patch(self, key: tuple[str, str], patch: Object, *, strategic: bool) -> None:
        old = self._deployments[key]
        version = patch.get("metadata", {}).get("resourceVersion", old["metadata"]["resourceVersion"])
        if version != old["metadata"]["resourceVersion"]:
            message = "the object has been modified; please apply your changes to the latest version and try again"
            raise Refused(409, "Conflict", f'Operation cannot be fulfilled on deployments.apps "{key[1]}": {message}')
        new = merge(old, patch, strategic)
        check(new)
        if new["spec"] != old["spec"]:
            new["metadata"]["generation"] += 1
            self._unseen[key] = self.lag
        self._deployments[key] = new
        self._store(key)

    def _store(self, key: tuple[str, str]) -> None:
        self._version += 1
        self._deployments[key]["metadata"]["resourceVersion"] = str(self._version)

    # The controller of Deployments.

    def _step(self, key: tuple[str, str]) -> None:
        if self._unseen.get(key):
            self._unseen[key] -= 1
            return
        found, pods = self._deployments[key], self._pods[key]
        wanted, template = found["spec"].get("replicas", 1), found["spec"]["template"]
        revision = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
        pods[:] = [pod for pod in pods if not (pod.leaving and pod.age > self.lingering)]
        for pod in pods:
            pod.age += 1
        fate = self._fate(key[1], template)
        new = [pod for pod in pods if pod.revision == revision and not pod.leaving]
        while len(new) < wanted and not fate.refused:
            self._made += 1
            new.append(_Pod(f"{key[1]}-{revision}-{self._made}", revision, deepcopy(template)))
            pods.append(new[-1])
        all_ready = len(new) >= wanted and all(self._is_ready(key[1], pod) for pod in new[:wanted])
        old = [pod for pod in pods if pod.revision != revision and not pod.leaving]
        for pod in (*new[wanted:], *(old if all_ready else old[wanted:])):
            pod.leaving, pod.age = True, 0
        status = self._status(key, revision, fate)
        if status != found.get("status"):
            found["status"] = status
            self._store(key)

    def _status(self, key: tuple[str, str], revision: str, fate: Fate) -> Object:
        found = self._deployments[key]
        staying = [pod for pod in self._pods[key] if not pod.leaving]
        ready = sum(self._is_ready(key[1], pod) for pod in staying)
        updated = [pod for pod in staying if pod.revision == revision]
        counts = {"replicas": len(staying), "updatedReplicas": len(updated), "readyReplicas": ready}
        counts["availableReplicas"] = ready
        late = fate.progress_for is not None and any(pod.age > fate.progress_for for pod in updated)
        reason = "ProgressDeadlineExceeded" if late else "ReplicaSetUpdated"
        told = [{"type": "Progressing", "status": "False" if late else "True", "reason": reason, "message": ""}]
        if fate.refused:
            failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": fate.refused}
            told.append(failure)
        given = {name: count for name, count in counts.items() if count}  # the server leaves out what is 0
        return {**given, "observedGeneration": found["metadata"]["generation"], "conditions": told}

    def _fate(self, name: str, template: Object) -> Fate:
        notes = template["metadata"].get("annotations", {}).values()
        return next((self.fates[note] for note in notes if note in self.fates), self.fates.get(name, Fate()))

    def _is_ready(self, name: str, pod: _Pod) -> bool:
        after = self._fate(name, pod.template).ready_after
        return after is not None and pod.age >= after

    # What it tells of pods.

    def pods_of(self, namespace: str) -> list[Object]:
        """Return all pods, those on their way out too."""
        return [self._pod(key, pod) for key, pods in self._pods.items() if key[0] == namespace for pod in pods]

    def _pod(self, key: tuple[str, str], pod: _Pod) -> Object:
        ready = self._is_ready(key[1], pod)
        own = {} if ready else deepcopy(dict(self._fate(key[1], pod.template).status))
        told = [{"type": "Ready", "status": str(ready)}, *own.pop("conditions", [])]
        if ready:
            own = {"containerStatuses": [container({"running": {}}, ready=True)]}
        status = {"phase": "Running" if ready else "Pending", **own, "conditions": told}
        metadata = {**deepcopy(pod.template["metadata"]), "name": pod.name, "namespace": key[0]}
        if pod.leaving:
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        found = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": pod.template["spec"],
            "status": status,
        }
        validate(json.dumps(found))
        return found

    def _events(self, namespace: str) -> list[Object]:
        events = []
        for (of_namespace, name), pods in self._pods.items():
            for pod in pods if of_namespace == namespace else ():
                for number, (reason, message) in enumerate(self._fate(name, pod.template).events):
                    about = {"kind": "Pod", "namespace": namespace, "name": pod.name}
                    told = {"reason": reason, "message": message, "type": "Warning"}
                    seen = {"firstTimestamp": f"2026-01-01T00:00:{number:02}Z"}
                    metadata = {"name": f"{pod.name}.{number}", "namespace": namespace}
                    event = {"apiVersion": "v1", "kind": "Event", "metadata": metadata, "involvedObject": about}
                    events.append({**event, **told, **seen, "lastTimestamp": seen["firstTimestamp"]})
        return events

    def _answer_log(self, name: str, asked: Mapping[str, str]) -> tuple[int, bytes]:
        for (_, of), pods in self._pods.items():
            for pod in pods:
                if pod.name == name:
                    fate = self._fate(of, pod.template)
                    text = fate.previous_log if asked.get("previous") in ("true", "True") else fate.log
                    lines = text.splitlines(keepends=True)[-int(asked.get("tailLines", 10_000)) :]
                    return 200, "".join(lines).encode()
        raise Refused(404, "NotFound", f'pods "{name}" not found')


def merge(old: Any, patch: Any, strategic: bool, key: str = "") -> Any:
    """Return what a patch makes of an object: null removes, a dictionary is merged, a list too where that is known."""
    if isinstance(patch, dict):
        merged = dict(old) if isinstance(old, dict) else {}
        for name, value in patch.items():
            if value is None:
                merged.pop(name, None)
            else:
                merged[name] = merge(merged.get(name), value, strategic, name)
        return merged
    if strategic and isinstance(patch, list) and key in _MERGED_BY:
        by = _MERGED_BY[key]
        gone = {item[by] for item in patch if item.get("$patch") == "delete"}
        given = {item[by]: item for item in patch if item[by] not in gone}
        kept = {item[by]: merge(item, given.get(item[by], {}), strategic) for item in old or () if item[by] not in gone}
        new = [deepcopy(item) for name, item in given.items() if name not in kept]
        return [*new, *kept.values()]
    return deepcopy(patch)


@functools.cache
def validate(found: str) -> None:
    """Hold an object against the schema of Kubernetes, one that came before not again."""
    kubernetes_validate.validate(json.loads(found), VALIDATED_FOR, strict=True)


def check(found: Object) -> None:
    """Refuse what is no valid Deployment."""
    try:
        validate(json.dumps(found))
    except kubernetes_validate.ValidationError as exc:
        raise Refused(422, "Invalid", f"Deployment is invalid: {'.'.join(map(str, exc.path))}: {exc.message}") from exc
    notes = found["metadata"].get("annotations", {})
    if sum(len(key.encode()) + len(value.encode()) for key, value in notes.items()) > MOST_ANNOTATIONS:
        message = f"metadata.annotations: Too long: may not be more than {MOST_ANNOTATIONS} bytes"
        raise Refused(422, "Invalid", f'Deployment.apps "{found["metadata"]["name"]}" is invalid: {message}')
    pod = found["spec"]["template"]["spec"]
    for each in (*pod["containers"], *pod.get("initContainers", ())):
        if not each.get("image"):
            raise Refused(422, "Invalid", f"Deployment is invalid: container {each['name']}: image: Required value")


def _route(path: str) -> tuple[str, dict[str, str]]:
    for resource, pattern in _ROUTES.items():
        if found := pattern.match(path):
            return resource, found.groupdict()
    raise Refused(404, "NotFound", "the server could not find the requested resource")


def _forbidden(verb: str, resource: str, namespace: str, name: str) -> Refused:
    kind, _, group = resource.partition(".")
    thing = f'{resource} "{name}"' if name else resource
    who = "system:serviceaccount:kubeflow:pipeline-runner"
    why = f'cannot {verb} resource "{kind}" in API group "{group}" in the namespace "{namespace}"'
    return Refused(403, "Forbidden", f'{thing} is forbidden: User "{who}" {why}')


def _is_selected(item: Object, asked: Mapping[str, str]) -> bool:
    labels = item["metadata"].get("labels", {})
    by_label = _selector(asked.get("labelSelector", ""))
    by_field = [pair.split("=") for pair in asked.get("fieldSelector", "").split(",") if pair]
    return all(labels.get(key) in values for key, values in by_label.items()) and all(
        item.get(key) == value for key, value in by_field
    )


def _selector(text: str) -> dict[str, list[str]]:
    """Return which values of each label a selector allows; it knows `key=value` and `key in (one, another)`."""
    allowed: dict[str, list[str]] = {}
    for term in re.split(r",(?![^(]*\))", text) if text else ():
        among = re.fullmatch(r"\s*(\S+) in \(([^()]*)\)\s*", term)
        key, values = (among[1], among[2].split(",")) if among else (term.split("=")[0], term.split("=")[1:])
        allowed[key] = [value.strip() for value in values]
    if not all(_LABEL_VALUE.fullmatch(value) for values in allowed.values() for value in values):
        raise Refused(400, "BadRequest", f"unable to parse requirement: invalid label value in {text!r}")
    return allowed


def _handler(server: KubeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content = server.answer(self.command, self.path, self.headers, body)
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PATCH = do_PUT = do_POST = do_DELETE = handle_any

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    return Handler


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve on a free port as long as the block does; yield the address."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.daemon_threads = True
    http.block_on_close = False
    if tls:
        http.socket = tls.wrap_socket(http.socket, server_side=True)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


@contextmanager
def kube_server(token: str | None = None, tls: ssl.SSLContext | None = None) -> Iterator[KubeServer]:
    """Run a server as long as the block does."""
    server = KubeServer(token=token)
    with listening(_handler(server), tls) as server.url:
        yield server
