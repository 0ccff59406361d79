"""The component of `package`."""

from kfp import dsl

from components import component


@component
def package(
    challenged: dsl.Input[list[dsl.Artifact]],
    champions: dsl.Input[dsl.Artifact],
    params: dict,
    bento: dsl.Output[dsl.Artifact],
) -> None:
    """Put all winners into one bento.

    Args:
        challenged: What is to answer in each cell of this run, and what is told of it.
        champions: What answers in all other cells now.
        params: Section `package` of params.yaml.
        bento: The bento.
    """
    from pathlib import Path

    from polydistill.cluster.challenge import card_of, winner_of
    from polydistill.cluster.champions import merged
    from polydistill.package import run_package
    from polydistill.params import PackageParams, check_struct

    settings = check_struct(PackageParams, params, "package")
    of_cells = [Path(each.path) for each in challenged]
    with (
        merged([winner_of(folder) for folder in of_cells], Path(champions.path), "winner") as winners,
        merged([card_of(folder) for folder in of_cells], Path(champions.path), "card") as cards,
    ):
        run_package(winners, cards, Path(bento.path), settings)
