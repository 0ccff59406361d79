"""What the pods of a pipeline get, read from the compiled pipelines as Kubeflow reads them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipelines.compile import COMPILED, PIPELINES
from polydistill import __version__
from polydistill.cluster.placement import GPU, place
from polydistill.errors import ParamsError
from polydistill.params import Params, check, load_params

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")

ON_DEMAND = {"namespace": "a", "deployment": "b", "replicas": 1, "ready_within_s": 7200, "hold_within_s": 9000}
SERVING = {"namespace": "a", "deployment": "b", "url": "http://b.a:3000", "ready_within_s": 900}
STEPS = {
    "cpu": "500m",
    "cpu_limit": "1",
    "memory": "1Gi",
    "memory_limit": "3Gi",
    "gpus": 0,
    "node_selector": {"pool": "cheap"},
    "tolerations": [],
    "retries": 5,
    "timeout_s": 600,
}


def _changed(params: Params = PARAMS, **sections: dict[str, Any]) -> Params:
    """Return the demo's parameters, some of them changed."""
    content = params.model_dump()
    for section, values in sections.items():
        content[section] |= values
    return Params.model_validate(content)


def _placed(params: Params, name: str = "distill") -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the pipeline, and what each executor has of containers and of Kubernetes, by the name of the step."""
    pipeline, platforms = yaml.safe_load_all(place((COMPILED / f"{name}.yaml").read_text("utf-8"), params))
    containers = {
        step.removeprefix("exec-"): executor["container"]
        for step, executor in pipeline["deploymentSpec"]["executors"].items()
    }
    on_kubernetes = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return pipeline, containers, {step.removeprefix("exec-"): of for step, of in on_kubernetes.items()}


def _tasks(pipeline: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for part in (pipeline["root"], *pipeline["components"].values()):
        yield from part.get("dag", {}).get("tasks", {}).items()


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_each_pod_is_bounded_and_each_task_tried_again(name: str) -> None:
    pipeline, containers, on_kubernetes = _placed(PARAMS, name)
    json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec())  # refuses a field that Kubeflow does not know
    assert containers.keys() == on_kubernetes.keys()
    wanted = {"resourceCpuRequest", "resourceCpuLimit", "resourceMemoryRequest", "resourceMemoryLimit"}
    for step, container in containers.items():
        assert wanted <= container["resources"].keys(), step
        assert int(on_kubernetes[step]["activeDeadlineSeconds"]) >= 60
    assert {step: policy["maxRetryCount"] for step, policy in _retries(pipeline).items()} == dict.fromkeys(
        containers, 2
    )


def _retries(pipeline: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return how the task of each step is tried again."""
    steps = {name.removeprefix("exec-") for name in pipeline["deploymentSpec"]["executors"]}
    tasks = ((task["componentRef"]["name"].removeprefix("comp-"), task) for _, task in _tasks(pipeline))
    return {step: task["retryPolicy"] for step, task in tasks if step in steps}


def _seconds(duration: str) -> int:
    """Return a duration as the Kubeflow backend hands it to Argo: its whole seconds."""
    parsed = json_format.ParseDict({"backoffMaxDuration": duration}, pipeline_spec_pb2.PipelineTaskSpec.RetryPolicy())
    return int(parsed.backoff_max_duration.seconds)


@pytest.mark.parametrize("name", sorted(PIPELINES))
@pytest.mark.parametrize(
    "cluster",
    [
        pytest.param({}, id="as it is"),
        pytest.param({"teacher": ON_DEMAND, "serving": SERVING, "size": "four-gpus"}, id="long waits"),
        pytest.param({"steps": STEPS | {"retries": 20, "timeout_s": 600}}, id="many tries"),
    ],
)
def test_argo_gives_every_try_its_whole_time_out(name: str, cluster: dict[str, Any]) -> None:
    """Replays Argo's rule: past `backoffMaxDuration` from the start of the first try, none begins and none goes on."""
    pipeline, _, on_kubernetes = _placed(_changed(cluster=cluster), name)
    for step, policy in _retries(pipeline).items():
        time_out, pause_s = int(on_kubernetes[step]["activeDeadlineSeconds"]), _seconds(policy["backoffDuration"])
        assert policy["backoffFactor"].is_integer(), step  # Argo reads it as a whole number
        passed = time_out
        for number in range(policy["maxRetryCount"]):
            pause = pause_s * int(policy["backoffFactor"]) ** number
            assert pause <= 1800, step  # Kubeflow sets no cap of the pauses
            passed += pause + time_out
        assert passed <= _seconds(policy["backoffMaxDuration"]), step


