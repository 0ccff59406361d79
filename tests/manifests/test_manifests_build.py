"""Every overlay builds, and every object is one that each supported Kubernetes knows, to the last field."""

import functools
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils
from kustomized import (
    KUBERNETES,
    MANIFESTS,
    OVERLAYS,
    PROMETHEUS_OPERATOR,
    Object,
    built,
    built_with,
    of_kind,
    one,
    pods,
)
from manifest_policies import MADE_BY_A_PERSON, POLICIES, SECRETS

from polydistill import __version__
from polydistill.params import ServingParams, TeacherOnDemandParams, load_params

ROOT = MANIFESTS.parent
README = MANIFESTS / "README.md"
HOW_TO = ROOT / "docs/kubernetes.md"
COPY = Path("manifests", "base", "monitoring", "params.yaml")


@pytest.fixture(autouse=True)
def schemas_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utils, "schema_contents", _schema_contents)


# It reads megabytes of JSON for each object.
_schema_contents = functools.cache(utils.schema_contents)


def everything() -> list[Object]:
    """Return the objects of all overlays, the same ones once."""
    objects = [found for overlay in OVERLAYS for found in built(overlay)]
    return list({json.dumps(found, sort_keys=True): found for found in objects}.values())


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field(version: str) -> None:
    for found in everything():
        if found["kind"] not in PROMETHEUS_OPERATOR:
            kubernetes_validate.validate(found, version, strict=True)


def misspell_a_probe(deployment: Object) -> None:
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["readynessProbe"] = container.pop("readinessProbe")


