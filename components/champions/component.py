"""The component of `champions`."""

from kfp import dsl

from components import component


@component
def champions(cluster: dict, champions: dsl.Output[dsl.Artifact], registry: dsl.Output[dsl.Artifact]) -> None:
    """Fetch the winners that are promoted.

    Args:
        cluster: Section `cluster` of params.yaml.
        champions: The champion of each cell with its card, and the registry; empty where nothing is promoted.
        registry: The registry alone, for steps that need one champion and fetch it themselves.
    """
    from pathlib import Path

    from polydistill.cluster.champions import run_champions
    from polydistill.params import ClusterParams, check_struct

    run_champions(check_struct(ClusterParams, cluster, "cluster").store, Path(champions.path), Path(registry.path))
