"""The roll-out of a bento: real services of two bentos behind a Service, an API server, and what goes wrong."""

import dataclasses
import json
import logging
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.deploy.component import deploy
from kube_server import Fate, KubeServer, crashing, deployment, kube_server, listening, never, waiting
from polydistill.cluster.challenge import winner_of
from polydistill.cluster.deploy import BEFORE, DIGEST, run_deploy, to_markdown
from polydistill.errors import DataError, PolydistillError
from polydistill.files import read_json, read_yaml, write_json
from polydistill.package import run_package
from polydistill.params import PackageParams, ServingParams, load_params, to_struct
from polydistill.serve import running
from winners import SLOVENIAN, SWAHILI, build_winner

FIRST, SECOND, THIRD = ("a" * 64, "b" * 64, "c" * 64)


@dataclass(frozen=True)
class Served:
    """A bento that a real server serves, and the winners in it."""

    url: str
    bento: Mapping[str, str]
    winners: Path


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    """Serve two bentos; the second one has a language more, and another winner in the first one."""
    with ExitStack() as stack:
        served = {}
        for digest, texts in ((FIRST, {"sl": SLOVENIAN}), (SECOND, {"sl": fewer(SLOVENIAN), "sw": SWAHILI})):
            work = tmp_path_factory.mktemp("work")
            for language, of_language in texts.items():
                build_winner(work, f"clinic/{language}", of_language)
            run_package(work / "winners", work / "cards", work / "bento", PackageParams(name="polydistill"))
            url = stack.enter_context(running(work / "bento"))
            version = read_yaml(work / "bento" / "bento.yaml")["version"]
            bento = {"url": f"s3://bucket/bentos/{digest}.tar", "digest": digest, "version": f"polydistill:{version}"}
            served[digest] = Served(url, bento, work / "winners")
        yield served


def fewer(texts: Mapping[str, Any]) -> dict[str, Any]:
    return {label: of_label[:3] for label, of_label in texts.items()}


def bento_of(digest: str) -> dict[str, str]:
    return {"url": f"s3://bucket/bentos/{digest}.tar", "digest": digest, "version": ""}


@pytest.fixture
def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeServer]:
    with kube_server() as server:
        server.add(deployment("polydistill", "serving", replicas=2, init="fetch-bento"))
        server.settle("polydistill", "serving")
        server.lag = 1
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        yield server


@pytest.fixture
def service(kube: KubeServer, services: dict[str, Served]) -> Iterator[str]:
    """Answer at an address with a bento that a pod which is ready has, as a Service of Kubernetes does."""

    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            ready = [services[d] for d in kube.variable_in_ready_pods("polydistill", "serving", "BENTO_DIGEST") if d]
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if not ready:
                return  # nobody listens
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(ready[0].url + self.path, body or None, headers, method=self.command)
            try:
                with urllib.request.urlopen(request, timeout=30) as response:
                    status, content = response.status, response.read()
            except urllib.error.HTTPError as refused:
                status, content = refused.code, refused.read()
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = forward

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    with listening(Handler) as url:
        yield url


class Cluster:
    """What a test rolls out, and what has become of it."""

    def __init__(self, kube: KubeServer, url: str, services: dict[str, Served], folder: Path) -> None:
        self.kube, self.services, self.folder = kube, services, folder
        self.params = ServingParams(namespace="polydistill", deployment="serving", url=url, ready_within_s=60)

    def roll_out(self, digest: str, winners: Path | None = None, **changes: Any) -> dict[str, Any]:
        served = self.services[digest]
        settings = {"poll_s": 0, "answer_within_s": 30} | {k: v for k, v in changes.items() if k in WAITS}
        params = self.params.model_copy(update={k: v for k, v in changes.items() if k in ServingParams.model_fields})
        bento = {**served.bento, **{k: v for k, v in changes.items() if k == "serial"}}
        return run_deploy(params, bento, winners or served.winners, self.folder / "deployed", **settings)

    def failure(self, digest: str, winners: Path | None = None, **changes: Any) -> str:
        with pytest.raises(PolydistillError) as failed:
            self.roll_out(digest, winners, **changes)
        assert not (self.folder / "deployed").exists()
        return str(failed.value)

    def spoilt(self, digest: str) -> Path:
        """Return the winners of a bento with known answers that it does not give."""
        winners = shutil.copytree(self.services[digest].winners, self.folder / "spoilt")
        known = read_json(winners / "clinic/sl/known_answers.json")
        known[0]["probability"] -= 0.01
        write_json(winners / "clinic/sl/known_answers.json", known)
        return winners

    @property
    def state(self) -> dict[str, Any]:
        """Return what the Deployment asks its pods to fetch, and whether a roll-out is under way."""
        found = self.kube.get("polydistill", "serving")
        (container,) = found["spec"]["template"]["spec"]["initContainers"]
        env = {variable["name"]: variable["value"] for variable in container["env"]}
        assert env.pop("KEPT") == "yes" and container["image"] == "image:1"
        env["noted"] = found["spec"]["template"]["metadata"].get("annotations", {}).get(DIGEST)
        env["under way"] = BEFORE in found["metadata"].get("annotations", {})
        return env


