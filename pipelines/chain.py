"""What the pipelines have in common: a cell from its texts to the scores of its students."""

from typing import Any, NamedTuple

from kfp import dsl

from components.evaluate.component import evaluate as evaluate_step
from components.filter.component import filter as filter_step
from components.generate.component import generate as generate_step
from components.prepare.component import prepare as prepare_step
from components.train.component import train as train_step


class Scored(NamedTuple):
    """The tasks of a cell up to `evaluate`."""

    prepared: dsl.PipelineTask
    generated: dsl.PipelineTask
    filtered: dsl.PipelineTask
    trained: dsl.PipelineTask
    evaluated: dsl.PipelineTask


def score_cell(
    *,
    data: Any,
    cell: Any,
    students: Any,
    teacher: Any,
    budget: Any,
    prepare: Any,
    generate: Any,
    filter: Any,
    train: Any,
    evaluate: Any,
    variant: Any = "",
) -> Scored:
    """Add the tasks of one cell to the pipeline that is being made.

    The arguments are parameters of the pipeline; `data` and `cell` may be items of a loop over cells too.
    """
    prepared = prepare_step(data=data, cell=cell, params=prepare)
    generated = generate_step(
        data=data,
        cell=cell,
        prepared=prepared.outputs["prepared"],
        params=generate,
        checks=filter,
        teacher=teacher,
        budget=budget,
    )
    filtered = filter_step(
        prepared=prepared.outputs["prepared"],
        generated=generated.outputs["generated"],
        params=filter,
        generation=generate,
    )
    with dsl.ParallelFor(students) as student:
        trained = train_step(
            data=data,
            prepared=prepared.outputs["prepared"],
            filtered=filtered.outputs["filtered"],
            student=student,
            params=train,
            teacher=teacher,
            budget=budget,
        )
    evaluated = evaluate_step(
        data=data,
        cell=cell,
        prepared=prepared.outputs["prepared"],
        heldout=prepared.outputs["heldout"],
        trained=dsl.Collected(trained.outputs["trained"]),
        params=evaluate,
        teacher=teacher,
        budget=budget,
        variant=variant,
    )
    return Scored(prepared, generated, filtered, trained, evaluated)


def never_cached(*tasks: dsl.PipelineTask) -> None:
    """Have every task run each time.

    Kubeflow's cache knows an input by its name, not by its content: changed texts would be taken for old ones.
    """
    for task in tasks:
        task.set_caching_options(False)
