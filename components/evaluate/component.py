"""The component of `evaluate`."""

from kfp import dsl

from components import component


@component
def evaluate(
    data: dsl.Input[dsl.Dataset],
    cell: str,
    prepared: dsl.Input[dsl.Dataset],
    prepared_digest: str,
    heldout: dsl.Input[dsl.Dataset],
    trained: dsl.Input[list[dsl.Model]],
    trained_digests: list,
    params: dict,
    teacher: dict,
    budget: dict,
    evaluated: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    variant: str = "",
) -> str:
    """Score students and teacher on the test set.

    Args:
        data: What `load` wrote; read only for the recording of a recorded teacher.
        cell: The cell, task/language.
        prepared: What `prepare` wrote.
        prepared_digest: Its digest, as Kubeflow's cache does not look into artifacts.
        heldout: The labelled test set.
        trained: What `train` wrote, for each student.
        trained_digests: Their digests.
        params: Section `evaluate` of params.yaml.
        teacher: Section `teacher` of params.yaml.
        budget: Section `budget` of params.yaml.
        evaluated: Scores with their intervals, the learning curves, and the journal of the teacher's answers.
        metrics: Accuracy and macro-F1 of the teacher and of each final student.
        confusion: Which labels the most accurate final student takes for which; its name is in the metadata.
        variant: Name of the settings, where several are compared.

    Returns:
        Digest of the scores.
    """
    from pathlib import Path

    from polydistill.cluster.scratch import kept_journal
    from polydistill.evaluate import confusion_of_best, run_evaluate
    from polydistill.files import digest, read_json
    from polydistill.params import BudgetParams, EvaluateParams, TeacherParams, check_struct

    with kept_journal(Path(evaluated.path), "evaluate", cell, teacher, prepared_digest):
        run_evaluate(
            Path(prepared.path),
            Path(heldout.path),
            [Path(model.path) for model in trained],
            Path(data.path, cell, "recording.jsonl"),
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
    found = confusion_of_best(Path(heldout.path), [Path(model.path) for model in trained], Path(evaluated.path))
    confusion.metadata["student"] = found.student
    confusion.log_confusion_matrix(found.labels, found.counts)
    return digest(Path(evaluated.path))
