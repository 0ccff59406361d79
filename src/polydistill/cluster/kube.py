"""How polydistill asks the API server of Kubernetes: few verbs, plain JSON, and errors that a person can act on.

Everything that this package asks of a cluster goes through `Kube`. A role needs these verbs, in the namespace of the
Deployment, and no others:

    get, patch    deployments.apps    by name
    list          pods
    get           pods/log
    list          events

`run_teacher_down` and `release_ended` need the first line alone; the latter, in the namespace of runs, also to list
workflows.argoproj.io, which Kubeflow's runs are.

Objects stay the dictionaries that the server sent: the models of the client would lose what a newer server knows, and
refuse what it left out. A change is a patch that names the resourceVersion it was made for, so that two who change at
once cannot undo each other's.
"""

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import urllib3
import yaml
from kubernetes import config
from kubernetes.client import ApiClient, ApiException, AppsV1Api, Configuration, CoreV1Api, CustomObjectsApi
from kubernetes.config import ConfigException, incluster_config

from polydistill.errors import PolydistillError

_CONNECT_WITHIN_S = 10
_ANSWER_WITHIN_S = 60
# Each conflict means that somebody else's change went through: the controller's, mostly, which writes the status.
_MOST_CONFLICTS = 100

Object = dict[str, Any]
"""A Kubernetes object as JSON has it."""


class UnreachableError(PolydistillError):
    """The API server did not answer, or was not able to: the same request may do later."""


class _ConflictError(PolydistillError):
    """The object was changed since it was read."""


def api_client() -> ApiClient:
    """Return a client for the cluster: that of $KUBECONFIG, else the pod's own, else that of ~/.kube/config.

    Raises:
        PolydistillError: If there is none, or its file cannot be read.
    """
    settings = Configuration()
    named = os.environ.get("KUBECONFIG")
    in_pod = os.environ.get(incluster_config.SERVICE_HOST_ENV_NAME)
    try:
        if in_pod and not named:
            config.load_incluster_config(settings)
        else:
            path = named or str(Path("~/.kube/config").expanduser())
            config.load_kube_config(path, client_configuration=settings, persist_config=False)
    except (ConfigException, OSError, yaml.YAMLError, KeyError, TypeError) as exc:
        raise PolydistillError(
            f"no Kubernetes cluster to ask: {_one_line(exc)}; `kubectl config current-context` shows which one "
            f"kubectl asks, and KUBECONFIG names the file"
        ) from exc
    settings.retries = False  # whoever asks knows whether, and for how long, to ask again
    return ApiClient(settings)


