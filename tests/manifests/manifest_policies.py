"""What manifests must hold to: each policy is a function that says, of the objects of an overlay, what breaks it."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from kustomized import Object, Pod, named, of_kind, pods, selects

from polydistill import __version__

Policy = Callable[[list[Object]], Iterator[str]]

OURS, KUBEFLOW = "polydistill", "kubeflow"
CLUSTER_WIDE = {"Namespace", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
# What is not ours to make: the account that Kubeflow runs pods under, and the secrets that a person makes.
ACCOUNT_OF_RUNS = (KUBEFLOW, "pipeline-runner")
MADE_BY_A_PERSON = {"serving-tls", "serving-password"}
SECRETS = {"polydistill-storage", "polydistill-teacher", "polydistill-hub"}
OF_THE_REGISTRY = "polydistill-registry"

_ALLOWED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
_UNITS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


def restricted(objects: list[Object]) -> Iterator[str]:
    """Pods pass the Pod Security Standard `restricted`, rule by rule.

    Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    for pod in pods(objects):
        spec, security = pod.spec, pod.spec.get("securityContext", {})
        for sharing in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(sharing):
                yield f"{pod.name}: {sharing}"
        for volume in spec.get("volumes", []):
            if not volume.keys() - {"name"} <= _ALLOWED_VOLUMES:
                yield f"{pod.name}: volume {volume['name']} is of a kind that is not allowed"
        for part in ("sysctls", "seLinuxOptions", "windowsOptions", "appArmorProfile"):
            if part in security:
                yield f"{pod.name}: {part}"
        for container in pod.containers:
            where, own = f"{pod.name}/{container['name']}", container.get("securityContext", {})
            if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
                yield f"{where}: may escalate its privileges"
            capabilities = own.get("capabilities", {})
            if capabilities.get("drop") != ["ALL"] or not set(capabilities.get("add", ())) <= {"NET_BIND_SERVICE"}:
                yield f"{where}: keeps capabilities"
            if not own.get("runAsNonRoot", security.get("runAsNonRoot")):
                yield f"{where}: may run as root"
            if own.get("runAsUser", security.get("runAsUser")) == 0:
                yield f"{where}: runs as root"
            profile = own.get("seccompProfile", security.get("seccompProfile", {})).get("type")
            if profile not in {"RuntimeDefault", "Localhost"}:
                yield f"{where}: no seccomp profile"
            if own.get("procMount", "Default") != "Default" or own.keys() & {"seLinuxOptions", "windowsOptions"}:
                yield f"{where}: an option that is not allowed"
            if any("hostPort" in port for port in container.get("ports", [])):
                yield f"{where}: takes a port of the node"
            if any("host" in action for action in _actions(container)):
                yield f"{where}: a probe of another host"


