"""Why the pods of a Deployment are not ready: what Kubernetes knows of each, and the command that shows it."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from polydistill.cluster.kube import Kube, Object, conditions, has_ended, ready_pods, replicas
from polydistill.errors import PolydistillError

_LOG_LINES = 15
_LOG_WIDTH = 300
# From then on Kubernetes waits for minutes before it starts a container again.
_MANY_RESTARTS = 3
# No retry of Kubernetes mends what the pod template says.
_FOR_GOOD = frozenset({"InvalidImageName", "ErrImageNeverPull"})
# What Kubernetes tries again, and what may come right within minutes: a registry that is down, a secret made late.
_FOR_NOW = frozenset({"ErrImagePull", "ImagePullBackOff", "CreateContainerConfigError", "CreateContainerError"})
_NOT_MOUNTED = frozenset({"FailedMount", "FailedAttachVolume"})
# A container whose turn comes after the init containers.
_IN_TURN = {"reason": "PodInitializing"}
# Events that say once more, and less, what the states of pods and containers say.
_SAID_BETTER = frozenset({"FailedScheduling", "BackOff"})
_MISSING = re.compile(r'\b(secret|configmap|persistentvolumeclaim)s? "([^"]+)" not found')
_KEY = r"[\w-]*(?:api[-_]?key|token|password|secret)"
_SECRET = re.compile(
    rf"\b(?:hf_|sk-)\w{{8,}}|(?<=bearer )\S+|(?<=://)[^/\s@]+(?=@)|({_KEY}['\"]?\s*[:=]\s*['\"]?|--{_KEY}\s+)[^\s,'\"]+",
    re.IGNORECASE,
)


class Hope(Enum):
    """Whether to wait for a trouble to pass."""

    YES = "it may pass by itself, as when a node is on its way or a model is loading"
    A_WHILE = "it may pass within minutes"
    NONE = "somebody must do something"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that keeps a pod from being ready.

    `log` names the pod, the container, and whether its last words are those before its last restart.
    """

    about: str
    told: str
    hope: Hope = Hope.YES
    log: tuple[str, str, bool] | None = None


def find_troubles(
    kube: Kube, namespace: str, deployment: Object, of_interest: Callable[[Object], bool]
) -> tuple[str, list[Trouble]]:
    """Return how many pods of a Deployment that are of interest are ready, and what keeps the others; never fails."""
    wanted, found = replicas(deployment), list(_of_deployment(namespace, deployment))
    try:
        pods = kube.pods(namespace, deployment)
        mine = [pod for pod in pods if of_interest(pod) and "deletionTimestamp" not in pod["metadata"]]
        unready = [pod for pod in mine if conditions(pod).get("Ready", {}).get("status") != "True"]
        events = kube.warnings(namespace) if unready else []
    except PolydistillError as exc:
        unknown = Trouble("pods", f"its pods cannot be looked at: {exc}")
        return f"{ready_pods(deployment)} of {wanted} pods are ready", [*found, unknown]
    for pod in unready:
        found += _of_pod(namespace, pod, events)
    older = sum(pod not in mine and not has_ended(pod) for pod in pods)
    others = f", and {older} older ones are still there" if older else ""
    return f"{len(mine) - len(unready)} of {wanted} pods are ready{others}", found


def last_words(kube: Kube, namespace: str, troubles: Iterable[Trouble]) -> list[str]:
    """Return a line a trouble, below it the last lines that the container wrote; never fails."""
    lines = []
    for trouble in troubles:
        lines.append(trouble.told)
        if trouble.log:
            lines[-1] += _log(kube, namespace, *trouble.log)
    return lines


def _of_deployment(namespace: str, deployment: Object) -> Iterator[Trouble]:
    name = deployment["metadata"]["name"]
    if deployment["spec"].get("paused"):
        yield Trouble("paused", f"it is paused; `kubectl rollout resume deployment/{name} --namespace {namespace}`")
    failure = conditions(deployment).get("ReplicaFailure", {})
    if failure.get("status") == "True":  # a quota, a policy, a service account that is not there
        shows = f"kubectl describe replicasets --namespace {namespace}"
        yield Trouble("replicas", f"no pod can be made: {failure.get('message', '')}; `{shows}` shows it", Hope.A_WHILE)


