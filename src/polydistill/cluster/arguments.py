"""Decides with which arguments a pipeline runs what params.yaml says."""

from collections.abc import Sequence
from typing import Any

from polydistill.ablate.variants import Variant, with_changes
from polydistill.errors import ParamsError
from polydistill.params import ClusterParams, Params, to_struct

SECTIONS = ("budget", "evaluate", "filter", "generate", "measure", "monitor", "package", "prepare", "select", "train")
OF_A_VARIANT = ("teacher", "budget", "prepare", "generate", "filter", "train", "evaluate")


def require_cluster(params: Params) -> ClusterParams:
    """Return section `cluster`.

    Raises:
        ParamsError: If params.yaml has none.
    """
    if params.cluster is None:
        raise ParamsError("params.yaml has no section `cluster`; `polydistill init` writes one into a new workspace")
    return params.cluster


def chain_arguments(params: Params, repository: str, revision: str) -> dict[str, Any]:
    """Return the arguments of `distill` and `retrain`.

    Args:
        params: All of params.yaml.
        repository: Git repository, or a folder, with data/, as the pods reach it.
        revision: Branch, tag or commit; "" for a folder as it lies.
    """
    return {
        "repository": repository,
        "revision": revision,
        "cells": params.cells,
        "students": params.train.students,
        "cluster": to_struct(require_cluster(params)),
        "teacher": to_struct(params.teacher),
        **{name: to_struct(getattr(params, name)) for name in SECTIONS},
    }


def ablate_arguments(params: Params, variants: Sequence[Variant], repository: str, revision: str) -> dict[str, Any]:
    """Return the arguments of `ablate` that run these variants of params.yaml."""
    runs = []
    for variant in variants:
        changed = with_changes(params, variant.changes)
        sections = {name: to_struct(getattr(changed, name)) for name in OF_A_VARIANT}
        students = changed.train.students
        runs += [{"variant": variant.name, "cell": cell, "students": students, **sections} for cell in changed.cells]
    cells = list(dict.fromkeys(run["cell"] for run in runs))
    cluster = to_struct(require_cluster(params))
    return {"repository": repository, "revision": revision, "cells": cells, "cluster": cluster, "runs": runs}
