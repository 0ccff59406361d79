"""What can be known before a run is started, and must not be found out by its pods after an hour."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from polydistill.cluster.arguments import require_cluster
from polydistill.cluster.inputs import THIS_MACHINE, about_inputs
from polydistill.cluster.placement import MODELS, ON_GPU, pays_again, pod_of
from polydistill.errors import ParamsError
from polydistill.params import Params, TeacherParams
from polydistill.workspace import Cell

log = logging.getLogger(__name__)

MOST_CELLS = 100
"""In one run. Kubeflow names all artifacts of a list in the arguments of the step's pod, in 525 to 600 bytes each. Argo
keeps these in ARGO_TEMPLATE, in JSON within JSON, so that quotes take four bytes: 930 an artifact, of the 128 KiB that
Linux has for a variable; a longer one Argo would put into a ConfigMap, which Kubeflow does not let it make. No step
takes two lists, and `snapshot` has most beside its own, 21 KiB: with the settings of the demo 117 cells would do."""
_PLACE = "name a place such as s3://bucket/polydistill"
_ALL_DUE = f"without cluster.store nothing is promoted, so every cell is due at every start; {_PLACE}"
_NO_EMBEDDINGS = "the image polydistill has no sentence-transformers, and no place for a model of it"


def check_run(
    pipeline: str, params: Params, cells: Sequence[Cell], *, variants: Sequence[Params] = (), scheduled: bool = False
) -> None:
    """Check that params.yaml is one for a cluster, and that the data of the cells are where the pods read them.

    Args:
        pipeline: The one to run.
        params: All of params.yaml.
        cells: What is to run.
        variants: Of `ablate`: params.yaml as each variant changes it.
        scheduled: Whether the clock is to start it, again and again.

    Raises:
        ParamsError: If not; a line for each reason.
    """
    each = variants or [params]
    recorded = any(of.teacher.kind == "recorded" for of in each)
    problems = [
        *_about_number(pipeline, each, scheduled),
        *about_inputs(params, cells, recorded=recorded, kept=pipeline != "ablate"),
        *_about_places(params),
    ]
    if pipeline == "ablate":  # it selects and serves nothing, and measures no texts
        for of in each:
            problems += _about_steps(of)
    else:
        problems += [*_about_promotion(pipeline, params, scheduled), *_about_steps(params), *_about_measure(params)]
    if problems:
        raise ParamsError("\n".join(dict.fromkeys(problems)))
    _warn(each)
    if pipeline == "retrain" and require_cluster(params).store is None:
        log.warning("%s", _ALL_DUE)


def _warn(each: Sequence[Params]) -> None:
    cluster = require_cluster(each[0])
    students = sorted(ON_GPU & {kind for of in each for kind in of.train.students})
    if students and cluster.teacher:
        log.warning(
            "the run holds the teacher and its GPUs to its end, and %s train on one more: with fewer in the cluster "
            "the pods of `train` wait for ever; see `kubectl describe nodes`",
            " and ".join(students),
        )
    for url in dict.fromkeys(of.teacher.url for of in each if of.teacher.kind == "openai"):
        namespace = _namespace(urlsplit(url or "").hostname or "", cluster.namespace)
        if cluster.teacher is None and namespace:
            log.warning(
                "teacher.url: %s reads as a Service in namespace %s, and with cluster.teacher: null no run scales it "
                "up; see `kubectl -n %s get deployment`",
                url,
                namespace,
                namespace,
            )
    paying = [step for step in ("generate", "train", "evaluate") if any(pays_again(step, of) for of in each)]
    if paying:
        log.warning(
            "section budget sets a limit and cluster.scratch is null: paid replies are lost with their pod, and the "
            "next would spend the limit again, so after a failure there is no second try of %s, and the next run "
            "spends it anew; set cluster.scratch to a ReadWriteMany volume claim, such as that of "
            "manifests/components/scratch",
            " and ".join(paying),
        )
    if any(_checks_language(of) and of.filter.wrong_language.identifier == "lingua" for of in each):
        log.warning(
            "filter.wrong_language.identifier: lingua is in no image unless it was built so: "
            "`make images BUILD_ARGS='--build-arg EXTRAS=...,lingua'`"
        )


def _checks_language(params: Params) -> bool:
    return bool({"wrong_language", "mixed_language", "unclear_language"} & set(params.filter.checks))


def _about_number(pipeline: str, each: Sequence[Params], scheduled: bool) -> Iterator[str]:
    cells = sum(len(of.cells) for of in each)
    if cells <= MOST_CELLS:
        return
    if pipeline == "ablate":
        what, instead = "cells, counted for each variant", "name some cells with --cell, or compare fewer variants"
    elif scheduled:
        what, instead = "cells", "name some with --cell, and the others in further schedules, each with its own --name"
    else:
        what, instead = "cells", "name some with --cell, and start a run for the others"
    yield f"{pipeline} has {cells} {what}, and Kubeflow can take {MOST_CELLS} in one run; {instead}"


def _about_places(params: Params) -> Iterator[str]:
    cluster = require_cluster(params)
    if cluster.store and not cluster.store.startswith("s3://"):
        yield (
            f"cluster.store: {cluster.store}: only s3:// has been made to work on a cluster, whose pods get no other "
            "credentials"
        )
    if cluster.registry and "://" in cluster.registry:
        host = cluster.registry.partition("://")[2]
        yield f"cluster.registry: {cluster.registry}: the name of an image has no scheme; write {host}"


def _about_promotion(pipeline: str, params: Params, scheduled: bool) -> Iterator[str]:
    cluster, students = require_cluster(params), params.train.students
    if cluster.store is None and cluster.serving:
        yield (
            f"cluster.serving: {cluster.serving.deployment} serves what is promoted, and without cluster.store nothing "
            f"is; {_PLACE}, or set cluster.serving to null"
        )
    elif cluster.store is None and pipeline == "retrain" and scheduled:
        yield _ALL_DUE
    if set(students) == {"icl"}:
        yield "train.students has icl alone, with which no service can answer, so `select` refuses it; add another kind"
    if "lora" in students and cluster.serving:
        yield (
            "train.students has lora, whose answers need PyTorch, which the image of the service lacks; take it out, "
            "or set cluster.serving to null and serve the bento yourself, from the image polydistill-train"
        )


def _about_steps(params: Params) -> Iterator[str]:
    yield from _about_gpus(params)
    yield from _about_teacher(params)
    yield from _about_icl(params)
    yield from _about_models(params)


def _about_icl(params: Params) -> Iterator[str]:
    icl = params.train.icl
    if "icl" not in params.train.students or icl is None:
        return
    if (icl.teacher or params.teacher).kind == "vllm":
        key = "train.icl.teacher.kind" if icl.teacher else "teacher.kind"
        yield (
            f"{key}: vllm is no server, which icl asks; set train.icl.teacher to one of kind openai, or take icl out "
            "of train.students"
        )
    if icl.teacher:
        yield from _out_of_reach("train.icl.teacher", icl.teacher, params)


def _about_gpus(params: Params) -> Iterator[str]:
    size = f"cluster.size: {require_cluster(params).size}"
    students = sorted(ON_GPU & set(params.train.students))
    if students and not pod_of("train", params).placement.gpus:
        yield (
            f"train.students has {', '.join(students)}, which a CPU trains for days, and {size} gives `train` no GPU; "
            "take a size with one, or set cluster.train.gpus"
        )
    if params.teacher.kind == "vllm" and not pod_of("generate", params).placement.gpus:
        yield (
            f"teacher.kind: vllm runs the LLM in the pod of `generate`, and {size} gives it no GPU; "
            "take a size with one, or set cluster.generate.gpus"
        )


def _about_teacher(params: Params) -> Iterator[str]:
    cluster, teacher = require_cluster(params), params.teacher
    on_demand = cluster.teacher
    yield from _out_of_reach("teacher", teacher, params)
    if teacher.kind != "openai":
        if on_demand:
            yield (
                f"cluster.teacher scales up {on_demand.deployment}, which teacher.kind: {teacher.kind} never asks; "
                "set cluster.teacher to null, or teacher.kind to openai and teacher.url to its Service"
            )
        return
    if on_demand:
        yield from _unnamed("teacher", teacher)
        icl = params.train.icl if "icl" in params.train.students else None
        if icl and icl.teacher and icl.teacher.url == teacher.url:
            yield from _unnamed("train.icl.teacher", icl.teacher)
    namespace = _namespace(urlsplit(teacher.url or "").hostname or "", cluster.namespace)
    if on_demand and namespace not in (None, on_demand.namespace):
        yield (
            f"teacher.url: {teacher.url} is a Service in namespace {namespace}, and "
            f"cluster.teacher scales up {on_demand.deployment} in namespace {on_demand.namespace}; see "
            f"`kubectl -n {on_demand.namespace} get service`"
        )


def _unnamed(key: str, teacher: TeacherParams) -> Iterator[str]:
    for part in ("model", "revision"):
        if getattr(teacher, part) is None:
            yield (
                f"{key}.{part} is null, and what cluster.teacher serves stands in its manifest alone: once that "
                "changes, Kubeflow's cache takes the texts and scores of the old teacher for those of the new one; set "
                f"it to {part.upper()} of the overlay's teacher-model, and change both together"
            )


def _out_of_reach(key: str, teacher: TeacherParams, params: Params) -> Iterator[str]:
    if teacher.kind == "openai" and urlsplit(teacher.url or "").hostname in THIS_MACHINE:
        yield (
            f"{key}.url: {teacher.url} is this machine, and to a pod the pod itself; "
            "name a Service, such as http://teacher.polydistill:8000/v1"
        )
    if teacher.kind == "openai" and teacher.key_file:
        cluster = require_cluster(params)
        yield (
            f"{key}.key_file is a file of this machine, which no pod has; set it to null, and put the key into a "
            f"secret: `kubectl -n {cluster.namespace} create secret generic {cluster.secrets.teacher} "
            "--from-literal=api-key=...`"
        )


def _about_models(params: Params) -> Iterator[str]:
    train, teacher = params.train, params.teacher
    named = {
        "train.encoder.model": train.encoder.model if train.encoder and "encoder" in train.students else None,
        "train.lora.model": train.lora.model if train.lora and "lora" in train.students else None,
        "teacher.model": teacher.model if teacher.kind == "vllm" else None,
    }
    for key, model in named.items():
        if model and _is_folder(model) and not model.startswith(f"{MODELS}/"):
            yield (
                f"{key}: {model} is a folder of this machine, which no pod has; name a model of the Hugging Face hub, "
                f"or a folder below {MODELS}, where pods have the volume cluster.model_cache"
            )
        elif model and model.startswith(f"{MODELS}/") and not require_cluster(params).model_cache:
            yield f"{key}: {model}: pods have {MODELS} only where cluster.model_cache names a volume claim"
    if "similar_meaning" in params.filter.checks:
        yield f"filter.checks has similar_meaning: {_NO_EMBEDDINGS}; take it out"


def _about_measure(params: Params) -> Iterator[str]:
    if params.measure.embedding_model:
        yield f"measure.embedding_model: {_NO_EMBEDDINGS}; set it to null"


def _is_folder(model: str) -> bool:
    return model.startswith(("/", ".", "~")) or Path(model).is_dir()


def _namespace(host: str, own: str) -> str | None:
    """Return the namespace of a Service by its name in the cluster; None for a host elsewhere."""
    labels = host.split(".")
    if host in THIS_MACHINE:
        return None
    if len(labels) == 1:
        return own
    return labels[1] if len(labels) == 2 or labels[2] == "svc" else None
