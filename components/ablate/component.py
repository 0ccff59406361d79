"""The component of `ablate`."""

from kfp import dsl

from components import component


@component
def ablate(
    evaluated: dsl.Input[list[dsl.Artifact]],
    ablated: dsl.Output[dsl.Artifact],
    table: dsl.Output[dsl.Markdown],
) -> None:
    """Set the variants of an ablation side by side.

    Args:
        evaluated: What `evaluate` wrote, for each variant and cell.
        ablated: The table, the figure, and the numbers of both.
        table: The table, for Kubeflow's page of the run.
    """
    from pathlib import Path

    from polydistill.ablate import run_ablate

    run_ablate([(folder.metadata["variant"], Path(folder.path)) for folder in evaluated], Path(ablated.path))
    Path(table.path).write_text(Path(ablated.path, "table.md").read_text(encoding="utf-8"), encoding="utf-8")
