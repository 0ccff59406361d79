"""The whole chain as a Kubeflow pipeline: every cell by itself and in parallel, then all winners together.

Its parameters are the sections of params.yaml, by their names; `arguments` returns them. README.md beside this file
says how to compile it and how to run it.
"""

from typing import Any

from kfp import dsl

from components.card.component import card as card_step
from components.measure.component import measure as measure_step
from components.monitor.component import monitor as monitor_step
from components.package.component import package as package_step
from components.report.component import report as report_step
from components.select.component import select as select_step
from components.serve.component import serve as serve_step
from pipelines.chain import never_cached, score_cell
from polydistill.params import Params, to_struct


@dsl.pipeline(name="distill", description="Seeds to served winners: distils an LLM into small text classifiers.")
def distill(
    data: str,
    cells: list,
    students: list,
    teacher: dict,
    budget: dict,
    prepare: dict,
    generate: dict,
    filter: dict,
    measure: dict,
    train: dict,
    evaluate: dict,
    select: dict,
    package: dict,
    monitor: dict,
) -> None:
    """Train, choose and package a student for every cell.

    Args:
        data: Folder with a folder a task (task.yaml, a folder a language), as the pods see it.
        cells: What to run, task/language each.
        students: The kinds of student in `train`, once more: Kubeflow cannot loop over a part of a parameter.
        teacher: Section `teacher` of params.yaml; so are those below, each by its name.
        budget: What a cell may cost.
        prepare: Seeds a label.
        generate: Texts a label, sampling, self-revision.
        filter: Bounds of what is accepted.
        measure: Texts to compare.
        train: Students, sizes and runs.
        evaluate: Zero-shot comparison and intervals.
        select: The score that decides.
        package: Name of the bento.
        monitor: What counts as drift.
    """
    with dsl.ParallelFor(cells) as cell:
        prepared, generated, filtered, trained, evaluated = score_cell(
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
        )
        measured = measure_step(
            prepared=prepared.outputs["prepared"], filtered=filtered.outputs["filtered"], params=measure
        )
        selected = select_step(
            prepared=prepared.outputs["prepared"],
            filtered=filtered.outputs["filtered"],
            trained=dsl.Collected(trained.outputs["trained"]),
            params=select,
        )
        card = card_step(
            prepared=prepared.outputs["prepared"],
            generated=generated.outputs["generated"],
            filtered=filtered.outputs["filtered"],
            measured=measured.outputs["measured"],
            evaluated=evaluated.outputs["evaluated"],
            selected=selected.outputs["selected"],
        )
    # The compiler changes a Collected for its consumer, so each consumer has its own.
    winner, facts = selected.outputs["winner"], card.outputs["card"]
    report = report_step(cards=dsl.Collected(facts))
    packaged = package_step(winners=dsl.Collected(winner), cards=dsl.Collected(facts), params=package)
    served = serve_step(bento=packaged.outputs["bento"], winners=dsl.Collected(winner))
    monitored = monitor_step(winners=dsl.Collected(winner), served=served.outputs["served"], params=monitor)

    of_cell = (prepared, generated, filtered, measured, trained, evaluated, selected, card)
    never_cached(*of_cell, report, packaged, served, monitored)


def arguments(params: Params, data: str) -> dict[str, Any]:
    """Return the arguments of `distill` that run what params.yaml says on the folder `data`."""
    sections = distill.component_spec.inputs.keys() & Params.model_fields.keys() - {"cells"}
    structs = {name: to_struct(getattr(params, name)) for name in sorted(sections)}
    return {"data": data, "cells": params.cells, "students": params.train.students, **structs}
