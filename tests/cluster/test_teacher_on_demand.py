"""The teacher on demand, against an API server: held by runs, scaled up and down, and why it does not get ready."""

import json
import logging
import multiprocessing
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from kfp import dsl
from kubernetes.config import incluster_config

from components.teacher_down.component import teacher_down
from components.teacher_up.component import teacher_up
from kube_server import (
    Fate,
    KubeServer,
    container,
    crashing,
    deployment,
    kube_server,
    never,
    unschedulable,
    waiting,
    workflow,
)
from polydistill.cluster import kube as kube_module
from polydistill.cluster.teacher import HOLDERS, UNHELD_REPLICAS, release_ended, run_teacher_down, run_teacher_up
from polydistill.errors import PolydistillError
from polydistill.params import TeacherOnDemandParams, load_params, to_struct

PARAMS = TeacherOnDemandParams(
    namespace="polydistill", deployment="teacher", replicas=1, ready_within_s=60, hold_within_s=600
)
AT_ONCE = PARAMS.model_copy(update={"ready_within_s": 0})
LAPSED = PARAMS.model_copy(update={"hold_within_s": -1})
ENDED = {"terminated": {"exitCode": 1, "reason": "Error"}}
RUNS, ID = "kubeflow", "8b2f1c44-0f6e-4a0e-9d8b-3a3b8f0e7c11"
LATER, LONG_AGO = "2999-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00"
NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


@pytest.fixture
def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeServer]:
    with kube_server() as server:
        server.add(deployment("polydistill", "teacher"))
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        yield server


def up(run: str = "run-1", params: TeacherOnDemandParams = PARAMS, stuck_s: float = 60) -> None:
    run_teacher_up(params, run, poll_s=0, stuck_s=stuck_s)


def down(run: str = "run-1") -> None:
    run_teacher_down(PARAMS, run, poll_s=0)


def failure(params: TeacherOnDemandParams = AT_ONCE, stuck_s: float = 60) -> str:
    with pytest.raises(PolydistillError) as failed:
        up(params=params, stuck_s=stuck_s)
    return str(failed.value)


def asked_for(kube: KubeServer) -> int:
    return int(kube.get("polydistill", "teacher")["spec"]["replicas"])


def holders(kube: KubeServer) -> list[str]:
    return holders_of(kube.get("polydistill", "teacher"))


def holders_of(found: dict[str, Any]) -> list[str]:
    return sorted(json.loads(found["metadata"].get("annotations", {}).get(HOLDERS, "{}")))


def test_it_is_scaled_up_and_waited_for_then_scaled_down(kube: KubeServer) -> None:
    kube.lag, kube.fates["teacher"] = 2, Fate(ready_after=3)
    up()
    found = kube.get("polydistill", "teacher")
    assert (found["spec"]["replicas"], found["status"]["readyReplicas"]) == (1, 1)
    down()
    found = kube.get("polydistill", "teacher")
    assert found["spec"]["replicas"] == 0
    assert "annotations" not in found["metadata"] or found["metadata"]["annotations"] == {}


def test_a_hold_that_is_shorter_than_a_run_may_take_is_warned_of(
    kube: KubeServer, caplog: pytest.LogCaptureFixture
) -> None:
    run_teacher_up(PARAMS, "run-1", 600, poll_s=0)
    assert "hold_within_s" not in caplog.text
    run_teacher_up(PARAMS, "run-1", 601, poll_s=0)
    assert "hold_within_s is 600, and by the time-outs of its pods a cell may take 601 s" in caplog.text


