"""Decides what the pod of each step gets (image, resources, nodes, tries, secrets, volumes), and writes that down.

It is written into the compiled pipeline and is no parameter of Kubeflow's: within nested loops its compiler loses
those of images and resources (kfp 2.17), and retries, time-outs and the limits of loops take none at all. So each
version of a pipeline says by itself what its pods got.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from polydistill import __version__
from polydistill.cluster.arguments import require_cluster
from polydistill.cluster.scratch import VARIABLE as SCRATCH_VARIABLE
from polydistill.files import read_yaml
from polydistill.params import SIZES, BudgetParams, ClusterParams, Params, Placement, check

PAUSE_S, DOUBLED = 30, 6
"""The pause before the second try, and how many pauses may each be twice the one before: the sixth is 16 minutes."""

WAIT_FOR_NODE_S = 86400
"""How long each try may wait for a node; its time-out counts from when a node has it."""

GPU = "nvidia.com/gpu"
ON_GPU = {"encoder", "lora"}
"""Kinds of student that need PyTorch to be trained; a LoRA student needs it to answer, too."""

MODELS, SCRATCH = "/models", "/scratch"
"""Where the volumes are mounted."""

_STORAGE = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION")
_READS_STORE = {"champions", "challenge", "due", "fetch", "load", "promote", "snapshot"}
_READS_GIT = {"due", "fetch", "load", "snapshot"}
_ASKS_TEACHER = {"generate", "train", "evaluate"}
_LOADS_WINNERS = {"select", "challenge", "package", "serve", "promote"}


class Pod(NamedTuple):
    """What the pod of a step gets; `secrets`: by name of a secret, the variables of its keys; `volumes`: by path."""

    image: str
    placement: Placement
    secrets: Mapping[str, Mapping[str, str]]
    volumes: Mapping[str, str]
    environment: Mapping[str, str]


def pod_of(step: str, params: Params) -> Pod:
    """Return what the pod of a step gets."""
    cluster = require_cluster(params)
    of_steps, of_train, of_generate = placements(cluster)
    image, placement, has_models = "polydistill", of_steps, False
    students = set(params.train.students)
    if (step == "train" and ON_GPU & students) or (step in _LOADS_WINNERS and "lora" in students):
        image, placement, has_models = "polydistill-train", of_train, True
    elif params.teacher.kind == "vllm" and (step == "generate" or (step == "evaluate" and params.evaluate.zero_shot)):
        image, placement, has_models = "polydistill-generate", of_generate, True
    waits = {
        "generate": of_generate.timeout_s,
        "teacher_up": cluster.teacher.ready_within_s + 600 if cluster.teacher else 0,
        "deploy": 2 * cluster.serving.ready_within_s + 600 if cluster.serving else 0,  # there, and back
    }
    timeout_s = max(placement.timeout_s, waits.get(step, 0))
    retries = 0 if pays_again(step, params) or _waits_by_itself(step, cluster) else placement.retries
    placement = placement.model_copy(update={"timeout_s": timeout_s, "retries": retries})
    name = f"{image}:{cluster.tag or __version__}"
    return Pod(
        f"{cluster.registry}/{name}" if cluster.registry else name,
        placement,
        dict(_secrets(step, params, has_models)),
        dict(_volumes(step, params, has_models)),
        dict(_environment(step, params, has_models)),
    )


def pays_again(step: str, params: Params) -> bool:
    """Say whether another pod of a step would spend a limit of section `budget` once more.

    The limit holds for a journal. Without a volume for it a journal ends with its pod, and the next begins a new one.
    """
    of_icl = params.train.icl and params.train.icl.teacher
    asked = {
        "generate": params.teacher,
        "evaluate": params.teacher if params.evaluate.zero_shot else None,
        "train": (of_icl or params.teacher) if "icl" in params.train.students else None,
    }.get(step)
    pays = asked is not None and asked.kind != "recorded"
    return pays and is_limited(params.budget) and require_cluster(params).scratch is None


def is_limited(budget: BudgetParams) -> bool:
    """Say whether section `budget` sets any limit."""
    return any(limit is not None for limit in (budget.requests, budget.tokens, budget.cost))


def _waits_by_itself(step: str, cluster: ClusterParams) -> bool:
    """Say whether a step has tried for as long as is wise when it fails: three times two hours help no teacher up."""
    return step == "teacher_up" and cluster.teacher is not None


def placements(cluster: ClusterParams) -> tuple[Placement, Placement, Placement]:
    """Return what pods get that need no GPU, those that train, and those with the teacher in the process."""
    sizes = read_yaml(SIZES)[cluster.size]
    steps, train, generate = (
        getattr(cluster, name) or check(Placement, sizes[name], f"{SIZES}:{cluster.size}.{name}")
        for name in ("steps", "train", "generate")
    )
    return steps, train, generate


def _secrets(step: str, params: Params, has_models: bool) -> Iterator[tuple[str, dict[str, str]]]:
    names = require_cluster(params).secrets
    if step in _READS_STORE:
        yield names.storage, {key: key for key in _STORAGE}
    if step in _READS_GIT:
        yield names.git, {"GIT_USERNAME": "GIT_USERNAME", "GIT_TOKEN": "GIT_TOKEN"}
    if step in _ASKS_TEACHER:
        yield names.teacher, {"api-key": params.teacher.key_env}
    if has_models:
        yield names.hub, {"HF_TOKEN": "HF_TOKEN"}


def _volumes(step: str, params: Params, has_models: bool) -> Iterator[tuple[str, str]]:
    cluster = require_cluster(params)
    if has_models and cluster.model_cache:
        yield MODELS, cluster.model_cache
    if step in _ASKS_TEACHER and cluster.scratch:
        yield SCRATCH, cluster.scratch


def _environment(step: str, params: Params, has_models: bool) -> Iterator[tuple[str, str]]:
    volumes = dict(_volumes(step, params, has_models))
    if MODELS in volumes:
        yield "HF_HOME", MODELS
    if SCRATCH in volumes:
        yield SCRATCH_VARIABLE, SCRATCH


def place(compiled: str, params: Params) -> str:
    """Return a compiled pipeline with what its pods get.

    Args:
        compiled: The pipeline as Kubeflow's compiler writes it: YAML with the pipeline, without or with what Kubernetes
            is told of it.
        params: All of params.yaml.
    """
    comments = [line for line in compiled.splitlines() if line.startswith("#")]
    pipeline, *_ = yaml.safe_load_all(compiled)
    pods = {}
    for name, executor in pipeline["deploymentSpec"]["executors"].items():
        pods[name] = pod_of(_step(name), params)
        executor["container"] |= _container(pods[name])
    components = pipeline["components"]
    for part in (pipeline["root"], *components.values()):
        for name, task in part.get("dag", {}).get("tasks", {}).items():
            executor_name = components[task["componentRef"]["name"]].get("executorLabel")
            if executor_name:
                task["retryPolicy"] = _retry_policy(pods[executor_name].placement)
            elif (
                name.startswith("for-loop") and "iteratorPolicy" in task
            ):  # the loops over cells, not those over students
                task["iteratorPolicy"]["parallelismLimit"] = require_cluster(params).parallel_cells
    on_kubernetes = {name: _on_kubernetes(pod) for name, pod in pods.items()}
    platforms = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": on_kubernetes}}}}
    return "\n".join([*comments, yaml.safe_dump_all([pipeline, platforms], sort_keys=True)])


def _retry_policy(placement: Placement) -> dict[str, Any]:
    """Return how often a task is tried, with what pauses, and for how long altogether.

    Kubeflow hands the whole seconds of `backoffMaxDuration` to Argo as `backoff.maxDuration`, and to Argo that caps no
    pause: it is the time for all tries, from the start of the first, waiting for a node included. After it there is no
    further try, and one that runs then is ended. So it leaves each try its whole time-out; where it is left out there
    is no second try. Argo takes whole factors alone, and gets no cap of a pause from Kubeflow.
    """
    tries = placement.retries + 1
    factor, pause_s = (2, PAUSE_S) if placement.retries <= DOUBLED else (1, PAUSE_S * 2 ** (DOUBLED - 1))
    pauses_s = sum(pause_s * factor**number for number in range(placement.retries))
    return {
        "maxRetryCount": placement.retries,
        "backoffDuration": f"{pause_s}s",
        "backoffFactor": float(factor),
        "backoffMaxDuration": f"{tries * (placement.timeout_s + WAIT_FOR_NODE_S) + pauses_s}s",
    }


def _step(executor: str) -> str:
    """Return the step of an executor, which is named exec-<step>, with a number where a pipeline has it twice."""
    return re.sub(r"-\d+$", "", executor.removeprefix("exec-")).replace("-", "_")


def _container(pod: Pod) -> dict[str, Any]:
    placement = pod.placement
    resources: dict[str, Any] = {
        "resourceCpuRequest": placement.cpu,
        "resourceCpuLimit": placement.cpu_limit,
        "resourceMemoryRequest": placement.memory,
        "resourceMemoryLimit": placement.memory_limit,
    }
    if placement.gpus:
        resources["accelerator"] = {"resourceType": GPU, "resourceCount": str(placement.gpus)}
    environment = [{"name": name, "value": value} for name, value in pod.environment.items()]
    return {"image": pod.image, "resources": resources, **({"env": environment} if environment else {})}


def _on_kubernetes(pod: Pod) -> dict[str, Any]:
    placement = pod.placement
    config: dict[str, Any] = {"activeDeadlineSeconds": str(placement.timeout_s), "imagePullPolicy": "IfNotPresent"}
    if placement.node_selector:
        config["nodeSelector"] = {"labels": placement.node_selector}
    if placement.tolerations:
        config["tolerations"] = [taint.model_dump(exclude_none=True) for taint in placement.tolerations]
    if pod.secrets:
        config["secretAsEnv"] = [
            {
                "secretName": name,
                "secretNameParameter": _constant(name),
                "optional": True,
                "keyToEnv": [{"secretKey": key, "envVar": variable} for key, variable in keys.items()],
            }
            for name, keys in pod.secrets.items()
        ]
    if pod.volumes:
        config["pvcMount"] = [
            {"constant": claim, "pvcNameParameter": _constant(claim), "mountPath": path}
            for path, claim in pod.volumes.items()
        ]
    return config


def _constant(value: str) -> dict[str, Any]:
    return {"runtimeValue": {"constant": value}}
