"""The component of `select`."""

from kfp import dsl

from components import component


@component
def select(
    prepared: dsl.Input[dsl.Dataset],
    filtered: dsl.Input[dsl.Dataset],
    trained: dsl.Input[list[dsl.Model]],
    params: dict,
    selected: dsl.Output[dsl.Artifact],
    winner: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Choose the winner of a cell by its validation scores.

    Args:
        prepared: What `prepare` wrote.
        filtered: What `filter` wrote.
        trained: What `train` wrote, for each student.
        params: Section `select` of params.yaml.
        selected: Which student won, and why.
        winner: The student itself, with all that packaging and monitoring need of it.
        metrics: Accuracy and macro-F1 of each student on the validation texts.
    """
    from pathlib import Path

    from polydistill.files import read_json
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