def _of_pod(namespace: str, pod: Object, events: Sequence[Object]) -> Iterator[Trouble]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    scheduled = conditions(pod).get("PodScheduled", {})
    if scheduled.get("status") == "False":
        said = scheduled.get("message") or scheduled.get("reason", "")
        shows = _command(namespace, name, said)
        yield Trouble(name, f"pod {name} has no node: {said}; `{shows}` shows it")
    if status.get("phase") == "Failed":
        said = f"{status.get('reason', '')}: {status.get('message', '')}".strip(": ")
        yield Trouble(name, f"pod {name} failed: {said}; `{_command(namespace, name, said)}` shows it")
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        yield from _of_container(namespace, name, container)
    latest = {event["reason"]: event.get("message", "") for event in events if _is_about(event, name)}
    for reason, message in latest.items():
        said = " ".join(message.split())
        hope = Hope.A_WHILE if reason in _NOT_MOUNTED else Hope.YES
        shows = _command(namespace, name, said)
        yield Trouble(f"{name}/{reason}", f"pod {name}: {reason}: {said}; `{shows}` shows it", hope)


def _of_container(namespace: str, pod: str, container: Object) -> Iterator[Trouble]:
    name, state = container["name"], container.get("state", {})
    where, about = f"pod {pod}, container {name}", f"{pod}/{name}"
    waiting = state.get("waiting", {})
    said = ": ".join(filter(None, (waiting.get("reason"), waiting.get("message"))))
    if container.get("ready") or state.get("terminated", {}).get("exitCode") == 0 or waiting == _IN_TURN:
        return
    if "terminated" in state or waiting.get("reason") == "CrashLoopBackOff":
        yield _crash(namespace, pod, container)
    elif waiting:
        reason = waiting.get("reason")
        hope = Hope.NONE if reason in _FOR_GOOD else Hope.A_WHILE if reason in _FOR_NOW else Hope.YES
        yield Trouble(about, f"{where}: {said}; `{_command(namespace, pod, said)}` shows it", hope)
    elif container.get("restartCount"):
        yield _crash(namespace, pod, container)
    elif "running" in state:
        shows = f"kubectl logs {pod} --container {name} --namespace {namespace}"
        yield Trouble(about, f"{where} runs, but is not ready; `{shows}` shows its log", log=(pod, name, False))


def _crash(namespace: str, pod: str, container: Object) -> Trouble:
    name, restarts, state = container["name"], container.get("restartCount", 0), container["state"]
    last = container.get("lastState", {}).get("terminated", {})
    ended = state.get("terminated", last)
    why = f"{ended.get('reason', 'Error')}, exit code {ended.get('exitCode', 'unknown')}"
    if ended.get("reason") == "OOMKilled":
        why += ": it took more memory than its limit allows"
    times = restarts + ("running" not in state)
    shows = f"kubectl logs {pod} --container {name} --namespace {namespace} --previous"
    told = f"pod {pod}, container {name} ended ({why}), {times} times so far; `{shows}` shows its log"
    hope = Hope.NONE if restarts >= _MANY_RESTARTS and "running" not in state else Hope.YES
    return Trouble(f"{pod}/{name}", told, hope, (pod, name, "terminated" not in state))


def _command(namespace: str, pod: str, said: str) -> str:
    """Return the command that shows what was said, also after the pod is gone."""
    missing = _MISSING.search(said)
    if missing:
        return f"kubectl get {missing.group(1)} {missing.group(2)} --namespace {namespace}"
    if "nvidia.com/gpu" in said:
        return (
            r"kubectl get nodes --output custom-columns='NODE:.metadata.name,GPUS:.status.allocatable.nvidia\.com/gpu'"
        )
    if "nodes are available" in said:
        return "kubectl describe nodes"
    return f"kubectl get events --namespace {namespace} --field-selector involvedObject.name={pod}"


def _log(kube: Kube, namespace: str, pod: str, container: str, previous: bool) -> str:
    try:
        lines = kube.log(namespace, pod, container, previous=previous, lines=_LOG_LINES)
    except PolydistillError as exc:
        return f"\n      (its log cannot be read: {exc})"
    return "".join(f"\n      | {_without_secrets(line)[:_LOG_WIDTH]}" for line in lines)


def _without_secrets(line: str) -> str:
    """Return a line of a log without what looks like a key: servers print what they were started with."""
    return _SECRET.sub(lambda found: f"{found.group(1) or ''}***", line)


def _is_about(event: Object, pod: str) -> bool:
    return event["involvedObject"].get("name") == pod and event["reason"] not in _SAID_BETTER
