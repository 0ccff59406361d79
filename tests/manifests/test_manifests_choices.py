"""What an overlay offers behind a `#` can be taken: components, the namespace of a profile, a pull secret."""

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from kustomized import KUBERNETES, MANIFESTS, OVERLAYS, PROMETHEUS_OPERATOR, Object, built, built_with, of_kind, one
from manifest_policies import OF_THE_REGISTRY, OURS, POLICIES

PROFILE = yaml.safe_load((MANIFESTS / "components/profile/profile.yaml").read_text(encoding="utf-8"))["data"]
OF_RUNS = {"pipelines.kubeflow.org/v2_component": "true"}


def offered(overlay: str) -> list[str]:
    """Return the components that it leaves to choose."""
    text = (MANIFESTS / "overlays" / overlay / "kustomization.yaml").read_text(encoding="utf-8")
    return re.findall(r"^#- \.\./\.\./components/(\S+)$", text, re.MULTILINE)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_component_is_taken_or_offered_and_can_be_taken(overlay: str, tmp_path: Path) -> None:
    text = (MANIFESTS / "overlays" / overlay / "kustomization.yaml").read_text(encoding="utf-8")
    missing = {path.name for path in (MANIFESTS / "components").iterdir() if f"components/{path.name}\n" not in text}
    # a teacher, a registry and the Prometheus operator are what a cluster on one machine has not
    assert missing <= ({"teacher-guard", "pull-secret", "prometheus"} if overlay == "local" else set())
    objects = built_with(overlay, *(name for name in offered(overlay) if name != "profile"), work=tmp_path)
    assert len(objects) > len(built(overlay))
    assert [complaint for policy in POLICIES for complaint in policy(objects)] == []
    for found in objects:
        if found["kind"] not in PROMETHEUS_OPERATOR:
            kubernetes_validate.validate(found, KUBERNETES[0], strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_runs_can_take_place_in_the_namespace_of_a_profile(overlay: str, tmp_path: Path) -> None:
    objects = built_with(overlay, *offered(overlay), work=tmp_path)
    claims = [claim["metadata"] for claim in of_kind(objects, "PersistentVolumeClaim")]
    assert {claim["name"]: claim["namespace"] for claim in claims} == {
        "polydistill-models": PROFILE["namespace"],
        "polydistill-scratch": PROFILE["namespace"],
    } | ({} if overlay == "local" else {"teacher-models": OURS})
    assert one(objects, "RoleBinding", "pipeline-runner")["subjects"] == [
        {"kind": "ServiceAccount", "name": PROFILE["account"], "namespace": PROFILE["namespace"]}
    ]
    let_in = [
        source["namespaceSelector"]["matchLabels"]
        for policy in of_kind(objects, "NetworkPolicy")
        for rule in policy["spec"].get("ingress", [])
        for source in rule["from"]
        if source.get("podSelector", {}).get("matchLabels") == OF_RUNS
    ]
    assert let_in == [{"kubernetes.io/metadata.name": PROFILE["namespace"]}] * (1 if overlay == "local" else 2)
    assert [found for found in of_kind(objects, "ConfigMap") if found["metadata"]["name"] == "profile"] == []


@pytest.mark.parametrize("overlay", ["gpu", "production"])
def test_a_registry_can_ask_who_pulls(overlay: str, tmp_path: Path) -> None:
    accounts = of_kind(built_with(overlay, "pull-secret", work=tmp_path), "ServiceAccount")
    assert sorted(account["metadata"]["name"] for account in accounts) == [
        "monitor", "serving", "teacher", "teacher-idle",
    ]  # fmt: skip
    for account in accounts:
        assert account["imagePullSecrets"] == [{"name": OF_THE_REGISTRY}]


@pytest.mark.parametrize("overlay", ["gpu", "production"])
def test_the_overlay_itself_names_the_teacher_with_its_commit_and_its_gpus(overlay: str) -> None:
    file = MANIFESTS / "overlays" / overlay / "kustomization.yaml"
    (told,) = (
        made["literals"]
        for made in yaml.safe_load(file.read_text(encoding="utf-8"))["configMapGenerator"]
        if made["name"] == "teacher-model"
    )
    assert [literal.partition("=")[0] for literal in told] == ["MODEL", "REVISION", "GPUS"]
    (container,) = one(built(overlay), "Deployment", "teacher")["spec"]["template"]["spec"]["containers"]
    assert told[2] == f"GPUS={container['resources']['limits']['nvidia.com/gpu']}"


def test_trainings_on_several_nodes_share_their_volume_in_production_and_the_teacher_has_its_own() -> None:
    claims: list[Object] = of_kind(built("production"), "PersistentVolumeClaim")
    assert {claim["metadata"]["name"]: claim["spec"]["accessModes"] for claim in claims} == {
        "polydistill-models": ["ReadWriteMany"],
        "teacher-models": ["ReadWriteOnce"],
    }


def test_a_node_that_takes_no_pod_of_the_service_keeps_none_from_the_others() -> None:
    spread = one(built("production"), "Deployment", "serving")["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert {(each["topologyKey"], each["whenUnsatisfiable"], each["nodeTaintsPolicy"]) for each in spread} == {
        ("kubernetes.io/hostname", "DoNotSchedule", "Honor"),
        ("topology.kubernetes.io/zone", "ScheduleAnyway", "Honor"),
    }