def _actions(container: Object) -> list[Object]:
    """Return what its probes and hooks do."""
    probes = [container.get(probe, {}) for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    hooks = [*probes, *container.get("lifecycle", {}).values()]
    return [action for hook in hooks for action in hook.values() if isinstance(action, dict)]


def confined(objects: list[Object]) -> Iterator[str]:
    """Beyond the standard: a root file system that cannot be written, a known user, no token that is not needed."""
    bound = {
        (subject["namespace"], subject["name"])
        for binding in of_kind(objects, "RoleBinding")
        for subject in binding["subjects"]
    }
    for pod in pods(objects):
        security = pod.spec.get("securityContext", {})
        if [security.get(key) for key in ("runAsUser", "runAsGroup", "fsGroup")] != [10001] * 3:
            yield f"{pod.name}: another user than the images are made for"
        if pod.spec.get("enableServiceLinks") is not False:
            yield f"{pod.name}: variables of every Service, which programs take for their own"
        needs_token = (pod.namespace, pod.spec["serviceAccountName"]) in bound
        if pod.spec.get("automountServiceAccountToken") is not needs_token:
            yield f"{pod.name}: {'no' if needs_token else 'a needless'} token for the API server"
        for container in pod.containers:
            if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
                yield f"{pod.name}/{container['name']}: its root file system can be written"


def resourced(objects: list[Object]) -> Iterator[str]:
    """Every container says what it needs and what it may take; what it writes fits into that."""
    for pod in pods(objects):
        on_disk = 0.0
        for volume in pod.spec.get("volumes", []):
            if "emptyDir" in volume:
                if "sizeLimit" not in volume["emptyDir"]:
                    yield f"{pod.name}: volume {volume['name']} has no limit"
                    continue
                size, is_memory = _amount(volume["emptyDir"]["sizeLimit"]), "medium" in volume["emptyDir"]
                on_disk += 0 if is_memory else size
                memory = max(_amount(_resources(c, "limits").get("memory", "0")) for c in pod.containers)
                if is_memory and size > memory / 2:
                    yield f"{pod.name}: volume {volume['name']} may take more than half of the memory"
        for container in pod.containers:
            where = f"{pod.name}/{container['name']}"
            requests, limits = (_resources(container, part) for part in ("requests", "limits"))
            for what in ("cpu", "memory", "ephemeral-storage"):
                if what not in requests or what not in limits:
                    yield f"{where}: {what} has no request or no limit"
                elif _amount(requests[what]) > _amount(limits[what]):
                    yield f"{where}: more {what} is requested than allowed"
            if requests.get("nvidia.com/gpu") != limits.get("nvidia.com/gpu"):
                yield f"{where}: requests and limits of GPUs differ"
        if on_disk > _disk_of(pod):
            yield f"{pod.name}: its volumes hold more than the pod may write before it is evicted"


def _resources(container: Object, part: str) -> dict[str, Any]:
    return container.get("resources", {}).get(part, {})


def _disk_of(pod: Pod) -> float:
    """Return what a pod may write: its containers together or, if more, an init container."""
    limits = {c["name"]: _amount(_resources(c, "limits").get("ephemeral-storage", "0")) for c in pod.containers}
    first = [c["name"] for c in pod.spec.get("initContainers", []) if "restartPolicy" not in c]
    return max([sum(limit for name, limit in limits.items() if name not in first), *(limits[name] for name in first)])


def _amount(quantity: str | int) -> float:
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(quantity)).groups()
    return float(number) * _UNITS[unit]


def probed(objects: list[Object]) -> Iterator[str]:
    """Servers say whether they live and are ready; jobs end."""
    for pod in pods(objects):
        if pod.owner["kind"] == "CronJob":
            job, spec = pod.owner["spec"]["jobTemplate"]["spec"], pod.owner["spec"]
            if not job.keys() >= {"activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"}:
                yield f"{pod.name}: its jobs may run, fail or stay for ever"
            if spec.get("concurrencyPolicy") != "Forbid" or "timeZone" not in spec:
                yield f"{pod.name}: two at once, or at a time that nobody named"
            continue
        for container in pod.spec["containers"]:
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if container.get(probe, {}).get("httpGet", {}).get("port") not in pod.ports:
                    yield f"{pod.name}/{container['name']}: no {probe} of a port that it has"


def pinned(objects: list[Object]) -> Iterator[str]:
    """No image without a tag or with one that moves."""
    for pod in pods(objects):
        for container in pod.containers:
            if container["image"].rpartition("/")[2].partition(":")[2] != __version__:
                yield f"{pod.name}/{container['name']}: image {container['image']}"
            if container.get("imagePullPolicy") != "IfNotPresent":
                yield f"{pod.name}/{container['name']}: pulls an image that cannot have changed"


def secretive(objects: list[Object]) -> Iterator[str]:
    """No secret stands in a manifest."""
    told = re.compile(r"KEY|TOKEN|PASSWORD|SECRET|CREDENTIAL", re.IGNORECASE)
    looks = re.compile(r"hf_\w{20,}|AKIA[A-Z0-9]{16}|-----BEGIN|sk-\w{20,}")
    for found in objects:
        if found["kind"] == "Secret":
            yield f"{named(found)}: a secret in a manifest"
        if looks.search(str(found)):
            yield f"{named(found)}: holds what looks like a secret"
        if found["kind"] == "ConfigMap":
            yield from (f"{named(found)}: {key}" for key in found["data"] if told.search(key))
    for pod in pods(objects):
        for container in pod.containers:
            for variable in container.get("env", []):
                if "value" in variable and told.search(variable["name"]):
                    yield f"{pod.name}/{container['name']}: {variable['name']} in clear"