WAITS = {"poll_s", "stuck_s", "answer_within_s", "run"}


@pytest.fixture
def cluster(kube: KubeServer, service: str, services: dict[str, Served], tmp_path: Path) -> Cluster:
    return Cluster(kube, service, dict(services), tmp_path)


def serving(digest: str) -> dict[str, Any]:
    return in_env(digest) | {"noted": digest, "under way": False}


def in_env(digest: str) -> dict[str, Any]:
    return {"BENTO_URL": f"s3://bucket/bentos/{digest}.tar", "BENTO_DIGEST": digest}


def by_hand(kube: KubeServer, digest: str) -> None:
    """Do what `kubectl set env deployment/serving --containers fetch-bento BENTO_URL=… BENTO_DIGEST=…` does."""
    told = [{"name": name, "value": value} for name, value in in_env(digest).items()]
    spec = {"initContainers": [{"name": "fetch-bento", "env": told}]}
    kube.edit("polydistill", "serving", {"spec": {"template": {"spec": spec}}})
    kube.settle("polydistill", "serving")


def test_a_bento_is_rolled_out_and_answers_as_its_winners_did(cluster: Cluster, kube: KubeServer) -> None:
    facts = cluster.roll_out(FIRST)
    assert cluster.state == serving(FIRST)
    assert facts["checked"] == {"clinic/sl": 8}
    assert facts == read_json(cluster.folder / "deployed/deploy.json")
    facts = cluster.roll_out(SECOND)
    assert cluster.state == serving(SECOND)
    assert facts["checked"] == {"clinic/sl": 6, "clinic/sw": 8}
    assert kube.variable_in_ready_pods("polydistill", "serving", "BENTO_DIGEST") == [SECOND, SECOND]
    assert "| clinic/sw | 8 |" in to_markdown(facts)


def test_the_number_of_pods_is_left_to_the_autoscaler(cluster: Cluster, kube: KubeServer) -> None:
    kube.meddle = lambda: kube.edit("polydistill", "serving", {"spec": {"replicas": 5}})
    cluster.roll_out(FIRST)
    assert kube.get("polydistill", "serving")["spec"]["replicas"] == 5


def test_where_there_are_no_pods_there_will_be_one(
    cluster: Cluster, kube: KubeServer, caplog: pytest.LogCaptureFixture
) -> None:
    kube.edit("polydistill", "serving", {"spec": {"replicas": 0}})
    cluster.roll_out(FIRST)
    assert kube.get("polydistill", "serving")["spec"]["replicas"] == 1
    assert "polydistill/serving had no pods; it gets one" in caplog.text


