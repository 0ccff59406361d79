"""The component of `train`."""

from kfp import dsl

from components import component


@component
def train(
    prepared: dsl.Input[dsl.Dataset],
    filtered: dsl.Input[dsl.Dataset],
    student: str,
    params: dict,
    trained: dsl.Output[dsl.Model],
) -> None:
    """Train one kind of student over sizes and runs.

    Args:
        prepared: What `prepare` wrote.
        filtered: What `filter` wrote.
        student: Kind of student.
        params: Section `train` of params.yaml.
        trained: The final student, its validation scores, and the answers of every run to the test texts.
    """
    from pathlib import Path

    from polydistill.params import TrainParams, check_struct
    from polydistill.train import run_train

    settings = check_struct(TrainParams, params, "train")
    run_train(Path(prepared.path), Path(filtered.path), Path(trained.path), student, settings)
