"""The component of `select`."""

from kfp import dsl

from components import component


@component
def select(
    prepared: dsl.Input[dsl.Dataset],
    prepared_digest: str,
    filtered: dsl.Input[dsl.Dataset],
    filtered_digest: str,
    trained: dsl.Input[list[dsl.Model]],
    trained_digests: list,
    params: dict,
    selected: dsl.Output[dsl.Artifact],
    winner: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Choose the winner of a cell by its validation scores.

    Args:
        prepared: What `prepare` wrote.
        prepared_digest: Its digest, as Kubeflow's cache does not look into artifacts.
        filtered: What `filter` wrote.
        filtered_digest: Its digest.
        trained: What `train` wrote, for each student.
        trained_digests: Their digests.
        params: Section `select` of params.yaml.
        selected: Which student won, and why.
        winner: The student itself, with all that packaging and monitoring need of it.
        metrics: Accuracy and macro-F1 of each student on the validation texts.

    Returns:
        Digest of the winner.
    """
    from pathlib import Path

    from polydistill.files import digest, read_json
    from polydistill.params import SelectParams, check_struct
    from polydistill.select import run_select

    run_select(
        Path(prepared.path),
        Path(filtered.path),
        [Path(model.path) for model in trained],
        Path(selected.path),
        Path(winner.path),
        check_struct(SelectParams, params, "select"),
    )
    for student, scores in read_json(Path(selected.path, "winner.json"))["validation"].items():
        for metric in ("accuracy", "macro_f1"):
            metrics.log_metric(f"{student}_{metric}", scores[metric])
    return digest(Path(winner.path))
