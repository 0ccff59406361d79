"""The component of `serve`."""

from kfp import dsl

from components import component


@component
def serve(
    bento: dsl.Input[dsl.Artifact],
    challenged: dsl.Input[list[dsl.Artifact]],
    champions: dsl.Input[dsl.Artifact],
    served: dsl.Output[dsl.Artifact],
) -> None:
    """Rehearse: start the service of the bento and ask it what the winners were asked.

    Args:
        bento: What `package` wrote.
        challenged: What answers in each cell of this run, with its known answers.
        champions: What answers in all other cells.
        served: The answers of the service.
    """
    from pathlib import Path

    from polydistill.cluster.challenge import winner_of
    from polydistill.cluster.champions import merged
    from polydistill.serve import run_serve

    with merged([winner_of(Path(each.path)) for each in challenged], Path(champions.path), "winner") as winners:
        run_serve(Path(bento.path), winners, Path(served.path))
