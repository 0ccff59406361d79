"""What the pipelines have in common: a cell from its texts to its scores, and from there to what is served."""

from typing import Any, NamedTuple

from kfp import dsl

from components.bundle.component import bundle as bundle_step
from components.card.component import card as card_step
from components.challenge.component import challenge as challenge_step
from components.deploy.component import deploy as deploy_step
from components.evaluate.component import evaluate as evaluate_step
from components.filter.component import filter as filter_step
from components.generate.component import generate as generate_step
from components.load.component import load as load_step
from components.measure.component import measure as measure_step
from components.monitor.component import monitor as monitor_step
from components.package.component import package as package_step
from components.prepare.component import prepare as prepare_step
from components.promote.component import promote as promote_step
from components.report.component import report as report_step
from components.select.component import select as select_step
from components.serve.component import serve as serve_step
from components.snapshot.component import snapshot as snapshot_step
from components.train.component import train as train_step

RUN = dsl.PIPELINE_JOB_ID_PLACEHOLDER


class Settings(NamedTuple):
    """Parameters of a pipeline that are sections of params.yaml, each by its name, and the kinds of student."""

    students: Any
    cluster: Any
    teacher: Any
    budget: Any
    prepare: Any
    generate: Any
    filter: Any
    measure: Any
    train: Any
    evaluate: Any
    select: Any
    package: Any
    monitor: Any


class Scored(NamedTuple):
    """The tasks of a cell up to `evaluate`."""

    loaded: dsl.PipelineTask
    prepared: dsl.PipelineTask
    generated: dsl.PipelineTask
    filtered: dsl.PipelineTask
    trained: dsl.PipelineTask
    evaluated: dsl.PipelineTask


