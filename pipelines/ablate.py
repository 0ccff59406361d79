"""An ablation as a Kubeflow pipeline: every variant of the settings in every cell in parallel, then all side by side.

README.md beside this file says how to compile it and how to run it.
"""

from kfp import dsl

from components.ablate.component import ablate as ablate_step
from components.fetch.component import fetch as fetch_step
from components.locate.component import locate as locate_step
from components.teacher_down.component import teacher_down
from components.teacher_up.component import teacher_up
from pipelines.chain import RUN, cached, never_cached, score_cell


@dsl.pipeline(name="score-variant", description="One variant of the settings in one cell.")
def score_variant(
    repository: str,
    data: dsl.Input[dsl.Dataset],
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
    a student (kfp 2.17). The parameters are those of `distill`, what `fetch` wrote, and the name of the variant.
    """
    located = locate_step(data=data, cell=cell)
    tasks = score_cell(
        repository=repository,
        commit=located.outputs["commit"],
        digest=located.outputs["digest"],
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
    cached(tasks.loaded, tasks.prepared, tasks.generated, tasks.filtered, tasks.trained)
    never_cached(located)
    never_cached(tasks.evaluated)  # Kubeflow (2.16) cannot read a list of artifacts of this run and of others
    return tasks.evaluated.outputs["evaluated"]


@dsl.pipeline(name="ablate", description="Variants of the settings side by side, on the same test texts.")
def ablate(repository: str, revision: str, cells: list, cluster: dict, runs: list) -> None:
    """Score the students of every variant in every cell.

    Args:
        repository: Git repository with data/, as the pods reach it; or a folder.
        revision: Branch, tag or commit to read it at; empty for a folder as it lies.
        cells: The cells that `runs` names.
        cluster: Section `cluster` of params.yaml.
        runs: What to run, one for each variant and cell: `variant`, its name; `cell`, task/language; `students`, the
            kinds to train; and the sections of params.yaml that a cell needs, by their names.
    """
    let_go = teacher_down(run=RUN, cluster=cluster)
    with dsl.ExitHandler(let_go):
        fetched = fetch_step(repository=repository, revision=revision, cells=cells, will_push=False)
        ready = teacher_up(run=RUN, cluster=cluster).after(fetched)
        with dsl.ParallelFor(runs, parallelism=4) as run:  # `place` has the last word on how many
            scored = score_variant(
                repository=repository,
                data=fetched.outputs["data"],
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
            ).after(ready)
        ablated = ablate_step(evaluated=dsl.Collected(scored.output))
    never_cached(let_go, fetched, ready, ablated)
