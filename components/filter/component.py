"""The component of `filter`."""

from kfp import dsl

from components import component


@component
def filter(
    prepared: dsl.Input[dsl.Dataset],
    prepared_digest: str,
    generated: dsl.Input[dsl.Dataset],
    generated_digest: str,
    params: dict,
    generation: dict,
    filtered: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Keep or reject each generated text, each rejection with its reason.

    Args:
        prepared: What `prepare` wrote.
        prepared_digest: Its digest, as Kubeflow's cache does not look into artifacts.
        generated: What `generate` wrote.
        generated_digest: Its digest.
        params: Section `filter` of params.yaml.
        generation: Section `generate` of params.yaml, which says whether there are verdicts to heed.
        filtered: The accepted and the rejected texts.
        metrics: Texts by outcome and by reason.

    Returns:
        Digest of the texts.
    """
    from pathlib import Path

    from polydistill.files import digest, read_json
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
    return digest(Path(filtered.path))