def test_what_a_section_leaves_out_is_as_its_size_has_it() -> None:
    taint = {"key": "gpus", "operator": "Exists", "effect": "NoSchedule"}
    cluster = {"size": "four-gpus", "train": {"gpus": 2, "tolerations": [taint]}, "steps": {"memory_limit": "9Gi"}}
    _, containers, on_kubernetes = _placed(_changed(train={"students": ["encoder"]}, cluster=cluster))
    train, steps = containers["train"]["resources"], containers["evaluate"]["resources"]
    assert train["accelerator"] == {"resourceType": GPU, "resourceCount": "2"}
    assert (train["resourceCpuRequest"], train["resourceMemoryLimit"]) == ("4", "64Gi")
    assert on_kubernetes["train"]["tolerations"] == [taint]
    assert (steps["resourceMemoryRequest"], steps["resourceMemoryLimit"]) == ("2Gi", "9Gi")


def test_the_block_that_the_documentation_shows_is_a_whole_one() -> None:
    documentation = (Path(__file__).parents[2] / "docs/kubernetes.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(cluster:\n  size: cpu\n  train:.*?)```", documentation, re.DOTALL)
    params = _changed(train={"students": ["encoder"]}, **yaml.safe_load(block))
    _, containers, on_kubernetes = _placed(params)
    assert containers["train"]["resources"]["accelerator"]["resourceCount"] == "1"
    assert on_kubernetes["train"]["nodeSelector"] == {"labels": params.cluster.train.node_selector}
    assert on_kubernetes["train"]["tolerations"]


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ({"train": {"gpu": 1}}, "cluster.train.gpu is no known key; did you mean `gpus`?"),
        ({"train": {"gpus": -1}}, "cluster.train.gpus: -1 is not allowed"),
        ({"train": {"gpus": 1}, "size": "huge"}, "cluster.size: 'huge' is not allowed"),
        ({"train": {"gpus": 1}, "size": ["cpu"]}, "cluster.size: ['cpu'] is not allowed"),
        ({"train": 1}, "cluster.train: 1 is not allowed"),
    ],
)
def test_what_is_wrong_in_a_section_is_named(cluster: dict[str, Any], message: str) -> None:
    content = PARAMS.model_dump()
    with pytest.raises(ParamsError) as error:
        check(Params, content | {"cluster": content["cluster"] | cluster}, "params.yaml")
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_the_bringing_up_of_the_teacher_waits_once() -> None:
    policies = _retries(_placed(_changed(cluster={"teacher": ON_DEMAND}))[0])
    assert {step for step, policy in policies.items() if not policy["maxRetryCount"]} == {"teacher-up"}


ASKED = {"kind": "openai", "url": "http://llm.example.org/v1"}
LIMITED = {"tokens": 1_000_000}


@pytest.mark.parametrize(
    ("changes", "once"),
    [
        pytest.param({"teacher": ASKED, "budget": LIMITED}, {"generate", "evaluate"}, id="a server"),
        pytest.param(
            {"teacher": {"kind": "vllm", "model": "a/b"}, "budget": {"requests": 5}},
            {"generate", "evaluate"},
            id="in the process",
        ),
        pytest.param(
            {"teacher": ASKED, "budget": LIMITED, "evaluate": {"zero_shot": False}}, {"generate"}, id="no zero-shot"
        ),
        pytest.param(
            {"teacher": ASKED, "budget": LIMITED, "train": {"students": ["linear", "icl"]}},
            {"generate", "evaluate", "train"},
            id="icl",
        ),
        pytest.param({"teacher": ASKED}, set(), id="no limit"),
        pytest.param({"budget": LIMITED}, set(), id="recorded"),
        pytest.param({"teacher": ASKED, "budget": LIMITED, "cluster": {"scratch": "kept"}}, set(), id="kept replies"),
    ],
)
def test_no_new_try_spends_a_limit_again(changes: dict[str, dict[str, Any]], once: set[str]) -> None:
    policies = _retries(_placed(_changed(**changes))[0])
    assert {step for step, policy in policies.items() if policy["maxRetryCount"] == 0} == once


def test_linear_students_and_a_teacher_elsewhere_need_no_gpu() -> None:
    _, containers, on_kubernetes = _placed(_changed(cluster={"size": "four-gpus"}))
    assert {container["image"] for container in containers.values()} == {f"polydistill:{__version__}"}
    assert not any("accelerator" in container["resources"] for container in containers.values())
    assert not any("tolerations" in of or "pvcMount" in of for of in on_kubernetes.values())


