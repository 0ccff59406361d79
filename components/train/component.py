"""The component of `train`."""

from kfp import dsl

from components import component


@component
def train(
    data: dsl.Input[dsl.Dataset],
    prepared: dsl.Input[dsl.Dataset],
    prepared_digest: str,
    filtered: dsl.Input[dsl.Dataset],
    filtered_digest: str,
    student: str,
    params: dict,
    teacher: dict,
    budget: dict,
    trained: dsl.Output[dsl.Model],
) -> str:
    """Train one kind of student over sizes and runs.

    Args:
        data: What `load` wrote; read only for the recording of a recorded LLM that a student asks.
        prepared: What `prepare` wrote.
        prepared_digest: Its digest, as Kubeflow's cache does not look into artifacts.
        filtered: What `filter` wrote.
        filtered_digest: Its digest.
        student: Kind of student.
        params: Section `train` of params.yaml.
        teacher: Section `teacher` of params.yaml.
        budget: Section `budget` of params.yaml.
        trained: The final student, its validation scores, and the answers of every run to the test texts.

    Returns:
        Digest of what was trained.
    """
    from pathlib import Path

    from polydistill.cluster.scratch import kept_trainings
    from polydistill.files import digest, read_json
    from polydistill.gather import cell_name
    from polydistill.params import BudgetParams, TeacherParams, TrainParams, check_struct
    from polydistill.train import run_train

    cell = cell_name(read_json(Path(prepared.path, "prepare.json")))
    with kept_trainings(
        Path(trained.path), cell, student, params, teacher, prepared_digest, filtered_digest
    ) as finished:
        run_train(
            Path(prepared.path),
            Path(filtered.path),
            Path(trained.path),
            finished,
            student,
            check_struct(TrainParams, params, "train"),
            teacher=check_struct(TeacherParams, teacher, "teacher"),
            budget=check_struct(BudgetParams, budget, "budget"),
            recording=Path(data.path, cell, "recording.jsonl"),
        )
    return digest(Path(trained.path))