def least_privileged(objects: list[Object]) -> Iterator[str]:
    """Roles name verbs and things, and those they are for; in the namespace of runs they only list."""
    roles = {(role["metadata"]["namespace"], role["metadata"]["name"]) for role in of_kind(objects, "Role")}
    for found in of_kind(objects, "ClusterRole", "ClusterRoleBinding"):
        yield f"{named(found)}: reaches beyond the namespace"
    for role in of_kind(objects, "Role"):
        for rule in role["rules"]:
            if "*" in {*rule["verbs"], *rule["resources"], *rule["apiGroups"]}:
                yield f"{named(role)}: a wildcard"
            changes = set(rule["verbs"]) - {"get", "list"}
            if changes and not rule.get("resourceNames"):
                yield f"{named(role)}: may {', '.join(sorted(changes))} whatever there is"
            if role["metadata"]["namespace"] != OURS and set(rule["verbs"]) != {"list"}:
                yield f"{named(role)}: may do more than list what is Kubeflow's"
            if {"secrets", "pods/exec", "roles", "rolebindings", "serviceaccounts/token"} & set(rule["resources"]):
                yield f"{named(role)}: may take what is not its own"
    for binding in of_kind(objects, "RoleBinding"):
        if (binding["metadata"]["namespace"], binding["roleRef"]["name"]) not in roles:
            yield f"{named(binding)}: no such Role"
        for subject in binding["subjects"]:
            if (subject["namespace"], subject["name"]) not in {*_accounts(objects), ACCOUNT_OF_RUNS}:
                yield f"{named(binding)}: no such account"


def _accounts(objects: list[Object]) -> set[tuple[str, str]]:
    found = of_kind(objects, "ServiceAccount")
    return {(account["metadata"]["namespace"], account["metadata"]["name"]) for account in found}


def accounted(objects: list[Object]) -> Iterator[str]:
    """Each workload has an account of its own, which is there."""
    seen: set[str] = set()
    for pod in pods(objects):
        name = pod.spec.get("serviceAccountName", "default")
        if (pod.namespace, name) not in _accounts(objects):
            yield f"{pod.name}: no such account as {name}"
        if name in seen:
            yield f"{pod.name}: shares the account {name}"
        seen.add(name)


def served(objects: list[Object]) -> Iterator[str]:
    """Every Service, and whatever stands before one, leads to a port of some pod."""
    services = {service["metadata"]["name"]: service for service in of_kind(objects, "Service")}
    for service in services.values():
        chosen = [pod for pod in pods(objects) if selects({"matchLabels": service["spec"]["selector"]}, pod.labels)]
        if len(chosen) != 1:
            yield f"{named(service)}: selects pods of {len(chosen)} workloads"
        for port in service["spec"]["ports"]:
            if any(port["targetPort"] not in pod.ports for pod in chosen):
                yield f"{named(service)}: no port {port['targetPort']}"
    for ingress in of_kind(objects, "Ingress"):
        encrypted = {host for tls in ingress["spec"].get("tls", []) for host in tls["hosts"]}
        if not any(note.endswith("/auth-secret") for note in ingress["metadata"].get("annotations", {})):
            yield f"{named(ingress)}: asks for no password"
        for rule in ingress["spec"]["rules"]:
            if rule["host"] not in encrypted:
                yield f"{named(ingress)}: {rule['host']} without TLS"
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                if backend["port"]["name"] not in _port_names(services.get(backend["name"], {})):
                    yield f"{named(ingress)}: no port {backend['port']['name']} of Service {backend['name']}"
                if path["pathType"] != "Exact":
                    yield f"{named(ingress)}: {path['path']} opens what is below it too"
    for monitor in of_kind(objects, "ServiceMonitor"):
        chosen = [s for s in services.values() if selects(monitor["spec"]["selector"], s["metadata"]["labels"])]
        if not chosen or any(end["port"] not in _port_names(s) for s in chosen for end in monitor["spec"]["endpoints"]):
            yield f"{named(monitor)}: no such port of a Service"


def _port_names(service: Object) -> set[str]:
    return {port["name"] for port in service.get("spec", {}).get("ports", [])}