def give_a_number_for_a_text(deployment: Object) -> None:
    deployment["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] = 1


def forget_the_selector(deployment: Object) -> None:
    del deployment["spec"]["selector"]


@pytest.mark.parametrize("spoil", [misspell_a_probe, give_a_number_for_a_text, forget_the_selector])
@pytest.mark.parametrize("version", [KUBERNETES[0], KUBERNETES[-1]])
def test_the_validation_is_strict(spoil: Callable[[Object], None], version: str) -> None:
    deployment = one(built("gpu"), "Deployment", "serving")
    spoil(deployment)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_two_objects_have_one_name(overlay: str) -> None:
    names = [(found["kind"], found["metadata"].get("namespace"), found["metadata"]["name"]) for found in built(overlay)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_are_those_of_this_version(overlay: str) -> None:
    images = {container["image"] for pod in pods(built(overlay)) for container in pod.containers}
    assert {image.rpartition("/")[2] for image in images} <= {
        f"polydistill:{__version__}",
        f"polydistill-generate:{__version__}",
    }


def test_the_jobs_read_the_params_at_the_root_until_a_workspace_has_its_own() -> None:
    first, _, copied = (ROOT / COPY).read_text(encoding="utf-8").partition("\n")
    assert first == "# A copy of params.yaml, made by `make manifests`."
    assert copied == (ROOT / "params.yaml").read_text(encoding="utf-8"), "run `make manifests`"


def test_make_manifests_copies_the_params(tmp_path: Path) -> None:
    (tmp_path / COPY).parent.mkdir(parents=True)
    (tmp_path / "params.yaml").write_text("monitor: {min_texts: 7}\n")
    subprocess.run(["make", "-C", str(tmp_path), "-f", str(ROOT / "Makefile"), "manifests"], check=True)
    told = "# A copy of params.yaml, made by `make manifests`.\nmonitor: {min_texts: 7}\n"
    assert (tmp_path / COPY).read_text() == told


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_jobs_can_read_the_params_of_a_workspace(overlay: str, tmp_path: Path) -> None:
    params = "# of the shop\n" + (ROOT / "params.yaml").read_text(encoding="utf-8").replace(
        "min_texts: 30", "min_texts: 31"
    )
    objects = built_with(overlay, work=tmp_path, params=params)
    config = one(objects, "ConfigMap", "polydistill-params")
    assert config["data"] == {"params.yaml": params}
    job = one(objects, "CronJob", "monitor")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert job["volumes"][0]["configMap"] == {"name": config["metadata"]["name"]}
    assert [complaint for policy in POLICIES for complaint in policy(objects)] == []


def test_an_overlay_of_ones_own_does_not_mark_images_as_changed_nor_stop_an_update(tmp_path: Path) -> None:
    def do(*command: str) -> str:
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    for name in ("Makefile", ".gitignore", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(MANIFESTS, tmp_path / "manifests", ignore=shutil.ignore_patterns("mine"))
    do("git", "init", "--quiet")
    do("git", "add", "--all")
    do("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "all")
    do("cp", "-r", "manifests/overlays/gpu", "manifests/overlays/mine")
    (tmp_path / "manifests" / "overlays" / "mine" / "params.yaml").write_text("monitor: {min_texts: 7}\n")
    assert do("git", "status", "--porcelain") == ""
    commit = do("git", "rev-parse", "HEAD").strip()
    assert f"revision={commit} " in do("make", "--dry-run", "image-core", "ENGINE=docker")


def test_the_five_commands_are_the_same_wherever_they_stand() -> None:
    told = []
    for page, heading in (("README.md", "## On a cluster"), ("docs/kubernetes.md", "## Five commands")):
        section = (ROOT / page).read_text(encoding="utf-8").split(f"{heading}\n")[1].split("\n## ")[0]
        block = re.search(r"(?:^    .+\n)+", section, re.MULTILINE)
        assert block
        told.append([line.partition("#")[0].strip() for line in block[0].splitlines()])
    assert len(told[0]) == 5 and told[0] == told[1]


def test_make_test_manifests_tests_nothing_without_kubectl_and_says_so(tmp_path: Path) -> None:
    make = [str(shutil.which("make")), "-C", str(tmp_path), "-f", str(ROOT / "Makefile"), "--assume-old=.venv/dev"]

    def tested_with(*programs: str) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / "-".join(programs)
        folder.mkdir()
        for program in programs:
            (folder / program).write_text("#!/bin/sh\necho $0 $*\n")
            (folder / program).chmod(0o755)
        env = {"PATH": str(folder)}
        return subprocess.run([*make, "test-manifests"], env=env, capture_output=True, text=True, check=False)

    done = tested_with("pytest")
    assert done.returncode != 0
    assert "kubectl is missing" in done.stderr and "install it: https://kubernetes.io/docs/tasks/tools" in done.stderr
    assert "/pytest tests/manifests" not in done.stdout
    done = tested_with("pytest", "kubectl")
    assert done.returncode == 0, done.stderr
    assert "/pytest tests/manifests" in done.stdout


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_params_that_jobs_find_are_good(overlay: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(one(built(overlay), "ConfigMap", "polydistill-params")["data"]["params.yaml"])
    assert load_params(tmp_path / "params.yaml").monitor.min_texts > 0


def test_only_what_a_cluster_may_lack_is_left_out_of_it() -> None:
    kinds = {overlay: {found["kind"] for found in built(overlay)} for overlay in OVERLAYS}
    assert kinds["local"] & PROMETHEUS_OPERATOR == kinds["gpu"] & PROMETHEUS_OPERATOR == set()
    assert kinds["production"] >= PROMETHEUS_OPERATOR | {"Ingress"}
    assert [pod.name for pod in pods(built("local"))] == ["Deployment serving", "CronJob monitor"]


def test_the_readme_names_what_a_person_has_to_make() -> None:
    told = README.read_text(encoding="utf-8")
    assert [name for name in SECRETS | MADE_BY_A_PERSON if name not in told] == []


@pytest.mark.parametrize("file", [README, HOW_TO], ids=["README", "how-to"])
def test_the_teacher_in_the_settings_is_the_one_that_is_served(file: Path) -> None:
    objects = built("gpu")
    configs = [config for config in of_kind(objects, "ConfigMap") if "MODEL" in config.get("data", {})]
    (served,) = (config["data"] for config in configs)
    teacher = _settings(file)["teacher"]
    assert (teacher["model"], teacher["revision"]) == (served["MODEL"], served["REVISION"])


def _settings(file: Path) -> dict[str, Any]:
    """Return the first block of params.yaml that a page gives."""
    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0])
    return found


def test_the_settings_that_the_readme_gives_lead_here() -> None:
    settings = _settings(README)
    cluster, objects = settings["cluster"], built("gpu")
    teacher = TeacherOnDemandParams.model_validate(cluster["teacher"])
    serving = ServingParams.model_validate(cluster["serving"])
    for params, url in ((teacher, settings["teacher"]["url"].removesuffix("/v1")), (serving, serving.url)):
        deployment = one(objects, "Deployment", params.deployment)
        assert deployment["metadata"]["namespace"] == params.namespace
        assert deployment["spec"]["progressDeadlineSeconds"] > params.ready_within_s
        service = one(objects, "Service", params.deployment)["metadata"]
        (port,) = one(objects, "Service", params.deployment)["spec"]["ports"]
        assert url == f"http://{service['name']}.{service['namespace']}:{port['port']}"
    binding = one(objects, "RoleBinding", "pipeline-runner")
    assert [subject["name"] for subject in binding["subjects"]] == [cluster["service_account"]]
    probe = one(objects, "Deployment", "teacher")["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= teacher.ready_within_s
