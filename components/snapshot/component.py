"""The component of `snapshot`."""

from kfp import dsl

from components import component


@component
def snapshot(
    run: str,
    repository: str,
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
    cluster: dict,
    data: dsl.Input[dsl.Dataset],
    bundles: dsl.Input[list[dsl.Artifact]],
    report: dsl.Input[dsl.Artifact],
    bento: dsl.Input[dsl.Artifact],
    snapshot: dsl.Output[dsl.Artifact],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Keep all outputs of a run: DVC's remote has them, a branch of the repository points at them.

    Args:
        run: Name of the run.
        repository: As of `fetch`.
        teacher: Section of params.yaml.
        budget: Section of params.yaml.
        prepare: Section of params.yaml.
        generate: Section of params.yaml.
        filter: Section of params.yaml.
        measure: Section of params.yaml.
        train: Section of params.yaml.
        evaluate: Section of params.yaml.
        select: Section of params.yaml.
        package: Section of params.yaml.
        monitor: Section of params.yaml.
        cluster: Section of params.yaml.
        data: What `fetch` wrote.
        bundles: What `bundle` wrote, for each cell.
        report: What `report` wrote.
        bento: What `package` wrote.
        snapshot: The branch and its commit, and the lineage: digests of all that the run read and wrote.
        summary: The same for a person: how to check it out.
    """
    from pathlib import Path

    from polydistill.cluster.snapshot import run_snapshot, told_in_markdown

    sections = {
        "teacher": teacher,
        "budget": budget,
        "prepare": prepare,
        "generate": generate,
        "filter": filter,
        "measure": measure,
        "train": train,
        "evaluate": evaluate,
        "select": select,
        "package": package,
        "monitor": monitor,
        "cluster": cluster,
    }
    told = run_snapshot(
        repository,
        Path(data.path),
        run,
        sections,
        [Path(bundle.path) for bundle in bundles],
        {"report": Path(report.path), "bento": Path(bento.path)},
        Path(snapshot.path),
    )
    Path(summary.path).write_text(told_in_markdown(told), encoding="utf-8")
