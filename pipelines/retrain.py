"""The chain for the cells that drifted or fell due: champion against challenger, the champions of all others stay.

Its parameters are those of `distill`. With nothing due it ends at once, and the teacher stays where it is.
"""

from kfp import dsl

from components.champions.component import champions as champions_step
from components.due.component import due as due_step
from components.fetch.component import fetch as fetch_step
from components.teacher_down.component import teacher_down
from components.teacher_up.component import teacher_up
from pipelines.chain import RUN, Settings, distil_cells, never_cached


@dsl.pipeline(name="retrain", description="Trains again what drifted or fell due; promotes what is better, or newer.")
def retrain(
    repository: str,
    revision: str,
    cells: list,
    students: list,
    cluster: dict,
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
    """Train again the cells that are due, and promote the students that are better, or as good on newer data.

    Args:
        repository: Git repository with data/, as the pods reach it; or a folder.
        revision: Branch, tag or commit to read it at; empty for a folder as it lies.
        cells: What may be due, task/language each.
        students: The kinds of student in `train`, once more: Kubeflow cannot loop over a part of a parameter.
        cluster: Section `cluster` of params.yaml; so are those below, each by its name.
        teacher: The LLM that writes training texts.
        budget: What a cell may cost.
        prepare: Seeds a label.
        generate: Texts a label, sampling, self-revision.
        filter: Bounds of what is accepted.
        measure: Texts to compare, and gates.
        train: Students, sizes and runs.
        evaluate: Zero-shot comparison and intervals.
        select: The score that decides.
        package: Name of the bento.
        monitor: What counts as drift.
    """
    settings = Settings(
        students,
        cluster,
        teacher,
        budget,
        prepare,
        generate,
        filter,
        measure,
        train,
        evaluate,
        select,
        package,
        monitor,
    )
    let_go = teacher_down(run=RUN, cluster=cluster)
    with dsl.ExitHandler(let_go):
        due = due_step(cluster=cluster, cells=cells, repository=repository, revision=revision)
        with dsl.If(due.outputs["Output"] != ""):
            fetched = fetch_step(repository=repository, revision=revision, cells=cells, only=due.outputs["Output"])
            champions = champions_step(cluster=cluster, cells=cells, only=due.outputs["Output"])
            ready = teacher_up(run=RUN, cluster=cluster).after(fetched, champions)
            distil_cells(fetched=fetched, champions=champions, ready=ready, repository=repository, settings=settings)
    never_cached(let_go, due, fetched, champions, ready)
