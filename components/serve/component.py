"""The component of `serve`."""

from kfp import dsl

from components import component


@component
def serve(
    bento: dsl.Input[dsl.Artifact],
    winners: dsl.Input[list[dsl.Model]],
    served: dsl.Output[dsl.Artifact],
) -> None:
    """Rehearse: start the service of the bento and ask it what the winners were asked.

    Args:
        bento: What `package` wrote.
        winners: The winner of each cell, with its known answers.
        served: The answers of the service.
    """
    from pathlib import Path

    from polydistill.gather import gathered
    from polydistill.serve import run_serve

    with gathered([Path(winner.path) for winner in winners], "winner.json") as folder:
        run_serve(Path(bento.path), folder, Path(served.path))
