"""The component of `champions`."""

from kfp import dsl

from components import component


@component
def champions(
    cluster: dict,
    cells: list,
    champions: dsl.Output[dsl.Artifact],
    registry: dsl.Output[dsl.Artifact],
    only: str = "",
) -> None:
    """Fetch the winners that are promoted.

    Args:
        cluster: Section `cluster` of params.yaml.
        cells: What is to run, task/language each.
        champions: The champion of each cell with its card, and the registry; empty where nothing is promoted.
        registry: The registry alone, for steps that need one champion and fetch it themselves.
        only: Some of the cells, with commas between; "" for all.
    """
    from pathlib import Path

    from polydistill.cluster.champions import run_champions
    from polydistill.params import ClusterParams, check_struct

    store = check_struct(ClusterParams, cluster, "cluster").store
    run_champions(store, Path(champions.path), only.split(",") if only else cells, Path(registry.path))
