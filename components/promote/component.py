"""The component of `promote`."""

from kfp import dsl

from components import component


@component
def promote(
    run: str,
    cluster: dict,
    package: dict,
    bento: dsl.Input[dsl.Artifact],
    challenged: dsl.Input[list[dsl.Artifact]],
    champions: dsl.Input[dsl.Artifact],
    promoted: dsl.Output[dsl.Artifact],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Make the challengers that won the champions of their cells.

    Args:
        run: Name of the run.
        cluster: Section `cluster` of params.yaml.
        package: Section `package` of params.yaml.
        bento: The bento of the victors, and of the champions of all other cells.
        challenged: The verdict on each cell, its victor and the card of that.
        champions: The champions at the start of the run.
        promoted: What was promoted and what was not, and the bento to roll out.
        summary: The same, to read.
    """
    import shutil
    from pathlib import Path

    from polydistill.cluster.challenge import card_of, winner_of
    from polydistill.cluster.promote import run_promote
    from polydistill.gather import gathered
    from polydistill.package import run_package
    from polydistill.params import ClusterParams, PackageParams, check_struct

    settings = check_struct(PackageParams, package, "package")
    of_cells = [Path(each.path) for each in challenged]
    with (
        gathered([winner_of(folder) for folder in of_cells], "winner.json") as victors,
        gathered([card_of(folder) for folder in of_cells], "card.json") as cards,
        gathered(of_cells, "challenge.json") as challenges,
    ):
        run_promote(
            check_struct(ClusterParams, cluster, "cluster").store,
            run,
            Path(bento.path),
            victors,
            cards,
            challenges,
            Path(champions.path),
            Path(promoted.path),
            lambda winners, of_winners, folder: run_package(winners, of_winners, folder, settings),
        )
    shutil.copyfile(Path(promoted.path, "promoted.md"), summary.path)
