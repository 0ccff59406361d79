"""The whole chain as a Kubeflow pipeline: every cell by itself and in parallel, then all winners together.

Its parameters are the sections of params.yaml, by their names; `arguments` returns them. README.md beside this file
says how to compile it and how to run it.
"""

from typing import Any

from kfp import dsl

from components.card.component import card as card_step
from components.evaluate.component import evaluate as evaluate_step
from components.filter.component import filter as filter_step
from components.generate.component import generate as generate_step
from components.measure.component import measure as measure_step
from components.monitor.component import monitor as monitor_step
from components.package.component import package as package_step
from components.prepare.component import prepare as prepare_step
from components.report.component import report as report_step
from components.select.component import select as select_step
from components.serve.component import serve as serve_step
from components.train.component import train as train_step
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
        measured = measure_step(
            prepared=prepared.outputs["prepared"], filtered=filtered.outputs["filtered"], params=measure
        )
        with dsl.ParallelFor(students) as student:
            trained = train_step(
                prepared=prepared.outputs["prepared"],
                filtered=filtered.outputs["filtered"],
                student=student,
                params=train,
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
    for task in (*of_cell, report, packaged, served, monitored):
        # Kubeflow's cache knows an input by its name, not by its content: changed texts would be taken for old ones.
        task.set_caching_options(False)


def arguments(params: Params, data: str) -> dict[str, Any]:
    """Return the arguments of `distill` that run what params.yaml says on the folder `data`."""
    sections = distill.component_spec.inputs.keys() & Params.model_fields.keys() - {"cells"}
    structs = {name: to_struct(getattr(params, name)) for name in sorted(sections)}
    return {"data": data, "cells": params.cells, "students": params.train.students, **structs}
