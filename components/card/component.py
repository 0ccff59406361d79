"""The component of `card`."""

from kfp import dsl

from components import component


@component
def card(
    prepared: dsl.Input[dsl.Dataset],
    generated: dsl.Input[dsl.Dataset],
    filtered: dsl.Input[dsl.Dataset],
    measured: dsl.Input[dsl.Artifact],
    evaluated: dsl.Input[dsl.Artifact],
    selected: dsl.Input[dsl.Artifact],
    card: dsl.Output[dsl.Artifact],
) -> None:
    """Gather what is told of a cell; fail where a gate of `measure` stops the run.

    Args:
        prepared: What `prepare` wrote.
        generated: What `generate` wrote.
        filtered: What `filter` wrote.
        measured: What `measure` wrote.
        evaluated: What `evaluate` wrote.
        selected: Which student `select` chose.
        card: The facts of all these steps, for the report and the model card.
    """
    from pathlib import Path

    from polydistill.card import run_card
    from polydistill.measure import require_gates

    require_gates(Path(prepared.path), Path(measured.path), measured.uri)
    run_card(
        Path(prepared.path),
        Path(generated.path),
        Path(filtered.path),
        Path(measured.path),
        Path(evaluated.path),
        Path(selected.path),
        Path(card.path),
    )
