"""`fetch`, `bundle` and `snapshot` as tasks of a pipeline on kfp's local runner; the steps between are made up."""

from pathlib import Path

import pytest
from kfp import dsl, local
from test_snapshot import CELLS, check_out, new_project

from components import component
from components.bundle.component import bundle
from components.fetch.component import fetch
from components.snapshot.component import snapshot
from git_server import READER, USER, git_server
from polydistill.files import digest, read_json
from polydistill.params import Params, load_params, to_struct

pytestmark = [
    pytest.mark.slow,
    # kfp doubts an image that has no "python" in its name.
    pytest.mark.filterwarnings("ignore:You may be attemping to run a task:RuntimeWarning:kfp"),
]

SECTIONS = snapshot.component_spec.inputs.keys() & Params.model_fields.keys()


@component
def steps(
    cell: str,
    cell_digest: str,
    data: dsl.Input[dsl.Dataset],
    prepared: dsl.Output[dsl.Dataset],
    heldout: dsl.Output[dsl.Dataset],
    generated: dsl.Output[dsl.Dataset],
    filtered: dsl.Output[dsl.Dataset],
    measured: dsl.Output[dsl.Artifact],
    evaluated: dsl.Output[dsl.Artifact],
    selected: dsl.Output[dsl.Artifact],
    winner: dsl.Output[dsl.Model],
    card: dsl.Output[dsl.Artifact],
) -> None:
    from pathlib import Path  # noqa: PLC0415

    wrote = {
        prepared.path: ["prepare.json", "seeds.parquet"],
        heldout.path: ["test.parquet"],
        generated.path: ["samples.parquet", "usage.json", "journal/plain.jsonl"],
        filtered.path: ["accepted.parquet"],
        measured.path: ["metrics.json", "diversity.json", "labels.json", "gates.json", "drift.html"],
        evaluated.path: ["evaluation.json", "curves.csv"],
        selected.path: ["winner.json"],
        winner.path: ["winner.json", "model/weights"],
        card.path: ["card.json"],
    }
    for folder, names in wrote.items():
        for name in names:
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            seeds = Path(data.path, cell, "seeds.csv").read_text("utf-8")
            Path(folder, name).write_text(f"{cell} {cell_digest} {seeds}", "utf-8")


@component
def trained_student(student: str, trained: dsl.Output[dsl.Model]) -> None:
    from pathlib import Path  # noqa: PLC0415

    Path(trained.path).mkdir(parents=True)
    Path(trained.path, "train.json").write_text(f'{{"schema_version": 3, "student": "{student}"}}', "utf-8")


@component
def across(report: dsl.Output[dsl.Artifact], bento: dsl.Output[dsl.Artifact]) -> None:
    from pathlib import Path  # noqa: PLC0415

    for folder in (report.path, bento.path):
        Path(folder).mkdir(parents=True)
        Path(folder, "index.html").write_text("<html>", "utf-8")


@dsl.pipeline(name="kept")
def kept(
    repository: str,
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
    cluster: dict,
) -> None:
    fetched = fetch(repository=repository, revision="main", cells=cells)
    with dsl.ParallelFor(fetched.outputs["Output"]) as item:
        made = steps(cell=item.cell, cell_digest=item.digest, data=fetched.outputs["data"])
        with dsl.ParallelFor(students) as student:
            trained = trained_student(student=student)
        bundled = bundle(cell=item.cell, trained=dsl.Collected(trained.outputs["trained"]), **made.outputs)
    last = across()
    snapshot(
        run=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        repository=repository,
        data=fetched.outputs["data"],
        bundles=dsl.Collected(bundled.outputs["bundle"]),
        **last.outputs,
        teacher=teacher,
        budget=budget,
        prepare=prepare,
        generate=generate,
        filter=filter,
        measure=measure,
        train=train,
        evaluate=evaluate,
        select=select,
        package=package,
        monitor=monitor,
        cluster=cluster,
    )


def test_a_run_of_a_pipeline_is_kept_whole(tmp_path: Path) -> None:
    repository = new_project(tmp_path, str(tmp_path / "storage"))
    params = load_params(tmp_path / "checkout/params.yaml")
    train = params.train.model_copy(update={"students": ["linear", "icl"]})
    sections = {name: to_struct(getattr(params, name)) for name in SECTIONS} | {"train": to_struct(train)}
    runner = local.SubprocessRunner(use_venv=False)
    local.init(runner, pipeline_root=str(tmp_path / "root"))
    kept(repository=str(repository), cells=list(CELLS), students=train.students, **sections)

    (run,) = (tmp_path / "root").iterdir()
    told = read_json(run / "snapshot/snapshot/snapshot.json")
    assert told["branch"] in (run / "snapshot/summary").read_text("utf-8")
    review = check_out(str(repository), told["branch"], tmp_path / "review")
    assert load_params(review / "params.yaml") == params.model_copy(update={"train": train})
    for i, cell in enumerate(CELLS):
        wrote = run / f"for-loop-1-iteration-{i}"
        assert digest(review / "work" / cell / "generated") == digest(wrote / "steps/generated")
        assert digest(review / "work/winners" / cell) == digest(wrote / "steps/winner")
        seeds = (review / "data" / cell / "seeds.csv").read_text("utf-8")
        assert (review / "work" / cell / "prepared/prepare.json").read_text("utf-8").endswith(seeds)
        assert {folder.name for folder in (review / "work" / cell / "trained").iterdir()} == {"linear", "icl"}


def test_the_right_to_push_is_checked_before_anything_is_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    new_project(tmp_path, str(tmp_path / "storage"))
    monkeypatch.setenv("GIT_USERNAME", USER)
    monkeypatch.setenv("GIT_TOKEN", READER)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "root"))
    with git_server(tmp_path / "served") as server:
        inputs = {"repository": f"{server.url}/texts.git", "revision": "main", "cells": list(CELLS)}
        with pytest.raises(RuntimeError):
            fetch(**inputs)
        told = capfd.readouterr()
        assert "the user may not do that" in told.out + told.err
        fetch(**inputs, will_push=False)
