"""The component of `train`."""

from kfp import dsl

from components import component


@component
def train(
    data: str,
    prepared: dsl.Input[dsl.Dataset],
    filtered: dsl.Input[dsl.Dataset],
    student: str,
    params: dict,
    teacher: dict,
    budget: dict,
    trained: dsl.Output[dsl.Model],
) -> None:
    """Train one kind of student over sizes and runs.

    Args:
        data: Folder with a folder a task; read only for the recording of a recorded LLM that a student asks.
        prepared: What `prepare` wrote.
        filtered: What `filter` wrote.
        student: Kind of student.
        params: Section `train` of params.yaml.
        teacher: Section `teacher` of params.yaml.
        budget: Section `budget` of params.yaml.
        trained: The final student, its validation scores, and the answers of every run to the test texts.
    """
    from pathlib import Path

    from polydistill.files import read_json
    from polydistill.gather import cell_name
    from polydistill.params import BudgetParams, TeacherParams, TrainParams, check_struct
    from polydistill.train import run_train

    cell = cell_name(read_json(Path(prepared.path, "prepare.json")))
    run_train(
        Path(prepared.path),
        Path(filtered.path),
        Path(trained.path),
        Path(f"{trained.path}-finished"),
        student,
        check_struct(TrainParams, params, "train"),
        teacher=check_struct(TeacherParams, teacher, "teacher"),
        budget=check_struct(BudgetParams, budget, "budget"),
        recording=Path(data, cell, "recording.jsonl"),
    )