def referring(objects: list[Object]) -> Iterator[str]:
    """Whatever a pod refers to is there, or it is optional; every variable in its arguments has a value."""
    there = {(found["kind"], found["metadata"].get("namespace"), found["metadata"]["name"]): found for found in objects}
    for pod in pods(objects):
        mountable = {volume["name"] for volume in pod.spec.get("volumes", [])}
        for volume in pod.spec.get("volumes", []):
            claim, config = volume.get("persistentVolumeClaim"), volume.get("configMap")
            if claim and ("PersistentVolumeClaim", pod.namespace, claim["claimName"]) not in there:
                yield f"{pod.name}: no PersistentVolumeClaim {claim['claimName']}"
            if config and ("ConfigMap", pod.namespace, config["name"]) not in there:
                yield f"{pod.name}: no ConfigMap {config['name']}"
            if "secret" in volume and not volume["secret"].get("optional"):
                yield f"{pod.name}: cannot start without Secret {volume['secret']['secretName']}"
        for container in pod.containers:
            where, variables = f"{pod.name}/{container['name']}", set[str]()
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in mountable:
                    yield f"{where}: no volume {mount['name']}"
            for source in container.get("envFrom", []):
                if "secretRef" in source:
                    yield from _secret(where, source["secretRef"])
                else:
                    found = there.get(("ConfigMap", pod.namespace, source["configMapRef"]["name"]))
                    if found is None:
                        yield f"{where}: no ConfigMap {source['configMapRef']['name']}"
                    else:
                        variables |= found["data"].keys()
            for variable in container.get("env", []):
                variables.add(variable["name"])
                if "valueFrom" in variable:
                    yield from _secret(where, variable["valueFrom"]["secretKeyRef"])
            for argument in (*container["command"], *container["args"]):
                for name in re.findall(r"\$\((\w+)\)", argument):
                    if name not in variables:
                        yield f"{where}: ${name} has no value"
    for found in [*of_kind(objects, "ServiceAccount"), *(pod.spec for pod in pods(objects))]:
        if any(secret["name"] != OF_THE_REGISTRY for secret in found.get("imagePullSecrets", [])):
            yield f"{found.get('metadata', found)}: nobody is told of what it pulls with"
    for ingress in of_kind(objects, "Ingress"):
        notes = ingress["metadata"].get("annotations", {})
        secrets = {tls["secretName"] for tls in ingress["spec"].get("tls", [])}
        secrets |= {value for note, value in notes.items() if note.endswith("/auth-secret")}
        yield from (f"{named(ingress)}: no Secret {name}" for name in secrets - MADE_BY_A_PERSON)


def _secret(where: str, reference: Object) -> Iterator[str]:
    if reference["name"] not in SECRETS:
        yield f"{where}: nobody is told of Secret {reference['name']}"
    if not reference.get("optional"):
        yield f"{where}: cannot start without Secret {reference['name']}"


def fenced(objects: list[Object]) -> Iterator[str]:
    """All traffic is denied but what a policy names; every policy is about pods that are there, and ports they have."""
    everywhere = of_kind(objects, "NetworkPolicy")
    policies = [found for found in everywhere if found["metadata"]["namespace"] == OURS]
    everything: Object = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    if all(policy["spec"] != everything for policy in policies):
        yield "nothing denies all that is not allowed"
    for policy in everywhere:
        for rule in policy["spec"].get("ingress", []):
            if not rule.get("from") or {} in rule["from"]:
                yield f"{named(policy)}: lets in everybody"
            if not rule.get("ports") or any("port" not in port for port in rule["ports"]):
                yield f"{named(policy)}: lets in on every port"
    for policy in policies:
        chosen = [pod for pod in pods(objects) if selects(policy["spec"]["podSelector"], pod.labels)]
        if not chosen:
            yield f"{named(policy)}: selects no pod"
        for rule in policy["spec"].get("ingress", []):
            for number in [port["port"] for port in rule.get("ports", []) if "port" in port]:
                if not any(number in pod.ports.values() for pod in chosen):
                    yield f"{named(policy)}: no pod has port {number}"
        for rule in policy["spec"].get("egress", []):
            if not rule.get("ports"):
                yield f"{named(policy)}: lets out to every port"
    for pod in pods(objects):
        if not any(
            policy["spec"]["podSelector"] and selects(policy["spec"]["podSelector"], pod.labels) for policy in policies
        ):
            yield f"{pod.name}: no NetworkPolicy says whom it may talk to"


