"""The component of `prepare`."""

from kfp import dsl

from components import component


@component
def prepare(
    data: dsl.Input[dsl.Dataset],
    data_digest: str,
    cell: str,
    params: dict,
    prepared: dsl.Output[dsl.Dataset],
    heldout: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Check the inputs of a cell and write its clean splits.

    Args:
        data: What `load` wrote.
        data_digest: That of the cell in it, as Kubeflow's cache does not look into artifacts.
        cell: The cell, task/language.
        params: Section `prepare` of params.yaml.
        prepared: Seeds, human texts, and the test texts without their labels.
        heldout: The labelled test set, for `evaluate` alone.
        metrics: Texts in each split.

    Returns:
        Digest of the splits and of what they were made from.
    """
    from pathlib import Path

    from polydistill.files import digest, read_json
    from polydistill.params import PrepareParams, check_struct
    from polydistill.prepare import run_prepare

    task, language = cell.split("/")
    settings = check_struct(PrepareParams, params, "prepare")
    run_prepare(Path(data.path, task), language, Path(prepared.path), Path(heldout.path), settings)
    for split, count in read_json(Path(prepared.path, "prepare.json"))["counts"].items():
        metrics.log_metric(split, count)
    of_data = read_json(Path(data.path, "fetch.json"))["cells"][cell]
    return "-".join((digest(Path(prepared.path))[:32], digest(Path(heldout.path))[:32], of_data[:32]))