class Kube:
    """The requests that polydistill makes."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._apps = AppsV1Api(client)
        self._core = CoreV1Api(client)
        self._custom = CustomObjectsApi(client)

    @classmethod
    def connect(cls) -> Self:
        """Return what asks the cluster of `api_client`."""
        return cls(api_client())

    def deployment(self, namespace: str, name: str) -> Object:
        """Return a Deployment.

        Raises:
            PolydistillError: If there is none, or it may not be read.
        """
        call = self._apps.read_namespaced_deployment
        return self._object("get", f"deployments.apps/{name}", namespace, call, name, namespace)

    def change(
        self, namespace: str, name: str, patch_for: Callable[[Object], Object | None], pause_s: float = 0.01
    ) -> Object:
        """Change a Deployment by the strategic merge patch that `patch_for` makes from its latest state.

        Args:
            namespace: Where the Deployment is.
            name: Its name.
            patch_for: Called again with the newer state where somebody else was faster; None changes nothing.
            pause_s: Seconds to the next try, then.

        Returns:
            The Deployment after the change.

        Raises:
            PolydistillError: If it cannot be read or changed.
        """
        for _ in range(_MOST_CONFLICTS):
            found = self.deployment(namespace, name)
            patch = patch_for(found)
            if patch is None:
                return found
            version = {"resourceVersion": found["metadata"]["resourceVersion"]}
            patch = {**patch, "metadata": {**patch.get("metadata", {}), **version}}
            call = self._apps.patch_namespaced_deployment
            try:
                return self._object("patch", f"deployments.apps/{name}", namespace, call, name, namespace, patch)
            except _ConflictError:
                time.sleep(pause_s)
        raise UnreachableError(f"the Deployment {namespace}/{name} is changed by others all the time; try again")

    def pods(self, namespace: str, deployment: Object) -> list[Object]:
        """Return the pods that a Deployment selects, of all its revisions."""
        labels = deployment["spec"]["selector"].get("matchLabels", {})
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        call = self._core.list_namespaced_pod
        found = self._object("list", "pods", namespace, call, namespace, label_selector=selector)
        return list(found["items"])

    def warnings(self, namespace: str) -> list[Object]:
        """Return the events of a namespace that warn, the oldest first."""
        call = self._core.list_namespaced_event
        found = self._object("list", "events", namespace, call, namespace, field_selector="type=Warning")
        return sorted(found["items"], key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")

    def log(self, namespace: str, pod: str, container: str, *, previous: bool, lines: int) -> list[str]:
        """Return the last lines that a container wrote, now or before its last restart."""
        call = self._core.read_namespaced_pod_log
        wanted = {"container": container, "previous": previous, "tail_lines": lines}
        response = self._response("get", "pods/log", namespace, call, pod, namespace, **wanted)
        return response.decode("utf-8", errors="replace").splitlines()

    def workflows(self, namespace: str, selector: str) -> list[Object]:
        """Return the Workflows of Argo, by which Kubeflow runs pipelines, that have the labels of a selector.

        Raises:
            PolydistillError: If they may not be listed, or the cluster knows no Workflows.
        """
        call, kind = self._custom.list_namespaced_custom_object, ("argoproj.io", "v1alpha1", namespace, "workflows")
        found = self._object("list", "workflows.argoproj.io", namespace, call, *kind, label_selector=selector)
        return list(found["items"])

    def _object(
        self, verb: str, what: str, namespace: str, call: Callable[..., Any], *given: Any, **named: Any
    ) -> Object:
        body = self._response(verb, what, namespace, call, *given, **named)
        try:
            content: Object = json.loads(body)
            return content
        except ValueError as exc:
            raise UnreachableError(
                f"{self._host()} is no API server of Kubernetes: it answers {_one_line(body[:80])!r}"
            ) from exc

    def _response(
        self, verb: str, what: str, namespace: str, call: Callable[..., Any], *given: Any, **named: Any
    ) -> bytes:
        timeouts = (_CONNECT_WITHIN_S, _ANSWER_WITHIN_S)
        try:
            response = call(*given, **named, _preload_content=False, _request_timeout=timeouts)
            return bytes(response.data)
        except ApiException as exc:
            raise self._explained(exc, verb, what, namespace) from exc
        except urllib3.exceptions.HTTPError as exc:
            raise self._unreachable(_one_line(exc)) from exc

    def _explained(self, exc: ApiException, verb: str, what: str, namespace: str) -> PolydistillError:
        said = _said(exc)
        if exc.status == 401:
            return PolydistillError(
                f"{self._host()} does not know who asks (401): the token is wrong or has expired; "
                f"`kubectl auth whoami` shows whom the cluster sees"
            )
        if exc.status == 403:
            return PolydistillError(
                f"not allowed to {verb} {what} in namespace {namespace}: {said}; "
                f"`{_can_i(verb, what, namespace, said)}` shows it, the Role in manifests/ grants it"
            )
        if exc.status == 404 and verb == "list":
            return PolydistillError(f"the cluster has no {what}; `kubectl api-resources` shows what it has")
        if exc.status == 404:
            return PolydistillError(
                f"there is no {what} in namespace {namespace}; apply the manifests, or correct the name under "
                f"`cluster` in params.yaml; `kubectl get {what.partition('/')[0]} --namespace {namespace}` "
                f"shows what there is"
            )
        if exc.status == 409:
            return _ConflictError(said)
        if exc.status in (0, 429) or exc.status >= 500:
            return self._unreachable(f"{exc.status} {said}" if exc.status else said)
        return PolydistillError(f"the cluster refuses to {verb} {what} in namespace {namespace} ({exc.status}): {said}")

    def _unreachable(self, why: str) -> UnreachableError:
        return UnreachableError(
            f"the Kubernetes cluster at {self._host()} does not answer: {why}; `kubectl cluster-info` shows whether "
            f"it can be reached"
        )

    def _host(self) -> str:
        return str(self._client.configuration.host)


def replicas(deployment: Object) -> int:
    """Return how many pods a Deployment is asked to have."""
    return int(deployment["spec"].get("replicas", 1))


def ready_pods(deployment: Object) -> int:
    """Return how many pods of a Deployment are ready."""
    return int(deployment.get("status", {}).get("readyReplicas", 0))


def is_rolled_out(deployment: Object) -> bool:
    """Say whether all pods that a Deployment is asked to have are of its latest form and available, and no others are.

    The rule of `kubectl rollout status`.
    """
    status = deployment.get("status", {})
    wanted, updated = replicas(deployment), status.get("updatedReplicas", 0)
    return (
        is_observed(deployment)
        and updated >= wanted
        and status.get("replicas", 0) <= updated
        and status.get("availableReplicas", 0) >= updated
    )


def is_observed(deployment: Object) -> bool:
    """Say whether the status of a Deployment is about its latest form."""
    return bool(deployment.get("status", {}).get("observedGeneration", 0) >= deployment["metadata"]["generation"])


def has_ended(pod: Object) -> bool:
    """Say whether a pod answers nobody any more, as one that was evicted."""
    return pod.get("status", {}).get("phase") in ("Failed", "Succeeded")


def conditions(of: Object) -> dict[str, Object]:
    """Return the conditions of an object by their types."""
    return {condition["type"]: condition for condition in of.get("status", {}).get("conditions") or ()}


def annotations(of: Object) -> Mapping[str, str]:
    """Return the annotations of an object, or of a pod template."""
    return of.get("metadata", {}).get("annotations") or {}


def bulleted(lines: Sequence[str]) -> str:
    """Return the lines as a list below what is said."""
    return "".join(f"\n  - {line}" for line in lines)


def _can_i(verb: str, what: str, namespace: str, said: str) -> str:
    kind, _, rest = what.partition("/")
    asked = f"{kind} --subresource={rest}" if kind == "pods" and rest else what
    who = re.search(r'User "([^"]+)"', said)
    return f"kubectl auth can-i {verb} {asked} --namespace {namespace}" + (f" --as {who.group(1)}" if who else "")


def _said(exc: ApiException) -> str:
    """Return the message of the Status that the server sent, or what else it said."""
    body = exc.body.decode("utf-8", errors="replace") if isinstance(exc.body, bytes) else exc.body or ""
    try:
        return _one_line(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return _one_line(body[:200] or exc.reason)


def _one_line(said: object) -> str:
    return " ".join((said.decode("utf-8", errors="replace") if isinstance(said, bytes) else str(said)).split())