def scalable(objects: list[Object]) -> Iterator[str]:
    """Autoscalers and disruption budgets are about workloads that are there."""
    deployments = {found["metadata"]["name"]: found for found in of_kind(objects, "Deployment")}
    containers = {pod.owner["metadata"]["name"]: {c["name"] for c in pod.containers} for pod in pods(objects)}
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        spec, target = scaler["spec"], scaler["spec"]["scaleTargetRef"]["name"]
        if target not in deployments:
            yield f"{named(scaler)}: no Deployment {target}"
        elif "replicas" in deployments[target]["spec"]:
            yield f"{named(scaler)}: each apply undoes it, since Deployment {target} says how many"
        for metric in spec["metrics"]:
            if metric["containerResource"]["container"] not in containers.get(target, set()):
                yield f"{named(scaler)}: no such container"
        if not 1 <= spec["minReplicas"] <= spec["maxReplicas"]:
            yield f"{named(scaler)}: from {spec['minReplicas']} to {spec['maxReplicas']}"
    for budget in of_kind(objects, "PodDisruptionBudget"):
        if not any(selects(budget["spec"]["selector"], pod.labels) for pod in pods(objects)):
            yield f"{named(budget)}: selects no pod"
        if budget["spec"].get("maxUnavailable") != 1:
            yield f"{named(budget)}: a node with one pod could never be drained"
    for deployment in deployments.values():
        if not selects(deployment["spec"]["selector"], deployment["spec"]["template"]["metadata"]["labels"]):
            yield f"{named(deployment)}: does not select its own pods"


def placed(objects: list[Object]) -> Iterator[str]:
    """Everything stands in our namespace, which holds pods to the standard; in Kubeflow's only what is about runs."""
    for found in objects:
        namespace = found["metadata"].get("namespace")
        in_kubeflow = {"PersistentVolumeClaim", "NetworkPolicy", "Role", "RoleBinding"}
        if found["kind"] in CLUSTER_WIDE:
            allowed = namespace is None
        else:
            allowed = namespace == OURS or (namespace == KUBEFLOW and found["kind"] in in_kubeflow)
        if not allowed:
            yield f"{named(found)}: in namespace {namespace}"
    (namespace,) = of_kind(objects, "Namespace")
    labels = namespace["metadata"]["labels"]
    if namespace["metadata"]["name"] != OURS or labels.get("pod-security.kubernetes.io/enforce") != "restricted":
        yield f"{named(namespace)}: enforces no standard"


def idle(objects: list[Object]) -> Iterator[str]:
    """A teacher costs nothing until a run wants it, and no second one starts beside it."""
    for pod in pods(objects):
        if pod.owner["metadata"]["name"] == "teacher":
            if pod.owner["spec"].get("replicas") != 0:
                yield f"{pod.name}: starts by itself"
            if pod.owner["spec"]["strategy"] != {"type": "Recreate"}:
                yield f"{pod.name}: starts a second one before it ends the first"
        elif any("nvidia.com/gpu" in _resources(container, "limits") for container in pod.containers):
            yield f"{pod.name}: holds a GPU"


def applicable(objects: list[Object]) -> Iterator[str]:
    """No manifest names a field that runs set, so that applying again undoes nothing."""
    for pod in pods(objects):
        template = pod.owner["spec"].get("template", {"metadata": {}})
        for metadata in (pod.owner["metadata"], template["metadata"]):
            notes = [note for note in metadata.get("annotations", {}) if note.startswith("polydistill.dev/")]
            yield from (f"{pod.name}: {note} is for runs to set" for note in notes)
        for container in pod.containers:
            variables = {variable["name"] for variable in container.get("env", [])} & {"BENTO_URL", "BENTO_DIGEST"}
            yield from (f"{pod.name}/{container['name']}: {name} is for runs to set" for name in variables)


POLICIES: list[Policy] = [
    restricted, confined, resourced, probed, pinned, secretive, least_privileged, accounted, served, referring, fenced,
    scalable, placed, idle, applicable,
]  # fmt: skip
