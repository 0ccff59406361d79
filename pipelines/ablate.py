"""An ablation as a Kubeflow pipeline: every variant of the settings in every cell in parallel, then all side by side.

README.md beside this file says how to compile it and how to run it.
"""

from collections.abc import Sequence
from typing import Any

from kfp import dsl

from components.ablate.component import ablate as ablate_step
from pipelines.chain import never_cached, score_cell
from polydistill.ablate.variants import Variant, with_changes
from polydistill.params import Params, to_struct

SECTIONS = ("teacher", "budget", "prepare", "generate", "filter", "train", "evaluate")


@dsl.pipeline(name="score-variant", description="One variant of the settings in one cell.")
def score_variant(
    data: str,
    cell: str,
    variant: str,
    students: list,
    teacher: dict,
    budget: dict,
    prepare: dict,
    generate: dict,
    filter: dict,
    train: dict,
    evaluate: dict,
) -> dsl.Artifact:
    """Return what `evaluate` writes of one variant in one cell.

    A pipeline of its own, since kfp's local runner takes the item of an outer loop, inside the loop over students, for
    a student (kfp 2.17). The parameters are those of `distill`, and the name of the variant.
    """
    tasks = score_cell(
        data=data,
        cell=cell,
        students=students,
        teacher=teacher,
        budget=budget,
        prepare=prepare,
        generate=generate,
        filter=filter,
        train=train,
        evaluate=evaluate,
        variant=variant,
    )
    never_cached(*tasks)
    return tasks.evaluated.outputs["evaluated"]


@dsl.pipeline(name="ablate", description="Variants of the settings side by side, on the same test texts.")
def ablate(data: str, runs: list) -> None:
    """Score the students of every variant in every cell.

    Args:
        data: Folder with a folder a task (task.yaml, a folder a language), as the pods see it.
        runs: What to run, one for each variant and cell: `variant`, its name; `cell`, task/language; `students`, the
            kinds to train; and the sections of params.yaml that a cell needs, by their names.
    """
    with dsl.ParallelFor(runs) as run:
        scored = score_variant(
            data=data,
            cell=run.cell,
            variant=run.variant,
            students=run.students,
            teacher=run.teacher,
            budget=run.budget,
            prepare=run.prepare,
            generate=run.generate,
            filter=run.filter,
            train=run.train,
            evaluate=run.evaluate,
        )
    ablated = ablate_step(evaluated=dsl.Collected(scored.output))
    never_cached(ablated)


def arguments(params: Params, variants: Sequence[Variant], data: str) -> dict[str, Any]:
    """Return the arguments of `ablate` that run these variants of params.yaml on the folder `data`."""
    runs = []
    for variant in variants:
        changed = with_changes(params, variant.changes)
        sections = {name: to_struct(getattr(changed, name)) for name in SECTIONS}
        students = changed.train.students
        runs += [{"variant": variant.name, "cell": cell, "students": students, **sections} for cell in changed.cells]
    return {"data": data, "runs": runs}
