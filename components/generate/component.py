"""The component of `generate`."""

from kfp import dsl

from components import component


@component
def generate(
    data: dsl.Input[dsl.Dataset],
    cell: str,
    prepared: dsl.Input[dsl.Dataset],
    prepared_digest: str,
    params: dict,
    checks: dict,
    teacher: dict,
    budget: dict,
    generated: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Have the teacher write the texts of a cell, and its verdicts on them.

    Args:
        data: What `load` wrote; read only for the recording of a recorded teacher.
        cell: The cell, task/language.
        prepared: What `prepare` wrote.
        prepared_digest: Its digest, as Kubeflow's cache does not look into artifacts.
        params: Section `generate` of params.yaml.
        checks: Section `filter` of params.yaml: what counts as a usable text.
        teacher: Section `teacher` of params.yaml.
        budget: Section `budget` of params.yaml.
        generated: The texts with their verdicts, the usage, and the journal of all replies.
        metrics: Requests and tokens by purpose, and replies that could not be read.

    Returns:
        Digest of what was generated.
    """
    from pathlib import Path

    from polydistill.cluster.scratch import kept_journal
    from polydistill.files import digest, read_json
    from polydistill.generate import run_generate
    from polydistill.params import BudgetParams, FilterParams, GenerateParams, TeacherParams, check_struct

    with kept_journal(Path(generated.path), "generate", cell, teacher, prepared_digest, params, checks):
        run_generate(
            Path(prepared.path),
            Path(data.path, cell, "recording.jsonl"),
            Path(generated.path),
            check_struct(GenerateParams, params, "generate"),
            check_struct(FilterParams, checks, "filter"),
            check_struct(TeacherParams, teacher, "teacher"),
            check_struct(BudgetParams, budget, "budget"),
        )
    usage = read_json(Path(generated.path, "usage.json"))
    metrics.log_metric("usable_texts", usage["texts"]["usable"])
    metrics.log_metric("unreadable_replies", sum(usage["unreadable"].values()))
    for purpose, took in usage["purposes"].items():
        for name, value in took.items():
            if isinstance(value, int | float):
                metrics.log_metric(f"{purpose}_{name}", value)
    return digest(Path(generated.path))
