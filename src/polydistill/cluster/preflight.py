"""What can be known before a run is started, and must not be found out by its pods after an hour."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from polydistill.cluster.arguments import require_cluster
from polydistill.cluster.git import checked_out, parse_address
from polydistill.cluster.placement import ON_GPU, pod_of
from polydistill.errors import ParamsError, PolydistillError
from polydistill.params import Params
from polydistill.workspace import Cell

log = logging.getLogger(__name__)

_THIS_MACHINE = {"localhost", "127.0.0.1", "0.0.0.0", "[::1]", "::1"}


def check_run(params: Params, cells: Sequence[Cell]) -> None:
    """Check that params.yaml is one for a cluster, and that the data of the cells are where the pods read them.

    Raises:
        ParamsError: If not; a line for each reason.
    """
    problems = [*_about_repository(params, cells), *_about_gpus(params), *_about_teacher(params)]
    if problems:
        raise ParamsError("\n".join(problems))
    students = sorted(ON_GPU & set(params.train.students))
    if students and require_cluster(params).teacher:
        log.warning(
            "the run holds the teacher and its GPUs to its end, and %s train on one more: with fewer in the cluster "
            "the pods of `train` wait for ever; see `kubectl describe nodes`",
            " and ".join(students),
        )


def _about_repository(params: Params, cells: Sequence[Cell]) -> Iterator[str]:
    cluster = require_cluster(params)
    if cluster.repository is None:
        yield "cluster.repository is not set: name the git repository of this workspace as the pods reach it"
        return
    try:
        address = parse_address(cluster.repository)
        with checked_out(address, cluster.revision) as checkout:
            where = f"in {address} at {cluster.revision}"
            for cell in cells:
                if not _has_data(checkout.workspace, cell):
                    pushed = "commit and push it" if _has_data(cell.root, cell) else "and not in data/ here either"
                    yield f"cell {cell.name} has no data {where}: {pushed}; there are {_known(checkout.workspace)}"
    except ParamsError as exc:
        yield str(exc)
    except PolydistillError as exc:
        log.warning("%s; so only data/ here was looked at, and not that %s has it", exc, cluster.revision)
        for cell in cells:
            if not _has_data(cell.root, cell):
                yield f"cell {cell.name} has no data in {cell.root / 'data'}; there are {_known(cell.root)}"


def _has_data(workspace: Path, cell: Cell) -> bool:
    """Return whether a cell has its files; in their place DVC may have a file that names them."""
    task = workspace / "data" / cell.task
    by_dvc = any(folder.with_name(f"{folder.name}.dvc").is_file() for folder in (task, task.parent))
    has_task = any((task / name).is_file() for name in ("task.yaml", "task.yaml.dvc"))
    has_texts = (task / cell.language).is_dir() or (task / f"{cell.language}.dvc").is_file()
    return by_dvc or (has_task and has_texts)


def _known(workspace: Path) -> str:
    tasks = sorted(file.parent for file in (workspace / "data").glob("*/task.yaml"))
    cells = [f"{task.name}/{folder.name}" for task in tasks for folder in sorted(task.iterdir()) if folder.is_dir()]
    return ", ".join(cells) or "none"


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
    if teacher.kind != "openai":
        if on_demand:
            yield (
                f"cluster.teacher scales up {on_demand.deployment}, which teacher.kind: {teacher.kind} never asks; "
                "set cluster.teacher to null, or teacher.kind to openai and teacher.url to its Service"
            )
        return
    host = urlsplit(teacher.url or "").hostname or ""
    if host in _THIS_MACHINE:
        yield (
            f"teacher.url: {teacher.url} is this machine, and to a pod the pod itself; "
            "name a Service, such as http://teacher.polydistill:8000/v1"
        )
    elif on_demand and _namespace(host, cluster.namespace) not in (None, on_demand.namespace):
        yield (
            f"teacher.url: {teacher.url} is a Service in namespace {_namespace(host, cluster.namespace)}, and "
            f"cluster.teacher scales up {on_demand.deployment} in namespace {on_demand.namespace}; see "
            f"`kubectl -n {on_demand.namespace} get service`"
        )


def _namespace(host: str, own: str) -> str | None:
    """Return the namespace of a Service by its name in the cluster; None for a host elsewhere."""
    labels = host.split(".")
    if len(labels) == 1:
        return own
    return labels[1] if len(labels) == 2 or labels[2] == "svc" else None
