"""The component of `evaluate`."""

from kfp import dsl

from components import component


@component
def evaluate(
    data: str,
    cell: str,
    prepared: dsl.Input[dsl.Dataset],
    heldout: dsl.Input[dsl.Dataset],
    trained: dsl.Input[list[dsl.Model]],
    params: dict,
    teacher: dict,
    budget: dict,
    evaluated: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    variant: str = "",
) -> None:
    """Score students and teacher on the test set.

    Args:
        data: Folder with a folder a task; read only for the recording of a recorded teacher.
        cell: The cell, task/language.
        prepared: What `prepare` wrote.
        heldout: The labelled test set.
        trained: What `train` wrote, for each student.
        params: Section `evaluate` of params.yaml.
        teacher: Section `teacher` of params.yaml.
        budget: Section `budget` of params.yaml.
        evaluated: Scores with their intervals, the learning curves, and the journal of the teacher's answers.
        metrics: Accuracy and macro-F1 of the teacher and of each final student.
        variant: Name of the settings, where several are compared.
    """
    from pathlib import Path

    from polydistill.evaluate import run_evaluate
    from polydistill.files import read_json
    from polydistill.params import BudgetParams, EvaluateParams, TeacherParams, check_struct

    run_evaluate(
        Path(prepared.path),
        Path(heldout.path),
        [Path(model.path) for model in trained],
        Path(data, cell, "recording.jsonl"),
        Path(evaluated.path),
        check_struct(EvaluateParams, params, "evaluate"),
        check_struct(TeacherParams, teacher, "teacher"),
        check_struct(BudgetParams, budget, "budget"),
    )
    evaluated.metadata["variant"] = variant
    evaluation = read_json(Path(evaluated.path, "evaluation.json"))
    finals = {student: scores["final"] for student, scores in evaluation["students"].items()}
    for name, scores in {"teacher": evaluation["teacher"], **finals}.items():
        for metric in ("accuracy", "macro_f1"):
            if scores[metric] is not None:
                metrics.log_metric(f"{name}_{metric}", scores[metric])