def test_it_is_ready_only_once_all_pods_are(kube: KubeServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    up(params=PARAMS.model_copy(update={"replicas": 3}))
    assert kube.get("polydistill", "teacher")["status"]["readyReplicas"] == 3
    assert "waiting for polydistill/teacher: 0 of 3 pods are ready" in caplog.text


def test_the_last_of_two_runs_scales_it_down(kube: KubeServer) -> None:
    up("run-1")
    up("run-2")
    assert holders(kube) == ["run-1", "run-2"]
    down("run-1")
    assert (asked_for(kube), holders(kube)) == (1, ["run-2"])
    down("run-2")
    assert (asked_for(kube), holders(kube)) == (0, [])


def test_a_run_of_fewer_pods_takes_none_from_another(kube: KubeServer) -> None:
    up("large", PARAMS.model_copy(update={"replicas": 3}))
    up("small")
    assert asked_for(kube) == 3


def test_a_retry_holds_it_once_and_longer(kube: KubeServer) -> None:
    up()
    first = kube.get("polydistill", "teacher")["metadata"]["annotations"][HOLDERS]
    up(params=PARAMS.model_copy(update={"hold_within_s": 1200}))
    second = kube.get("polydistill", "teacher")["metadata"]["annotations"][HOLDERS]
    assert holders(kube) == ["run-1"]
    assert json.loads(second)["run-1"] > json.loads(first)["run-1"]
    down()
    assert asked_for(kube) == 0


@pytest.mark.parametrize("run", ['a "quoted" one', "žagar/ünï 例", "", "x" * 5_000, "{{$.pipeline_job_uuid}}"])
def test_any_string_names_a_run(kube: KubeServer, run: str) -> None:
    up(run)
    assert holders(kube) == [run]
    down(run)
    assert asked_for(kube) == 0


def test_to_let_go_twice_or_without_holding_changes_nothing(kube: KubeServer) -> None:
    up("run-1")
    down("run-2")
    assert (asked_for(kube), holders(kube)) == (1, ["run-1"])
    down("run-1")
    changes = len(kube.patched)
    down("run-1")
    assert (asked_for(kube), len(kube.patched)) == (0, changes)


def test_the_pods_that_a_person_asked_for_are_put_back(kube: KubeServer) -> None:
    kube.edit("polydistill", "teacher", {"spec": {"replicas": 2}})
    down("run-0")
    assert asked_for(kube) == 2
    up("run-1")
    up("run-2", PARAMS.model_copy(update={"replicas": 4}))
    assert asked_for(kube) == 4
    assert kube.get("polydistill", "teacher")["metadata"]["annotations"][UNHELD_REPLICAS] == "2"
    down("run-1")
    down("run-2")
    assert asked_for(kube) == 2
    assert release_ended(PARAMS) == {}
    assert asked_for(kube) == 2


def test_the_hold_of_a_dead_run_ends_with_its_time(kube: KubeServer) -> None:
    hold(kube, {"dead": "2026-01-01T00:00:00+00:00"}, replicas=1)
    assert release_ended(PARAMS) == {"dead": "its time is up"}
    assert (asked_for(kube), holders(kube)) == (0, [])
    assert release_ended(PARAMS) == {}


def test_the_end_of_one_hold_leaves_the_others(kube: KubeServer) -> None:
    hold(kube, {"dead": "2026-01-01T00:00:00+00:00", "alive": "2999-01-01T00:00:00+00:00"}, replicas=1)
    assert release_ended(PARAMS) == {"dead": "its time is up"}
    assert (asked_for(kube), holders(kube)) == (1, ["alive"])


def test_a_run_that_lets_go_takes_the_dead_along(kube: KubeServer) -> None:
    hold(kube, {"dead": "2026-01-01T00:00:00+00:00"}, replicas=1)
    up("run-1")
    assert holders(kube) == ["run-1"]
    hold(kube, {"dead": "2026-01-01T00:00:00+00:00", "run-1": "2999-01-01T00:00:00+00:00"}, replicas=1)
    down("run-1")
    assert (asked_for(kube), holders(kube)) == (0, [])
    hold(kube, {"dead": "2026-01-01T00:00:00+00:00"}, replicas=1)
    down("never held it")
    assert (asked_for(kube), holders(kube)) == (0, [])


def hold(kube: KubeServer, runs: dict[str, str], replicas: int) -> None:
    annotations = {HOLDERS: json.dumps(runs)}
    kube.edit("polydistill", "teacher", {"metadata": {"annotations": annotations}, "spec": {"replicas": replicas}})


# What Kubeflow says of a run counts before its time.


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Error"])
def test_a_run_that_kubeflow_has_ended_is_let_go_of_before_its_time(kube: KubeServer, phase: str) -> None:
    up(ID)
    kube.workflows = [workflow(RUNS, ID, phase)]
    assert release_ended(PARAMS, RUNS) == {ID: f"its Workflow has ended: {phase}"}
    assert (asked_for(kube), holders(kube)) == (0, [])


@pytest.mark.parametrize("phase", ["Running", "Pending", "Paused by a newer Argo", None])
def test_a_run_that_has_not_ended_keeps_it(kube: KubeServer, phase: str | None) -> None:
    up(ID)
    kube.workflows = [workflow(RUNS, ID, phase)]
    assert release_ended(PARAMS, RUNS) == {}
    assert (asked_for(kube), holders(kube)) == (1, [ID])


def test_of_two_runs_that_hold_it_only_the_one_that_ended_is_let_go_of(kube: KubeServer) -> None:
    up(ID)
    up("still-runs")
    kube.workflows = [workflow(RUNS, ID, "Failed"), workflow(RUNS, "still-runs", "Running")]
    assert list(release_ended(PARAMS, RUNS)) == [ID]
    assert (asked_for(kube), holders(kube)) == (1, ["still-runs"])
    kube.workflows = [workflow(RUNS, "still-runs", "Failed")]
    assert list(release_ended(PARAMS, RUNS)) == ["still-runs"]
    assert (asked_for(kube), holders(kube)) == (0, [])


def test_a_run_that_kubeflow_does_not_know_keeps_it_until_its_time(
    kube: KubeServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    up(ID)
    kube.workflows = [workflow("team-a", ID, "Failed"), workflow(RUNS, "another", "Failed")]
    assert release_ended(PARAMS, RUNS) == {}
    assert f"{ID} has no Workflow in namespace kubeflow; only its time counts" in caplog.text
    assert (asked_for(kube), holders(kube)) == (1, [ID])
    hold(kube, {ID: LONG_AGO}, replicas=1)
    assert release_ended(PARAMS, RUNS) == {ID: "its time is up"}
    assert asked_for(kube) == 0


@pytest.mark.parametrize("run", ['a "quoted" one', "žagar/ünï 例", "", "x" * 64, "-a", "{{$.pipeline_job_uuid}}"])
def test_a_holder_that_cannot_be_a_run_of_kubeflow_keeps_no_other_from_being_let_go_of(
    kube: KubeServer, run: str
) -> None:
    hold(kube, {run: LATER, ID: LATER}, replicas=1)
    kube.workflows = [workflow(RUNS, ID, "Failed")]
    assert list(release_ended(PARAMS, RUNS)) == [ID]
    assert (asked_for(kube), holders(kube)) == (1, [run])


@pytest.mark.parametrize(
    ("denied", "told"),
    [
        pytest.param(
            True,
            "`kubectl auth can-i list workflows.argoproj.io --namespace kubeflow --as system:serviceaccount:",
            id="not allowed",
        ),
        pytest.param(False, "the cluster has no workflows.argoproj.io; `kubectl api-resources`", id="no Argo"),
    ],
)
def test_where_kubeflow_cannot_be_asked_the_time_counts_and_it_is_said_once(
    kube: KubeServer, caplog: pytest.LogCaptureFixture, denied: bool, told: str
) -> None:
    hold(kube, {"dead": LONG_AGO, ID: LATER}, replicas=1)
    kube.workflows = [workflow(RUNS, ID, "Failed")] if denied else None
    kube.denied = {("list", "workflows.argoproj.io")} if denied else set()
    kube.meddle = lambda: kube.edit("polydistill", "teacher", {"metadata": {"annotations": {"a": "conflict"}}})
    assert release_ended(PARAMS, RUNS) == {"dead": "its time is up"}
    assert (asked_for(kube), holders(kube)) == (1, [ID])
    (warning,) = (record.getMessage() for record in caplog.records)
    assert told in warning
    assert warning.endswith("a run that was terminated holds the teacher until its time is up")


def test_a_run_that_goes_on_again_while_it_is_let_go_of_keeps_it(kube: KubeServer) -> None:
    up(ID)
    kube.workflows = [workflow(RUNS, ID, "Failed")]

    def retried() -> None:
        kube.workflows = [workflow(RUNS, ID, "Running")]
        hold(kube, {ID: LATER}, replicas=1)

    kube.meddle = retried
    assert release_ended(PARAMS, RUNS) == {}
    assert (asked_for(kube), holders(kube)) == (1, [ID])
    assert kube.meddle is None


def test_whoever_comes_while_an_ended_run_is_let_go_of_keeps_it(kube: KubeServer) -> None:
    up(ID)
    kube.workflows = [workflow(RUNS, ID, "Failed")]
    kube.meddle = lambda: hold(kube, {ID: LATER, "new": LATER}, replicas=1)
    assert list(release_ended(PARAMS, RUNS)) == [ID]
    assert (asked_for(kube), holders(kube)) == (1, ["new"])


@pytest.mark.parametrize("note", ["no JSON", "[]", '{"run": 5}', '{"run": "tomorrow"}'])
def test_a_note_that_somebody_broke_is_named_with_what_removes_it(kube: KubeServer, note: str) -> None:
    kube.edit("polydistill", "teacher", {"metadata": {"annotations": {HOLDERS: note}}})
    command = f"kubectl annotate deployment/teacher --namespace polydistill {HOLDERS}-"
    for act in (up, down):
        with pytest.raises(PolydistillError, match=re.escape(command)):
            act()


def test_a_change_by_another_in_between_is_kept(kube: KubeServer) -> None:
    kube.meddle = lambda: hold(kube, {"other": "2999-01-01T00:00:00+00:00"}, replicas=1)
    up("run-1")
    assert holders(kube) == ["other", "run-1"]
    kube.meddle = lambda: hold(kube, {"run-1": "2999-01-01T00:00:00+00:00", "new": "2999-01-01T00:00:00+00:00"}, 1)
    down("run-1")
    assert (asked_for(kube), holders(kube)) == (1, ["new"])


def test_whoever_scales_it_down_while_a_run_waits_is_overruled(kube: KubeServer) -> None:
    kube.fates["teacher"] = Fate(ready_after=5)
    kube.at_look[4] = lambda: kube.edit("polydistill", "teacher", {"spec": {"replicas": 0}})
    up()
    assert kube.get("polydistill", "teacher")["status"]["readyReplicas"] == 1


def test_a_run_that_was_ended_waits_no_longer(kube: KubeServer) -> None:
    kube.fates["teacher"] = never()
    ended = {"metadata": {"annotations": {HOLDERS: None}}, "spec": {"replicas": 0}}
    kube.at_look[4] = lambda: kube.edit("polydistill", "teacher", ended)
    with pytest.raises(PolydistillError, match="the hold of this run ended before the teacher was ready"):
        up("run-1")
    assert (asked_for(kube), holders(kube)) == (0, [])


def test_a_cluster_that_is_away_for_a_while_is_waited_for(kube: KubeServer) -> None:
    kube.fates["teacher"] = Fate(ready_after=3)
    kube.at_look[3] = lambda: kube.broken.extend([0, 503, 429, 500])
    up()
    kube.broken.extend([0, 503, 503])
    down()
    assert asked_for(kube) == 0


# Many at once. The server sees every state; a run looks for itself while it holds the teacher.


def hold_and_let_go(kubeconfig: str, run: str, times: int) -> list[int]:
    """Hold the teacher and let go of it, again and again; return how many pods were ready each time it was held."""
    os.environ["KUBECONFIG"] = kubeconfig
    ready = []
    for _ in range(times):
        up(run)
        found = kube_module.Kube.connect().deployment("polydistill", "teacher")
        ready.append(kube_module.ready_pods(found))
        down(run)
    return ready


def test_runs_in_many_processes_never_pull_it_from_under_each_other(kube: KubeServer) -> None:
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = [pool.submit(hold_and_let_go, os.environ["KUBECONFIG"], f"run-{n}", 8) for n in range(3)]
        ready = [count for each in running for count in each.result()]
    assert ready == [1] * 24
    assert len(kube.patched) == 48
    assert max(len(holders_of(state)) for state in kube.patched) > 1
    assert all(state["spec"]["replicas"] == (1 if holders_of(state) else 0) for state in kube.patched)
    assert asked_for(kube) == 0


def test_a_run_killed_while_it_waits_and_run_again_holds_it_once(kube: KubeServer) -> None:
    kube.fates["teacher"] = never()
    program = "from test_teacher_on_demand import up; up('run-1')"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.DEVNULL)
    kube.wait_until(lambda: ("list", "pods") in kube.asked)
    process.kill()
    process.wait()
    assert (asked_for(kube), holders(kube)) == (1, ["run-1"])
    kube.fates["teacher"] = Fate(ready_after=1)
    up("run-1")
    assert holders(kube) == ["run-1"]
    down("run-1")
    assert asked_for(kube) == 0


# Why it does not get ready.


@pytest.mark.parametrize(
    ("fate", "told", "command"),
    [
        pytest.param(
            unschedulable(NO_GPU),
            f"has no node: {NO_GPU}",
            r"kubectl get nodes --output custom-columns='NODE:.metadata.name,GPUS:.status.allocatable.nvidia\.com/gpu'",
            id="no GPU",
        ),
        pytest.param(
            unschedulable("0/2 nodes are available: 2 Insufficient memory."),
            "memory",
            "kubectl describe nodes",
            id="memory",
        ),
        pytest.param(
            unschedulable('persistentvolumeclaim "polydistill-models" not found'),
            "polydistill-models",
            "kubectl get persistentvolumeclaim polydistill-models --namespace polydistill",
            id="no volume claim",
        ),
        pytest.param(
            waiting("CreateContainerConfigError", 'secret "polydistill-hub" not found'),
            'container main: CreateContainerConfigError: secret "polydistill-hub" not found',
            "kubectl get secret polydistill-hub --namespace polydistill",
            id="no secret",
        ),
        pytest.param(
            waiting("ImagePullBackOff", 'Back-off pulling image "vllm:9": not found'),
            'container main: ImagePullBackOff: Back-off pulling image "vllm:9": not found',
            "kubectl get events --namespace polydistill --field-selector involvedObject.name=teacher-",
            id="no image",
        ),
        pytest.param(
            waiting("InvalidImageName", "Failed to apply default image tag", init=True),
            "InvalidImageName: Failed to apply default image tag",
            "kubectl get events",
            id="no name of an image",
        ),
        pytest.param(
            Fate(None, events=[("FailedMount", 'MountVolume.SetUp failed for volume "p": configmap "x" not found')]),
            'FailedMount: MountVolume.SetUp failed for volume "p": configmap "x" not found',
            "kubectl get configmap x --namespace polydistill",
            id="no config map",
        ),
        pytest.param(
            waiting("ContainerCreating", ""),
            "container main: ContainerCreating",
            "kubectl get events --namespace polydistill --field-selector involvedObject.name=teacher-",
            id="large image",
        ),
        pytest.param(
            never(events=[("Unhealthy", "Startup probe failed: HTTP probe failed with statuscode: 503")]),
            "Unhealthy: Startup probe failed: HTTP probe failed with statuscode: 503",
            "kubectl get events",
            id="probe",
        ),
        pytest.param(
            Fate(None, refused="exceeded quota: gpus, requested: requests.nvidia.com/gpu=4"),
            "no pod can be made: exceeded quota: gpus",
            "kubectl describe replicasets --namespace polydistill",
            id="quota",
        ),
        pytest.param(
            Fate(None, {"phase": "Failed", "reason": "Evicted", "message": "The node was low on ephemeral-storage."}),
            "failed: Evicted: The node was low on ephemeral-storage.",
            "kubectl get events",
            id="evicted",
        ),
    ],
)
def test_what_keeps_it_is_told_with_the_command_that_shows_it(
    kube: KubeServer, fate: Fate, told: str, command: str
) -> None:
    kube.fates["teacher"] = fate
    said = failure()
    assert said.startswith("the teacher polydistill/teacher is not ready after 0 s: 0 of 1 pods are ready\n  - ")
    assert told in said
    assert f"`{command}" in said
    assert said.endswith(
        "\nit is scaled down again, `kubectl scale deployment/teacher --replicas=1 --namespace polydistill` "
        "brings it back to look at"
    )
    assert (asked_for(kube), holders(kube)) == (0, [])


def test_of_a_crash_the_last_lines_are_told_without_keys(kube: KubeServer) -> None:
    keys = "api_key='sk-12345678' hf_abcdefghijkl Bearer abc.def --api-key swordfish HF_TOKEN=plain"
    keys += " http://me:pw@proxy max_tokens=5"
    lines = [*(f"line {n}" for n in range(100)), f"args: {keys} model='llama'", "ValueError: no GPU was found"]
    kube.fates["teacher"] = crashing("\n".join(lines), restarts=3)
    said = failure(PARAMS)
    assert "is not ready and will not be without help: 0 of 1 pods are ready" in said
    assert "container main ended (Error, exit code 1), 4 times so far" in said
    assert "`kubectl logs teacher-" in said
    assert said.count("\n      | ") == 15
    assert "      | ValueError: no GPU was found\n" in said
    assert (
        "      | args: api_key='***' *** Bearer *** --api-key *** HF_TOKEN=*** "
        "http://***@proxy max_tokens=5 model='llama'\n" in said
    )
    assert "line 1\n" not in said


def test_a_container_that_took_too_much_memory_is_told(kube: KubeServer) -> None:
    kube.fates["teacher"] = crashing("loading", restarts=1, reason="OOMKilled", exit_code=137)
    assert "(OOMKilled, exit code 137: it took more memory than its limit allows)" in failure()


def test_a_server_that_ends_well_but_too_soon_is_told_too(kube: KubeServer) -> None:
    kube.fates["teacher"] = crashing("bye", restarts=3, reason="Completed", exit_code=0)
    said = failure(PARAMS)
    assert "container main ended (Completed, exit code 0), 4 times so far" in said
    assert "\n      | bye" in said


def test_containers_that_are_done_or_not_yet_due_are_not_told(kube: KubeServer) -> None:
    done = container({"terminated": {"exitCode": 0, "reason": "Completed"}}, name="done")
    runs = container({"running": {}}, name="runs")
    due = container({"waiting": {"reason": "PodInitializing"}}, name="due")
    kube.fates["teacher"] = Fate(None, {"initContainerStatuses": [done, runs], "containerStatuses": [due]})
    said = failure()
    assert "container runs runs, but is not ready" in said
    assert "container done" not in said and "container due" not in said


def test_of_a_server_that_never_gets_ready_the_last_lines_are_told(kube: KubeServer) -> None:
    kube.fates["teacher"] = never(log="Loading weights: 12 of 30\n")
    said = failure()
    assert "container main runs, but is not ready" in said
    assert "\n      | Loading weights: 12 of 30" in said


@pytest.mark.parametrize(
    "fate",
    [
        pytest.param(waiting("ErrImagePull", "registry is down", then_ready_after=4), id="image"),
        pytest.param(waiting("CreateContainerConfigError", 'secret "x" not found', then_ready_after=4), id="secret"),
        pytest.param(Fate(4, unschedulable(NO_GPU).status), id="node"),
        pytest.param(Fate(4, crashing("", restarts=1).status), id="crash"),
        pytest.param(
            Fate(4, {"containerStatuses": [container({"running": {}}, restartCount=5, lastState=ENDED)]}),
            id="runs again",
        ),
    ],
)
def test_what_passes_is_waited_for(kube: KubeServer, fate: Fate, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    kube.fates["teacher"] = fate
    up()
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("waiting for")]
    assert len(told) == 1  # what does not change is told once
    assert "pod teacher-" in told[0]


@pytest.mark.parametrize(
    ("fate", "stuck"),
    [
        pytest.param(waiting("ImagePullBackOff", "no such image"), True, id="image"),
        pytest.param(waiting("CreateContainerConfigError", 'secret "x" not found'), True, id="secret"),
        pytest.param(unschedulable(NO_GPU), False, id="node"),
    ],
)
def test_only_what_seldom_passes_ends_the_wait_early(kube: KubeServer, fate: Fate, stuck: bool) -> None:
    kube.fates["teacher"] = fate
    params = PARAMS if stuck else PARAMS.model_copy(update={"ready_within_s": 0.05})
    why = "and has been stuck for minutes" if stuck else "after 0 s"
    assert f"is not ready {why}: 0 of 1" in failure(params, stuck_s=0)


def test_another_run_keeps_what_did_not_get_ready_for_this_one(kube: KubeServer) -> None:
    hold(kube, {"other": "2999-01-01T00:00:00+00:00"}, replicas=1)
    kube.fates["teacher"] = unschedulable(NO_GPU)
    assert failure().endswith("\nit has 1 pods now")
    assert (asked_for(kube), holders(kube)) == (1, ["other"])


def test_what_may_not_be_looked_at_is_told_beside_the_rest(kube: KubeServer) -> None:
    kube.fates["teacher"] = Fate(None, refused="exceeded quota")
    kube.denied.add(("list", "pods"))
    said = failure()
    assert "no pod can be made: exceeded quota" in said
    assert "its pods cannot be looked at: not allowed to list pods in namespace polydistill" in said
    kube.denied = {("get", "pods/log")}
    kube.fates["teacher"] = never()
    command = "`kubectl auth can-i get pods --subresource=log --namespace polydistill --as system:serviceaccount:"
    assert command in failure()


# What is asked of the cluster, and how it is told that it cannot be asked.


def test_the_verbs_are_those_that_the_documentation_names(kube: KubeServer) -> None:
    kube.fates["teacher"] = crashing("no", restarts=3)
    failure()
    assert sorted(set(kube.asked)) == documented()
    kube.asked.clear()
    down()
    release_ended(PARAMS, RUNS)
    assert {resource for _, resource in kube.asked} == {"deployments.apps"}
    hold(kube, {"run-1": LATER}, replicas=1)
    release_ended(PARAMS, RUNS)
    assert set(kube.asked) - {("get", "deployments.apps"), ("patch", "deployments.apps")} == {
        ("list", "workflows.argoproj.io")
    }


def documented() -> list[tuple[str, str]]:
    """Return the verbs and resources in the documentation of kube.py."""
    rows = re.findall(r"^    (get|list|get, patch) {2,}(\S+)", kube_module.__doc__ or "", re.MULTILINE)
    return sorted((verb, resource) for verbs, resource in rows for verb in verbs.split(", "))


def test_what_is_not_allowed_is_named_with_the_command_that_shows_it(kube: KubeServer) -> None:
    kube.denied.add(("patch", "deployments.apps"))
    said = failure()
    assert "not allowed to patch deployments.apps/teacher in namespace polydistill: " in said
    assert (
        "`kubectl auth can-i patch deployments.apps/teacher --namespace polydistill "
        "--as system:serviceaccount:kubeflow:pipeline-runner`"
    ) in said


def test_a_deployment_that_is_not_there_is_named(kube: KubeServer) -> None:
    said = failure(PARAMS.model_copy(update={"deployment": "vllm"}))
    assert "there is no deployments.apps/vllm in namespace polydistill; apply the manifests" in said
    assert "`kubectl get deployments.apps --namespace polydistill`" in said


def test_a_refused_change_gives_the_words_of_the_cluster(kube: KubeServer) -> None:
    with pytest.raises(PolydistillError) as failed:
        up("x" * 300_000)
    assert str(failed.value).startswith(
        "the cluster refuses to patch deployments.apps/teacher in namespace polydistill (422): "
    )
    assert "metadata.annotations: Too long" in str(failed.value)


def test_a_wrong_token_is_told(kube: KubeServer) -> None:
    kube.token = "another"
    said = failure()
    assert "does not know who asks (401)" in said and "`kubectl auth whoami`" in said
    assert "Bearer" not in said


def test_what_is_no_api_server_is_told(kube: KubeServer) -> None:
    kube.broken.append(200)
    assert "is no API server of Kubernetes: it answers 'upstream connect error'" in failure()


def test_no_cluster_at_the_address_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kube_server() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
    said = failure()
    assert f"the Kubernetes cluster at {server.url} does not answer: " in said
    assert "Connection refused" in said and "`kubectl cluster-info`" in said
    with pytest.raises(PolydistillError, match="does not answer"):
        down()


@pytest.mark.parametrize("content", [None, "", "current-context: [", "clusters: 5", "apiVersion: v1"])
def test_no_or_a_broken_kubeconfig_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    path = tmp_path / "kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(path))
    if content is not None:
        path.write_text(content)
    said = failure()
    assert said.startswith("no Kubernetes cluster to ask: ") and "\n" not in said
    assert "`kubectl config current-context`" in said


def test_in_a_pod_the_service_account_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, tls = certificate(tmp_path)
    (tmp_path / "token").write_text("of-the-pod")
    with kube_server("of-the-pod", tls) as server:
        server.add(deployment("polydistill", "teacher"))
        address = urlsplit(server.url)
        monkeypatch.delenv("KUBECONFIG", raising=False)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(address.hostname))
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(address.port))
        monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
        monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authority))
        up()
        down()
        assert len(server.patched) == 2
        monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", certifi.where())
        assert "certificate verify failed" in failure()


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Return the certificate of a server at 127.0.0.1 that nobody has signed but itself, and its context."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    for extension in (
        x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]),
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
        x509.BasicConstraints(ca=True, path_length=None),
    ):
        builder = builder.add_extension(extension, critical=False)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / "certificate.pem"
    path.write_bytes(builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(private)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(path, folder / "key.pem")
    return path, tls


# The components.


def section(teacher: TeacherOnDemandParams | None) -> dict[str, Any]:
    """Return section `cluster` of a params.yaml, as Kubeflow passes it on."""
    cluster = load_params(Path(__file__).parents[2] / "params.yaml").cluster
    assert cluster
    return json.loads(json.dumps(to_struct(cluster.model_copy(update={"teacher": teacher}))), parse_int=float)


def test_the_components_hold_the_teacher_and_let_go_of_it(kube: KubeServer, caplog: pytest.LogCaptureFixture) -> None:
    kube.fates["teacher"] = Fate(ready_after=0)
    ended = dsl.PipelineTaskFinalStatus("FAILED", "run", "distill", 9, "a step failed")
    teacher_up.python_func(run="run-1", cluster=section(PARAMS))
    # sizes.yaml, one-gpu: generate and train a day each, the others 6 hours
    assert "hold_within_s is 600, and by the time-outs of its pods a cell may take 194400 s" in caplog.text
    assert (asked_for(kube), holders(kube)) == (1, ["run-1"])
    teacher_down.python_func(run="run-1", cluster=section(PARAMS), status=ended)
    assert (asked_for(kube), holders(kube)) == (0, [])


def test_without_a_teacher_on_demand_the_components_ask_nothing(kube: KubeServer) -> None:
    ended = dsl.PipelineTaskFinalStatus("SUCCEEDED", "run", "distill", None, None)
    teacher_up.python_func(run="run-1", cluster=section(None))
    teacher_down.python_func(run="run-1", cluster=section(None), status=ended)
    assert kube.asked == []