def test_pods_of_the_old_bento_are_waited_for_till_they_are_gone(
    cluster: Cluster, kube: KubeServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    cluster.roll_out(FIRST)
    kube.lingering = 4
    cluster.roll_out(SECOND)
    assert "waiting for polydistill/serving: 2 of 2 pods are ready, and 2 older ones are still there" in caplog.text
    assert len(kube.pods_of("polydistill")) == 2


def test_what_is_served_already_is_asked_and_left(cluster: Cluster, kube: KubeServer) -> None:
    first = cluster.roll_out(FIRST)
    before = kube.get("polydistill", "serving")["spec"]
    assert cluster.roll_out(FIRST) == first
    assert kube.get("polydistill", "serving")["spec"] == before


@pytest.mark.parametrize("named", [True, False])
def test_nothing_to_roll_out_is_no_failure(cluster: Cluster, kube: KubeServer, named: bool) -> None:
    params = cluster.params if named else None
    bento = {} if named else cluster.services[FIRST].bento
    facts = run_deploy(params, bento, cluster.folder, cluster.folder / "deployed")
    assert facts["bento"] is None
    assert facts["told"] == (
        "Nothing is promoted, so what is served stays."
        if named
        else "`cluster.serving` names no Deployment, so nothing is rolled out."
    )
    assert read_json(cluster.folder / "deployed/deploy.json") == facts
    assert kube.asked == []


# Rolled back.


def test_a_bento_that_answers_otherwise_is_rolled_back(cluster: Cluster, kube: KubeServer) -> None:
    cluster.roll_out(FIRST)
    shutil.rmtree(cluster.folder / "deployed")
    said = cluster.failure(SECOND, cluster.spoilt(SECOND))
    assert "polydistill/serving: bento polydistill:" in said
    assert "is not served: clinic/sl: the service answers book" in said
    assert said.splitlines()[-1].startswith("rolled back to bento polydistill:")
    assert said.endswith(f"({FIRST[:12]}), which answers")
    assert cluster.state == serving(FIRST)
    assert kube.variable_in_ready_pods("polydistill", "serving", "BENTO_DIGEST") == [FIRST, FIRST]


@pytest.mark.parametrize(
    ("fate", "changes", "why"),
    [
        pytest.param(
            waiting("ImagePullBackOff", "no such image"), {"stuck_s": 0}, "ImagePullBackOff: no such image", id="image"
        ),
        pytest.param(
            crashing("wrong digest", restarts=3),
            {},
            "0 of 2 pods are ready, and 2 older ones are still there",
            id="crash",
        ),
        pytest.param(
            never(progress_for=3), {}, "within the progressDeadlineSeconds of the Deployment", id="progress deadline"
        ),
    ],
)
def test_a_bento_whose_pods_do_not_get_ready_is_rolled_back(
    cluster: Cluster, kube: KubeServer, fate: Fate, changes: dict[str, Any], why: str
) -> None:
    cluster.roll_out(FIRST)
    shutil.rmtree(cluster.folder / "deployed")
    kube.fates[SECOND] = fate
    said = cluster.failure(SECOND, **changes)
    assert why in said
    assert said.endswith("which answers")
    assert cluster.state == serving(FIRST)
    assert kube.variable_in_ready_pods("polydistill", "serving", "BENTO_DIGEST") == [FIRST, FIRST]


def test_a_second_try_does_not_put_before_users_what_the_first_took_back_and_another_run_may(
    cluster: Cluster, kube: KubeServer
) -> None:
    cluster.roll_out(FIRST, run="r1")
    shutil.rmtree(cluster.folder / "deployed")
    assert "which answers" in cluster.failure(SECOND, cluster.spoilt(SECOND), run="r2")
    before = kube.get("polydistill", "serving")
    assert "was rolled out by this run already, and taken back" in cluster.failure(SECOND, run="r2")
    assert kube.get("polydistill", "serving") == before
    cluster.roll_out(SECOND, run="r3")
    assert cluster.state == serving(SECOND)


def test_a_service_that_lacks_a_cell_is_rolled_back(cluster: Cluster) -> None:
    cluster.roll_out(SECOND)
    shutil.rmtree(cluster.folder / "deployed")
    said = cluster.failure(FIRST, cluster.services[SECOND].winners)
    assert "does not serve clinic/sw" in said
    assert cluster.state == serving(SECOND)


def test_a_cell_that_another_run_has_promoted_meanwhile_is_not_asked(cluster: Cluster) -> None:
    winners = shutil.copytree(cluster.services[SECOND].winners, cluster.folder / "winners")
    shutil.rmtree(winners / "clinic/sl")
    shutil.copytree(cluster.services[FIRST].winners / "clinic/sl", winners / "clinic/sl")
    assert cluster.roll_out(SECOND, winners)["checked"] == {"clinic/sw": 8}


def test_of_a_bento_of_other_runs_it_is_enough_that_it_is_ready(cluster: Cluster) -> None:
    facts = cluster.roll_out(SECOND, cluster.services[FIRST].winners)
    assert facts["checked"] == {}
    assert facts["told"].endswith("is ready; none of its winners is of this run.")
    assert cluster.state == serving(SECOND)


# Changed by hand.


def test_after_a_change_by_hand_a_failure_goes_back_to_what_a_person_chose(cluster: Cluster, kube: KubeServer) -> None:
    cluster.roll_out(FIRST, serial=1)
    cluster.roll_out(SECOND, serial=2)
    shutil.rmtree(cluster.folder / "deployed")
    by_hand(kube, FIRST)
    cluster.services[THIRD] = dataclasses.replace(cluster.services[SECOND], bento=bento_of(THIRD))
    kube.fates[THIRD] = crashing("damaged", restarts=3)
    said = cluster.failure(THIRD, serial=3)
    assert said.endswith(f"rolled back to bento of an unknown version ({FIRST[:12]}), which answers")
    assert cluster.state == serving(FIRST)


def test_what_a_person_went_back_from_is_not_rolled_out_again(cluster: Cluster, kube: KubeServer) -> None:
    cluster.roll_out(FIRST, serial=1)
    cluster.roll_out(SECOND, serial=2)
    by_hand(kube, FIRST)
    facts = cluster.roll_out(SECOND, serial=2)
    assert f"has bento of an unknown version ({FIRST[:12]}), which took the place of bento " in facts["told"]
    assert facts["told"].endswith("by hand, until another is promoted; that one stays.")
    assert cluster.state == {**in_env(FIRST), "noted": SECOND, "under way": False}


def test_what_is_promoted_later_takes_the_place_of_what_a_person_chose(cluster: Cluster, kube: KubeServer) -> None:
    cluster.roll_out(FIRST, serial=1)
    by_hand(kube, THIRD)
    cluster.roll_out(SECOND, serial=2)
    assert cluster.state == serving(SECOND)


def test_what_a_person_rolled_out_is_asked_and_noted(cluster: Cluster, kube: KubeServer) -> None:
    cluster.roll_out(FIRST, serial=1)
    by_hand(kube, SECOND)
    assert cluster.roll_out(SECOND, serial=2)["checked"] == {"clinic/sl": 6, "clinic/sw": 8}
    assert cluster.state == serving(SECOND)


def test_a_service_that_does_not_answer_is_rolled_back(cluster: Cluster) -> None:
    said = cluster.failure(FIRST, url="http://127.0.0.1:9", answer_within_s=0)
    assert "http://127.0.0.1:9/readyz does not answer: " in said
    assert "`kubectl get endpointslices --namespace polydistill` shows the pods behind it" in said


def test_a_service_of_something_else_is_named(cluster: Cluster, kube: KubeServer) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[1]")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    with listening(Other) as url:
        said = cluster.failure(FIRST, url=url)
    assert f"{url} is no service of polydistill; correct `cluster.serving.url`" in said


def test_a_service_that_keeps_the_old_version_is_told(cluster: Cluster) -> None:
    said = cluster.failure(FIRST, url=cluster.services[SECOND].url, answer_within_s=0)
    assert "serves version " in said and f"and not {cluster.services[FIRST].bento['version']}" in said


def test_the_first_that_fails_has_nothing_to_go_back_to(cluster: Cluster, kube: KubeServer) -> None:
    kube.fates[FIRST] = crashing("no such bento", restarts=3)
    said = cluster.failure(FIRST)
    assert "nothing was rolled out before, so there is nothing to go back to" in said
    assert "`kubectl get pods --namespace polydistill` shows its pods" in said
    assert cluster.state == {**serving(FIRST), "under way": True}
    del kube.fates[FIRST]
    cluster.roll_out(FIRST)
    assert cluster.state == serving(FIRST)


def test_what_the_status_says_of_an_earlier_bento_does_not_count(cluster: Cluster, kube: KubeServer) -> None:
    kube.fates[FIRST] = never(progress_for=3)
    assert "within the progressDeadlineSeconds of the Deployment" in cluster.failure(FIRST)
    cluster.roll_out(SECOND)
    assert cluster.state == serving(SECOND)


def test_a_roll_back_that_fails_is_told_too(cluster: Cluster, kube: KubeServer) -> None:
    cluster.roll_out(FIRST)
    shutil.rmtree(cluster.folder / "deployed")
    kube.edit("polydistill", "serving", {"spec": {"paused": True}})
    kube.fates[FIRST] = kube.fates[SECOND] = crashing("the node is full", restarts=3)
    said = cluster.failure(SECOND)
    assert f"({FIRST[:12]}) failed as well: " in said
    assert said.count("| the node is full") >= 2
    assert "it is paused; `kubectl rollout resume deployment/serving --namespace polydistill`" in said
    assert cluster.state == serving(FIRST)


def test_what_was_rolled_out_earlier_and_fails_now_is_left(cluster: Cluster) -> None:
    cluster.roll_out(FIRST)
    shutil.rmtree(cluster.folder / "deployed")
    said = cluster.failure(FIRST, cluster.spoilt(FIRST))
    assert "it was rolled out earlier, so nothing is changed" in said
    assert cluster.state == serving(FIRST)


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_the_patches_make_of_a_deployment_what_kubernetes_makes_of_it(cluster: Cluster, kube: KubeServer) -> None:
    before = kube.get("polydistill", "serving")
    for digest in (FIRST, SECOND):
        cluster.roll_out(digest)
    for after, patch in zip(kube.patched, kube.patches, strict=True):
        expected = patched_by_kubectl(cluster.folder / "deployment.json", before, patch)
        assert (after["spec"], after["metadata"].get("annotations")) == expected
        before = after


def patched_by_kubectl(path: Path, found: dict[str, Any], patch: dict[str, Any]) -> tuple[Any, Any]:
    """Return spec and annotations of a Deployment after a strategic merge patch."""
    write_json(path, found)
    command = ["kubectl", "patch", "--local", "-f", str(path), "--type=strategic", "-p", json.dumps(patch), "-o=json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    content = json.loads(done.stdout)
    return content["spec"], content["metadata"].get("annotations")


# Two at once, and one that is killed.


def test_a_bento_that_was_promoted_later_is_left(cluster: Cluster) -> None:
    cluster.roll_out(SECOND, serial=8)
    facts = cluster.roll_out(FIRST, serial=7)
    assert "which was promoted after bento polydistill:" in facts["told"]
    assert facts["checked"] == {}
    assert cluster.state == serving(SECOND)


def test_a_run_that_is_overtaken_leaves_the_other_alone(cluster: Cluster, kube: KubeServer) -> None:
    other = deployment_patch(SECOND)
    kube.at_look[3] = lambda: kube.edit("polydistill", "serving", other)
    kube.fates[FIRST] = never()
    facts = cluster.roll_out(FIRST)
    assert f"polydistill/serving was given bento other ({SECOND[:12]}) meanwhile" in facts["told"]
    assert cluster.kube.get("polydistill", "serving")["spec"]["template"]["metadata"]["annotations"][DIGEST] == SECOND


def deployment_patch(digest: str) -> dict[str, Any]:
    note = f'{{"url": "s3://bucket/other", "digest": "{digest}", "version": "other"}}'
    annotations = {DIGEST: digest, "polydistill.dev/bento": note}
    told = [{"name": "BENTO_URL", "value": "s3://bucket/other"}, {"name": "BENTO_DIGEST", "value": digest}]
    spec = {"initContainers": [{"name": "fetch-bento", "env": told}]}
    return {"spec": {"template": {"metadata": {"annotations": annotations}, "spec": spec}}}


@pytest.mark.parametrize("good", [True, False])
def test_killed_half_way_and_run_again_it_ends_the_same(cluster: Cluster, kube: KubeServer, good: bool) -> None:
    cluster.roll_out(FIRST)
    shutil.rmtree(cluster.folder / "deployed")
    kube.fates[SECOND] = never()
    start_and_kill(cluster)
    assert cluster.state == {**serving(SECOND), "under way": True}
    kube.fates[SECOND] = Fate() if good else crashing("damaged", restarts=3)
    if good:
        assert cluster.roll_out(SECOND)["checked"] == {"clinic/sl": 6, "clinic/sw": 8}
    else:
        assert cluster.failure(SECOND).endswith("which answers")
    assert cluster.state == serving(SECOND if good else FIRST)


def test_killed_on_the_first_roll_out_the_next_bento_has_nothing_to_go_back_to(
    cluster: Cluster, kube: KubeServer
) -> None:
    kube.fates[SECOND] = kube.fates[FIRST] = never()
    start_and_kill(cluster)
    said = cluster.failure(FIRST, ready_within_s=0)
    assert "nothing was rolled out before, so there is nothing to go back to" in said


def start_and_kill(cluster: Cluster) -> None:
    """Roll SECOND out in a process of its own, and kill that while it waits for the pods."""
    served = cluster.services[SECOND]
    program = (
        "from pathlib import Path; from polydistill.cluster.deploy import run_deploy; "
        "from polydistill.params import ServingParams; "
        f"run_deploy(ServingParams.model_validate({cluster.params.model_dump()!r}), {served.bento!r}, "
        f"Path({str(served.winners)!r}), Path({str(cluster.folder / 'killed')!r}), poll_s=0)"
    )
    cluster.kube.asked.clear()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.DEVNULL)
    cluster.kube.wait_until(lambda: cluster.kube.asked.count(("list", "pods")) > 1)
    process.kill()
    process.wait()
    assert not (cluster.folder / "killed").exists()


# What is wrong with what is given.


def test_a_deployment_that_fetches_no_bento_is_named(cluster: Cluster, kube: KubeServer) -> None:
    kube.add(deployment("polydistill", "teacher", replicas=1))
    said = cluster.failure(FIRST, deployment="teacher")
    assert "the Deployment polydistill/teacher has no init container fetch-bento" in said


def test_what_tells_of_no_bento_is_refused(cluster: Cluster) -> None:
    with pytest.raises(DataError, match="what was promoted tells of no bento: it needs `url` and `digest`"):
        run_deploy(cluster.params, {"version": "1"}, cluster.folder, cluster.folder / "deployed")


def test_the_component_rolls_out_what_was_promoted(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    served = cluster.services[FIRST]
    (cluster.folder / "promoted").mkdir()
    write_json(cluster.folder / "promoted/promoted.json", {"bento": dict(served.bento), "serial": 3})
    shutil.copytree(served.winners / "clinic/sl", winner_of(cluster.folder / "challenged"))
    artifacts = {name: str(cluster.folder / name) for name in ("promoted", "challenged", "deployed", "summary")}
    deploy.python_func(
        run="r1",
        cluster=section(cluster.params),
        promoted=dsl.Artifact(uri=artifacts["promoted"]),
        challenged=[dsl.Artifact(uri=artifacts["challenged"])],
        deployed=dsl.Artifact(uri=artifacts["deployed"]),
        summary=dsl.Markdown(uri=artifacts["summary"]),
    )
    assert "| clinic/sl | 8 |" in (cluster.folder / "summary").read_text()
    assert read_json(cluster.folder / "deployed/deploy.json")["bento"]["digest"] == FIRST
    assert cluster.state == serving(FIRST)


def test_the_component_has_nothing_to_do_where_nothing_was_promoted(cluster: Cluster, kube: KubeServer) -> None:
    (cluster.folder / "promoted").mkdir()
    write_json(cluster.folder / "promoted/promoted.json", {"bento": {}, "serial": None})
    deploy.python_func(
        run="r1",
        cluster=section(cluster.params),
        promoted=dsl.Artifact(uri=str(cluster.folder / "promoted")),
        challenged=[],
        deployed=dsl.Artifact(uri=str(cluster.folder / "deployed")),
        summary=dsl.Markdown(uri=str(cluster.folder / "summary")),
    )
    assert (cluster.folder / "summary").read_text() == "Nothing is promoted, so what is served stays.\n"
    assert kube.asked == []


def section(serving: ServingParams) -> dict[str, Any]:
    """Return section `cluster` of a params.yaml, as Kubeflow passes it on."""
    cluster = load_params(Path(__file__).parents[2] / "params.yaml").cluster
    assert cluster
    return json.loads(json.dumps(to_struct(cluster.model_copy(update={"serving": serving}))), parse_int=float)
