"""Every overlay holds to every policy, and every policy notices where one does not."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import manifest_policies as must
import pytest
import yaml
from kustomized import KUBERNETES, MANIFESTS, OVERLAYS, Object, built, built_with, of_kind, one, pods
from manifest_policies import POLICIES, Policy

from polydistill import __version__
from polydistill.cluster import kube, placement

Change = Callable[[list[Object]], Any]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_overlay_holds_to_it(overlay: str, policy: Policy) -> None:
    assert list(policy(built(overlay))) == []


def pod(objects: list[Object], kind: str = "Deployment", name: str = "serving") -> Object:
    """Return the spec of its pods."""
    (found,) = (pod.spec for pod in pods(objects) if pod.name == f"{kind} {name}")
    return found


def idle_pod(objects: list[Object]) -> Object:
    """Return the spec of the pod that lets go of the teacher."""
    return pod(objects, "CronJob", "teacher-idle")


def container(objects: list[Object], name: str) -> Object:
    """Return the container of that name."""
    (found,) = (c for pod in pods(objects) for c in pod.containers if c["name"] == name)
    return found


def confined(objects: list[Object], name: str) -> Object:
    """Return the security context of that container."""
    return container(objects, name)["securityContext"]


def spec(objects: list[Object], kind: str, name: str) -> Object:
    """Return the spec of that object."""
    return one(objects, kind, name)["spec"]


def rules(objects: list[Object]) -> list[Object]:
    """Return what the Role of runs allows."""
    return one(objects, "Role", "pipeline-runner")["rules"]


def without(objects: list[Object], kind: str, name: str) -> None:
    """Take that object away."""
    objects.remove(one(objects, kind, name))


BROKEN: list[tuple[Policy, str, Change]] = [
    (must.restricted, "hostNetwork", lambda o: pod(o).update(hostNetwork=True)),
    (must.restricted, "volume", lambda o: pod(o)["volumes"].append({"name": "node", "hostPath": {"path": "/"}})),
    (must.restricted, "sysctls", lambda o: pod(o)["securityContext"].update(sysctls=[{"name": "a", "value": "1"}])),
    (must.restricted, "escalate", lambda o: confined(o, "vllm").pop("allowPrivilegeEscalation")),
    (must.restricted, "escalate", lambda o: confined(o, "vllm").update(privileged=True)),
    (must.restricted, "capabilities", lambda o: confined(o, "ship-traffic").pop("capabilities")),
    (must.restricted, "capabilities", lambda o: confined(o, "vllm")["capabilities"].update(add=["SYS_ADMIN"])),
    (must.restricted, "as root", lambda o: pod(o)["securityContext"].pop("runAsNonRoot")),
    (must.restricted, "as root", lambda o: confined(o, "fetch-bento").update(runAsNonRoot=False)),
    (must.restricted, "runs as root", lambda o: confined(o, "monitor").update(runAsUser=0)),
    (must.restricted, "seccomp", lambda o: pod(o)["securityContext"].pop("seccompProfile")),
    (must.restricted, "seccomp", lambda o: confined(o, "vllm").update(seccompProfile={"type": "Unconfined"})),
    (must.restricted, "not allowed", lambda o: confined(o, "vllm").update(procMount="Unmasked")),
    (must.restricted, "port of the node", lambda o: container(o, "vllm")["ports"][0].update(hostPort=8000)),
    (
        must.restricted,
        "another host",
        lambda o: container(o, "vllm")["livenessProbe"]["httpGet"].update(host="10.0.0.1"),
    ),
    (must.confined, "another user", lambda o: pod(o)["securityContext"].update(runAsUser=1000)),
    (must.confined, "every Service", lambda o: pod(o).pop("enableServiceLinks")),
    (must.confined, "needless token", lambda o: pod(o).update(automountServiceAccountToken=True)),
    (
        must.confined,
        "no token",
        lambda o: idle_pod(o).update(automountServiceAccountToken=False),
    ),
    (must.confined, "root file system", lambda o: confined(o, "serving").pop("readOnlyRootFilesystem")),
    (must.resourced, "no request", lambda o: container(o, "vllm")["resources"]["requests"].pop("memory")),
    (must.resourced, "no limit", lambda o: container(o, "vllm")["resources"]["limits"].pop("ephemeral-storage")),
    (must.resourced, "than allowed", lambda o: container(o, "vllm")["resources"]["requests"].update(cpu="500")),
    (must.resourced, "GPUs differ", lambda o: container(o, "vllm")["resources"]["requests"].pop("nvidia.com/gpu")),
    (must.resourced, "has no limit", lambda o: pod(o)["volumes"][0].update(emptyDir={})),
    (must.resourced, "evicted", lambda o: pod(o)["volumes"][0]["emptyDir"].update(sizeLimit="50Gi")),
    (
        must.resourced,
        "half of the memory",
        lambda o: pod(o, name="teacher")["volumes"][1]["emptyDir"].update(sizeLimit="40Gi"),
    ),
    (must.probed, "no startupProbe", lambda o: container(o, "vllm").pop("startupProbe")),
    (must.probed, "port that it has", lambda o: container(o, "serving")["ports"][0].update(name="web")),
    (
        must.probed,
        "stay for ever",
        lambda o: spec(o, "CronJob", "monitor")["jobTemplate"]["spec"].pop("activeDeadlineSeconds"),
    ),
    (must.probed, "two at once", lambda o: spec(o, "CronJob", "monitor").pop("concurrencyPolicy")),
    (must.pinned, "image", lambda o: container(o, "serving").update(image="polydistill:latest")),
    (
        must.pinned,
        "image",
        lambda o: container(o, "fetch-bento").update(image="host:5000/polydistill"),
    ),
    (must.pinned, "cannot have changed", lambda o: container(o, "vllm").update(imagePullPolicy="Always")),
    (must.secretive, "a secret", lambda o: o.append({"kind": "Secret", "metadata": {"name": "a"}})),
    (must.secretive, "in clear", lambda o: container(o, "vllm")["env"][0].update(value="a")),
    (must.secretive, "looks like", lambda o: container(o, "vllm")["args"].append("hf_" + "a" * 30)),
    (
        must.secretive,
        "AWS_SECRET_ACCESS_KEY",
        lambda o: of_kind(o, "ConfigMap")[0]["data"].update(AWS_SECRET_ACCESS_KEY="a"),
    ),
    (must.least_privileged, "wildcard", lambda o: rules(o)[1].update(verbs=["*"])),
    (must.least_privileged, "may patch", lambda o: rules(o)[0].pop("resourceNames")),
    (must.least_privileged, "not its own", lambda o: rules(o)[1]["resources"].append("secrets")),
    (must.least_privileged, "beyond", lambda o: one(o, "Role", "pipeline-runner").update(kind="ClusterRole")),
    (
        must.least_privileged,
        "what is Kubeflow's",
        lambda o: one(o, "Role", "polydistill-teacher-idle")["rules"][0]["verbs"].append("get"),
    ),
    (must.least_privileged, "no such Role", lambda o: without(o, "Role", "teacher-idle")),
    (must.least_privileged, "no such account", lambda o: without(o, "ServiceAccount", "teacher-idle")),
    (must.accounted, "no such account as default", lambda o: pod(o).pop("serviceAccountName")),
    (must.accounted, "shares", lambda o: pod(o).update(serviceAccountName="teacher")),
    (must.served, "of 0 workloads", lambda o: spec(o, "Service", "teacher")["selector"].update(a="b")),
    (must.served, "no port", lambda o: spec(o, "Service", "teacher")["ports"][0].update(targetPort="grpc")),
    (must.referring, "no PersistentVolumeClaim", lambda o: without(o, "PersistentVolumeClaim", "teacher-models")),
    (must.referring, "no ConfigMap", lambda o: without(o, "ConfigMap", "polydistill-params")),
    (must.referring, "no ConfigMap", lambda o: o.remove(of_kind(o, "ConfigMap")[0])),
    (must.referring, "no volume", lambda o: pod(o)["volumes"].pop()),
    (
        must.referring,
        "without Secret",
        lambda o: container(o, "monitor")["envFrom"][1]["secretRef"].pop("optional"),
    ),
    (
        must.referring,
        "nobody is told",
        lambda o: container(o, "vllm")["env"][0]["valueFrom"]["secretKeyRef"].update(name="token"),
    ),
    (must.referring, "$MODEL has no value", lambda o: container(o, "vllm")["envFrom"].clear()),
    (must.fenced, "nothing denies", lambda o: without(o, "NetworkPolicy", "default-deny")),
    (must.fenced, "selects no pod", lambda o: o.remove(one(o, "CronJob", "teacher-idle"))),
    (must.fenced, "no NetworkPolicy", lambda o: without(o, "NetworkPolicy", "teacher-idle")),
    (must.fenced, "everybody", lambda o: spec(o, "NetworkPolicy", "teacher")["ingress"][0].pop("from")),
    (
        must.fenced,
        "no pod has port",
        lambda o: spec(o, "NetworkPolicy", "teacher")["ingress"][0]["ports"][0].update(port=80),
    ),
    (must.fenced, "out to every port", lambda o: spec(o, "NetworkPolicy", "teacher")["egress"][0].pop("ports")),
    (must.fenced, "in on every port", lambda o: spec(o, "NetworkPolicy", "teacher")["ingress"][0].pop("ports")),
    (
        must.fenced,
        "in on every port",
        lambda o: spec(o, "NetworkPolicy", "teacher")["ingress"][0].update(ports=[{"protocol": "TCP"}]),
    ),
    (must.scalable, "no Deployment", lambda o: without(o, "Deployment", "serving")),
    (must.scalable, "each apply undoes it", lambda o: spec(o, "Deployment", "serving").update(replicas=2)),
    (must.scalable, "no such container", lambda o: container(o, "serving").update(name="server")),
    (must.scalable, "from 9 to", lambda o: spec(o, "HorizontalPodAutoscaler", "serving").update(minReplicas=9)),
    (must.scalable, "selects no pod", lambda o: without(o, "Deployment", "serving")),
    (must.scalable, "drained", lambda o: spec(o, "PodDisruptionBudget", "serving").update(maxUnavailable=0)),
    (
        must.scalable,
        "its own pods",
        lambda o: spec(o, "Deployment", "teacher")["selector"]["matchLabels"].update(a="b"),
    ),
    (must.placed, "in namespace None", lambda o: one(o, "Service", "teacher")["metadata"].pop("namespace")),
    (must.placed, "kubeflow", lambda o: one(o, "Service", "teacher")["metadata"].update(namespace="kubeflow")),
    (must.placed, "no standard", lambda o: one(o, "Namespace", "polydistill")["metadata"]["labels"].clear()),
    (must.idle, "starts by itself", lambda o: spec(o, "Deployment", "teacher").pop("replicas")),
    (
        must.idle,
        "second one",
        lambda o: spec(o, "Deployment", "teacher").update(strategy={"type": "RollingUpdate"}),
    ),
    (
        must.idle,
        "holds a GPU",
        lambda o: container(o, "serving")["resources"]["limits"].update({"nvidia.com/gpu": 1}),
    ),
    (must.applicable, "BENTO_URL", lambda o: container(o, "fetch-bento")["env"].append({"name": "BENTO_URL"})),
    (
        must.applicable,
        "holders",
        lambda o: one(o, "Deployment", "teacher")["metadata"].update(annotations={"polydistill.dev/holders": "{}"}),
    ),
]


@pytest.mark.parametrize(
    ("policy", "told", "spoil"), [pytest.param(*case, id=f"{case[0].__name__}: {case[1]}") for case in BROKEN]
)
def test_what_breaks_it_is_noticed(policy: Policy, told: str, spoil: Change) -> None:
    objects = built("gpu")
    spoil(objects)
    assert [complaint for complaint in policy(objects) if told in complaint]


PRODUCTION: list[tuple[str, Change]] = [
    ("without TLS", lambda o: spec(o, "Ingress", "serving").pop("tls")),
    ("asks for no password", lambda o: one(o, "Ingress", "serving")["metadata"].pop("annotations")),
    ("opens what is below", lambda o: ingress_path(o).update(pathType="Prefix")),
    ("no port", lambda o: ingress_path(o)["backend"]["service"].update(name="service")),
    ("no such port", lambda o: spec(o, "ServiceMonitor", "teacher")["endpoints"][0].update(port="metrics")),
    ("no such port", lambda o: spec(o, "ServiceMonitor", "teacher")["selector"]["matchLabels"].update(a="b")),
]


def ingress_path(objects: list[Object]) -> Object:
    """Return the first path of the Ingress."""
    return spec(objects, "Ingress", "serving")["rules"][0]["http"]["paths"][0]


@pytest.mark.parametrize(("told", "spoil"), PRODUCTION)
def test_what_leads_nowhere_or_is_open_is_noticed(told: str, spoil: Change) -> None:
    objects = built("production")
    spoil(objects)
    assert [complaint for complaint in must.served(objects) if told in complaint]


def test_every_policy_is_broken_once() -> None:
    assert {policy for policy, _, _ in BROKEN} == set(POLICIES)


@pytest.mark.parametrize(
    ("told", "spoil"), [("everybody", lambda rule: rule.pop("from")), ("every port", lambda rule: rule.pop("ports"))]
)
@pytest.mark.parametrize("number", [0, 1])
def test_what_opens_more_of_kubeflow_than_its_s3_is_noticed(
    number: int, told: str, spoil: Callable[[Object], Any]
) -> None:
    objects = built("local")
    policy = spec(objects, "NetworkPolicy", "seaweedfs-from-polydistill")
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"protocol": "TCP", "port": 8333}]] * 2
    spoil(policy["ingress"][number])
    assert [complaint for complaint in must.fenced(objects) if "seaweedfs" in complaint and told in complaint]


@pytest.mark.parametrize("volume", ["models", "scratch"])
def test_what_is_run_once_holds_to_it_too(volume: str, tmp_path: Path) -> None:
    once = yaml.safe_load((MANIFESTS / "once" / f"{volume}-writable.yaml").read_text(encoding="utf-8"))
    for version in KUBERNETES:
        kubernetes_validate.validate(once, version, strict=True)
    once["metadata"]["namespace"] = "kubeflow"  # by `kubectl --namespace`
    objects = [once, *built_with("gpu", "scratch", work=tmp_path)]
    for policy in (must.restricted, must.resourced, must.pinned, must.secretive, must.referring):
        assert list(policy(objects)) == []
    (container,) = once["spec"]["containers"]
    (mount,) = container["volumeMounts"]
    assert container["args"] == [f"{mount['mountPath']}/.writable"]
    assert mount["mountPath"] == {"models": placement.MODELS, "scratch": placement.SCRATCH}[volume]


def test_whatever_volume_pods_of_runs_mount_can_be_made_writable(tmp_path: Path) -> None:
    claims = of_kind(built_with("gpu", "scratch", work=tmp_path), "PersistentVolumeClaim")
    of_runs = {claim["metadata"]["name"] for claim in claims if claim["metadata"]["namespace"] == "kubeflow"}
    once = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in (MANIFESTS / "once").iterdir()]
    assert {pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] for pod in once} == of_runs


def test_what_is_run_once_takes_the_image_that_the_readme_puts_in() -> None:
    lines = (MANIFESTS / "README.md").read_text(encoding="utf-8").splitlines()
    edits = [line.strip().partition(" | ")[0] for line in lines if line.strip().startswith("sed ")]
    assert len(edits) == 2
    for edit in edits:
        pod = yaml.safe_load(subprocess.check_output(edit, shell=True, cwd=MANIFESTS.parent, text=True))
        assert pod["spec"]["containers"][0]["image"] == f"registry.example.com/team/polydistill:{__version__}"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_runs_may_do_what_the_code_does_and_no_more(overlay: str) -> None:
    table = re.findall(r"^    ([a-z, ]+?)  +(\S+)", kube.__doc__ or "", re.MULTILINE)
    asked = {(verb, what) for verbs, what in table for verb in verbs.split(", ")}
    granted = {
        (verb, f"{resource}.{rule['apiGroups'][0]}" if rule["apiGroups"] != [""] else resource)
        for rule in rules(built(overlay))
        for verb in rule["verbs"]
        for resource in rule["resources"]
    }
    assert granted == asked
    named = [rule.get("resourceNames") for rule in rules(built(overlay)) if rule["resources"] == ["deployments"]]
    assert named == [["teacher", "serving"]]


def test_a_run_that_is_over_is_let_go_of_with_less() -> None:
    (rule,) = one(built("gpu"), "Role", "teacher-idle")["rules"]
    assert rule == {
        "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["teacher"], "verbs": ["get", "patch"],
    }  # fmt: skip
    (rule,) = one(built("gpu"), "Role", "polydistill-teacher-idle")["rules"]
    assert rule == {"apiGroups": ["argoproj.io"], "resources": ["workflows"], "verbs": ["list"]}


@pytest.mark.parametrize("namespace", ["kubeflow", "team-a"])
def test_whoever_takes_the_teacher_down_may_look_at_runs_where_they_are(namespace: str, tmp_path: Path) -> None:
    objects = built("gpu") if namespace == "kubeflow" else built_with("gpu", "profile", work=tmp_path)
    assert f"--runs-namespace={namespace}" in container(objects, "release-teacher")["args"]
    binding = one(objects, "RoleBinding", "polydistill-teacher-idle")
    role = one(objects, "Role", binding["roleRef"]["name"])
    assert [found["metadata"]["namespace"] for found in (binding, role)] == [namespace, namespace]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "teacher-idle", "namespace": "polydistill"}]
    assert idle_pod(objects)["serviceAccountName"] == "teacher-idle"