def score_cell(
    *,
    repository: Any,
    commit: Any,
    digest: Any,
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

    Kubeflow's cache goes by parameters, the image, and for artifacts by which task of which run made them, not by what
    is in them. So the first task takes parameters alone, which stay the same until the texts change. Each other is
    given the digests of what it reads too: a changed text is never a hit, however Kubeflow tells artifacts apart.

    Args:
        repository: Where the data are.
        commit: The last that changed the data of the cell.
        digest: That of its data.
        cell: Name of the cell; it may be an item of a loop.
        students: Parameters of the pipeline, as are those that follow: sections of params.yaml, each by its name.
        teacher: See above.
        budget: See above.
        prepare: See above.
        generate: See above.
        filter: See above.
        train: See above.
        evaluate: See above.
        variant: Name of the settings, where several are compared.
    """
    loaded = load_step(repository=repository, cell=cell, commit=commit, digest=digest)
    data = loaded.outputs["data"]
    prepared = prepare_step(data=data, data_digest=loaded.outputs["Output"], cell=cell, params=prepare)
    splits, of_splits = prepared.outputs["prepared"], prepared.outputs["Output"]
    generated = generate_step(
        data=data,
        cell=cell,
        prepared=splits,
        prepared_digest=of_splits,
        params=generate,
        checks=filter,
        teacher=teacher,
        budget=budget,
    )
    filtered = filter_step(
        prepared=splits,
        prepared_digest=of_splits,
        generated=generated.outputs["generated"],
        generated_digest=generated.outputs["Output"],
        params=filter,
        generation=generate,
    )
    with dsl.ParallelFor(students) as student:
        trained = train_step(
            data=data,
            prepared=splits,
            prepared_digest=of_splits,
            filtered=filtered.outputs["filtered"],
            filtered_digest=filtered.outputs["Output"],
            student=student,
            params=train,
            teacher=teacher,
            budget=budget,
        )
    evaluated = evaluate_step(
        data=data,
        cell=cell,
        prepared=splits,
        prepared_digest=of_splits,
        heldout=prepared.outputs["heldout"],
        trained=dsl.Collected(trained.outputs["trained"]),
        trained_digests=dsl.Collected(trained.outputs["Output"]),
        params=evaluate,
        teacher=teacher,
        budget=budget,
        variant=variant,
    )
    return Scored(loaded, prepared, generated, filtered, trained, evaluated)


def distil_cells(
    *,
    fetched: dsl.PipelineTask,
    champions: dsl.PipelineTask,
    ready: dsl.PipelineTask,
    repository: Any,
    settings: Settings,
) -> None:
    """Add the tasks that turn the data of some cells into a bento that is served.

    Args:
        fetched: The data, and the cells with their digests and when they changed.
        champions: What is served now.
        ready: The teacher can be asked after this task.
        repository: Where the data are, and the outputs are committed, with a branch a run.
        settings: Sections of params.yaml.
    """
    data, cluster = fetched.outputs["data"], settings.cluster
    with dsl.ParallelFor(fetched.outputs["Output"], parallelism=4) as item:  # `place` has the last word on how many
        loaded, prepared, generated, filtered, trained, evaluated = score_cell(
            repository=repository,
            commit=item.commit,
            digest=item.digest,
            cell=item.cell,
            students=settings.students,
            teacher=settings.teacher,
            budget=settings.budget,
            prepare=settings.prepare,
            generate=settings.generate,
            filter=settings.filter,
            train=settings.train,
            evaluate=settings.evaluate,
        )
        generated.after(ready)
        of_both = {
            "prepared": prepared.outputs["prepared"],
            "prepared_digest": prepared.outputs["Output"],
            "filtered": filtered.outputs["filtered"],
            "filtered_digest": filtered.outputs["Output"],
        }
        measured = measure_step(**of_both, params=settings.measure)
        selected = select_step(
            **of_both,
            trained=dsl.Collected(trained.outputs["trained"]),
            trained_digests=dsl.Collected(trained.outputs["Output"]),
            params=settings.select,
        )
        card = card_step(
            prepared=prepared.outputs["prepared"],
            generated=generated.outputs["generated"],
            filtered=filtered.outputs["filtered"],
            measured=measured.outputs["measured"],
            evaluated=evaluated.outputs["evaluated"],
            selected=selected.outputs["selected"],
        )
        challenged = challenge_step(
            cell=item.cell,
            cluster=cluster,
            registry=champions.outputs["registry"],
            prepared=prepared.outputs["prepared"],
            winner=selected.outputs["winner"],
            card=card.outputs["card"],
            data=data,
        )
        bundled = bundle_step(
            cell=item.cell,
            prepared=prepared.outputs["prepared"],
            heldout=prepared.outputs["heldout"],
            generated=generated.outputs["generated"],
            filtered=filtered.outputs["filtered"],
            measured=measured.outputs["measured"],
            trained=dsl.Collected(trained.outputs["trained"]),
            evaluated=evaluated.outputs["evaluated"],
            selected=selected.outputs["selected"],
            winner=selected.outputs["winner"],
            card=card.outputs["card"],
        )
    # The compiler changes a Collected for its consumer, so each consumer has its own. No step takes two, since
    # all that they name stands in the arguments of a pod: see MOST_CELLS in polydistill.cluster.preflight.
    of_cell = challenged.outputs["challenged"]
    report = report_step(cards=dsl.Collected(card.outputs["card"]))
    packaged = package_step(
        challenged=dsl.Collected(of_cell),
        champions=champions.outputs["champions"],
        params=settings.package,
    )
    served = serve_step(
        bento=packaged.outputs["bento"], challenged=dsl.Collected(of_cell), champions=champions.outputs["champions"]
    )
    monitored = monitor_step(
        challenged=dsl.Collected(of_cell),
        champions=champions.outputs["champions"],
        served=served.outputs["served"],
        params=settings.monitor,
    )
    sections = {name: section for name, section in settings._asdict().items() if name != "students"}
    snapshot = snapshot_step(
        run=RUN,
        repository=repository,
        data=data,
        bundles=dsl.Collected(bundled.outputs["bundle"]),
        report=report.outputs["report"],
        bento=packaged.outputs["bento"],
        **sections,
    )
    promoted = promote_step(
        run=RUN,
        cluster=cluster,
        package=settings.package,
        bento=packaged.outputs["bento"],
        challenged=dsl.Collected(of_cell),
        champions=champions.outputs["champions"],
    )
    promoted.after(served, monitored, snapshot)  # what does not answer right, or cannot be traced, is not promoted
    deployed = deploy_step(
        run=RUN, cluster=cluster, promoted=promoted.outputs["promoted"], challenged=dsl.Collected(of_cell)
    )
    cached(loaded, prepared, generated, filtered, trained, evaluated, measured, selected)
    never_cached(card, challenged, bundled, report, packaged, served, monitored, snapshot, promoted, deployed)


def cached(*tasks: dsl.PipelineTask) -> None:
    """Have tasks not run again where their image, parameters and the artifacts that they read are of an earlier run."""
    for task in tasks:
        task.set_caching_options(True)


def never_cached(*tasks: dsl.PipelineTask) -> None:
    """Have tasks run each time: what they read or change stands elsewhere, or they are quick."""
    for task in tasks:
        task.set_caching_options(False)
