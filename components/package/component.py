"""The component of `package`."""

from kfp import dsl

from components import component


@component
def package(
    winners: dsl.Input[list[dsl.Model]],
    cards: dsl.Input[list[dsl.Artifact]],
    params: dict,
    bento: dsl.Output[dsl.Artifact],
) -> None:
    """Put all winners into one bento.

    Args:
        winners: The winner of each cell.
        cards: What `card` wrote, for each cell.
        params: Section `package` of params.yaml.
        bento: The bento.
    """
    from pathlib import Path

    from polydistill.gather import gathered
    from polydistill.package import run_package
    from polydistill.params import PackageParams, check_struct

    settings = check_struct(PackageParams, params, "package")
    with (
        gathered([Path(winner.path) for winner in winners], "winner.json") as of_winners,
        gathered([Path(card.path) for card in cards], "card.json") as of_cards,
    ):
        run_package(of_winners, of_cards, Path(bento.path), settings)
