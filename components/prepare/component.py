"""The component of `prepare`."""

from kfp import dsl

from components import component


@component
def prepare(
    data: str,
    cell: str,
    params: dict,
    prepared: dsl.Output[dsl.Dataset],
    heldout: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Check the inputs of a cell and write its clean splits.

    Args:
        data: Folder with a folder a task, as the pod sees it.
        cell: The cell, task/language.
        params: Section `prepare` of params.yaml.
        prepared: Seeds, human texts, and the test texts without their labels.
        heldout: The labelled test set, for `evaluate` alone.
        metrics: Texts in each split.
    """
    from pathlib import Path

    from polydistill.files import read_json
    from polydistill.params import PrepareParams, check_struct
    from polydistill.prepare import run_prepare

    task, language = cell.split("/")
    settings = check_struct(PrepareParams, params, "prepare")
    run_prepare(Path(data, task), language, Path(prepared.path), Path(heldout.path), settings)
    for split, count in read_json(Path(prepared.path, "prepare.json"))["counts"].items():
        metrics.log_metric(split, count)