@pytest.mark.parametrize("kind", ["encoder", "lora"])
def test_students_that_need_pytorch_train_on_a_gpu(kind: str) -> None:
    _, containers, on_kubernetes = _placed(_changed(train={"students": ["linear", kind]}))
    train = containers["train"]
    assert train["image"] == f"polydistill-train:{__version__}"
    assert train["resources"]["accelerator"] == {"resourceType": GPU, "resourceCount": "1"}
    assert {"name": "HF_HOME", "value": "/models"} in train["env"]
    of_train = on_kubernetes["train"]
    assert of_train["tolerations"] == [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    assert [(mount["constant"], mount["mountPath"]) for mount in of_train["pvcMount"]] == [
        ("polydistill-models", "/models")
    ]
    secrets = {secret["secretName"]: secret for secret in of_train["secretAsEnv"]}
    assert secrets["polydistill-hub"]["keyToEnv"] == [{"secretKey": "HF_TOKEN", "envVar": "HF_TOKEN"}]
    assert all(secret["optional"] for secret in secrets.values())
    for step in (
        "select",
        "challenge",
        "package",
        "serve",
        "promote",
    ):  # a LoRA student answers there, with all its weights
        assert containers[step]["image"].startswith("polydistill-train:" if kind == "lora" else "polydistill:")
        assert ("accelerator" in containers[step]["resources"]) == (kind == "lora")


@pytest.mark.parametrize(("size", "gpus"), [("one-gpu", "1"), ("four-gpus", "4")])
def test_a_teacher_in_the_process_has_the_gpus_of_its_size(size: str, gpus: str) -> None:
    teacher = {"kind": "vllm", "model": "meta-llama/Meta-Llama-3-70B-Instruct"}
    _, containers, _ = _placed(_changed(teacher=teacher, cluster={"size": size}))
    for step in ("generate", "evaluate"):  # which has it classify the test texts
        assert containers[step]["image"] == f"polydistill-generate:{__version__}"
        assert containers[step]["resources"]["accelerator"]["resourceCount"] == gpus
    _, containers, _ = _placed(_changed(teacher=teacher, evaluate={"zero_shot": False}, cluster={"size": size}))
    assert "accelerator" not in containers["evaluate"]["resources"]


def test_what_params_yaml_says_of_pods_goes_before_the_size() -> None:
    cluster = {"steps": STEPS, "parallel_cells": 7, "registry": "registry.example.com/team", "tag": "1f3c"}
    pipeline, containers, on_kubernetes = _placed(_changed(cluster=cluster))
    assert containers["filter"]["image"] == "registry.example.com/team/polydistill:1f3c"
    assert containers["filter"]["resources"]["resourceMemoryLimit"] == "3Gi"
    assert on_kubernetes["filter"]["nodeSelector"] == {"labels": {"pool": "cheap"}}
    assert on_kubernetes["filter"]["activeDeadlineSeconds"] == "600"
    assert int(on_kubernetes["generate"]["activeDeadlineSeconds"]) > 600  # waits for the teacher
    _, _, waiting = _placed(_changed(cluster=cluster | {"teacher": ON_DEMAND, "serving": SERVING}))
    deadlines = {step: int(of["activeDeadlineSeconds"]) for step, of in waiting.items()}
    assert (deadlines["filter"], deadlines["teacher-up"], deadlines["deploy"]) == (600, 7800, 2400)
    tasks = dict(_tasks(pipeline))
    assert tasks["filter"]["retryPolicy"]["maxRetryCount"] == 5
    assert [task["iteratorPolicy"] for task in tasks.values() if "iteratorPolicy" in task] == [{"parallelismLimit": 7}]


def test_a_volume_for_scratch_is_mounted_where_replies_are_paid_for() -> None:
    _, containers, on_kubernetes = _placed(_changed(cluster={"scratch": "polydistill-scratch"}))
    mounted = {step for step, of in on_kubernetes.items() if "pvcMount" in of}
    assert mounted == {"generate", "train", "evaluate"}
    assert {"name": "POLYDISTILL_SCRATCH", "value": "/scratch"} in containers["generate"]["env"]


def test_who_reads_the_store_and_the_repository_has_their_keys() -> None:
    _, _, on_kubernetes = _placed(PARAMS, "retrain")
    having = {
        secret: {
            step for step, of in on_kubernetes.items() if secret in {s["secretName"] for s in of.get("secretAsEnv", [])}
        }
        for secret in ("polydistill-storage", "polydistill-git")
    }
    assert having["polydistill-storage"] == {*("champions", "challenge", "due", "fetch", "load", "promote", "snapshot")}
    assert having["polydistill-git"] == {"due", "fetch", "load", "snapshot"}


def test_the_teachers_key_has_the_name_that_params_yaml_gives_it() -> None:
    _, _, on_kubernetes = _placed(_changed(teacher={"key_env": "MY_KEY"}))
    (secret,) = on_kubernetes["generate"]["secretAsEnv"]
    assert secret["keyToEnv"] == [{"secretKey": "api-key", "envVar": "MY_KEY"}]


def test_without_the_section_it_says_so() -> None:
    with pytest.raises(ParamsError, match="no section `cluster`"):
        place((COMPILED / "distill.yaml").read_text("utf-8"), _changed(**{}).model_copy(update={"cluster": None}))
