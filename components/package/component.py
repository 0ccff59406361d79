"""The component of `package`."""

from kfp import dsl

from components import component


@component
def package(
    winners: dsl.Input[list[dsl.Model]],
    cards: dsl.Input[list[dsl.Artifact]],
    champions: dsl.Input[dsl.Artifact],
    params: dict,
    bento: dsl.Output[dsl.Artifact],
) -> None:
    """Put all winners into one bento.

    Args:
        winners: What is to answer in each cell of this run.
        cards: What is told of these.
        champions: What answers in all other cells now.
        params: Section `package` of params.yaml.
        bento: The bento.
    """
    from pathlib import Path

    from polydistill.cluster.champions import merged
    from polydistill.package import run_package
    from polydistill.params import PackageParams, check_struct

    settings = check_struct(PackageParams, params, "package")
    with (
        merged([Path(winner.path) for winner in winners], Path(champions.path), "winner") as of_winners,
        merged([Path(card.path) for card in cards], Path(champions.path), "card") as of_cards,
    ):
        run_package(of_winners, of_cards, Path(bento.path), settings)
