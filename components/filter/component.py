"""The component of `filter`."""

from kfp import dsl

from components import component


@component
def filter(
    prepared: dsl.Input[dsl.Dataset],
    generated: dsl.Input[dsl.Dataset],
    params: dict,
    generation: dict,
    filtered: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Keep or reject each generated text, each rejection with its reason.

    Args:
        prepared: What `prepare` wrote.
        generated: What `generate` wrote.
        params: Section `filter` of params.yaml.
        generation: Section `generate` of params.yaml, which says whether there are verdicts to heed.
        filtered: The accepted and the rejected texts.
        metrics: Texts by outcome and by reason.
    """
    from pathlib import Path

    from polydistill.files import read_json
    from polydistill.filter import run_filter
    from polydistill.params import FilterParams, GenerateParams, check_struct

    run_filter(
        Path(prepared.path),
        Path(generated.path),
        Path(filtered.path),
        check_struct(FilterParams, params, "filter"),
        self_revision=check_struct(GenerateParams, generation, "generate").self_revision,
    )
    facts = read_json(Path(filtered.path, "filter.json"))
    for name in ("generated", "accepted", "rejected"):
        metrics.log_metric(name, facts[name])
    for reason, count in facts["by_reason"].items():
        metrics.log_metric(f"rejected_{reason}", count)
    for reason, count in facts["marked"].items():
        metrics.log_metric(f"marked_{reason}", count)
