"""The component of `serve`."""

from kfp import dsl

from components import component


@component
def serve(
    bento: dsl.Input[dsl.Artifact],
    winners: dsl.Input[list[dsl.Model]],
    champions: dsl.Input[dsl.Artifact],
    served: dsl.Output[dsl.Artifact],
) -> None:
    """Rehearse: start the service of the bento and ask it what the winners were asked.

    Args:
        bento: What `package` wrote.
        winners: What answers in each cell of this run, with its known answers.
        champions: What answers in all other cells.
        served: The answers of the service.
    """
    from pathlib import Path

    from polydistill.cluster.champions import merged
    from polydistill.serve import run_serve

    with merged([Path(winner.path) for winner in winners], Path(champions.path), "winner") as folder:
        run_serve(Path(bento.path), folder, Path(served.path))
