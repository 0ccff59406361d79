"""The component of `bundle`."""

from kfp import dsl

from components import component


@component
def bundle(
    cell: str,
    prepared: dsl.Input[dsl.Dataset],
    heldout: dsl.Input[dsl.Dataset],
    generated: dsl.Input[dsl.Dataset],
    filtered: dsl.Input[dsl.Dataset],
    measured: dsl.Input[dsl.Artifact],
    trained: dsl.Input[list[dsl.Model]],
    evaluated: dsl.Input[dsl.Artifact],
    selected: dsl.Input[dsl.Artifact],
    winner: dsl.Input[dsl.Model],
    card: dsl.Input[dsl.Artifact],
    bundle: dsl.Output[dsl.Artifact],
) -> None:
    """Put all outputs of a cell together, for `snapshot`.

    Args:
        cell: The cell, task/language.
        prepared: What `prepare` wrote; so are those below, each by the name of its folder in work/.
        heldout: The labelled test set.
        generated: What `generate` wrote.
        filtered: What `filter` wrote.
        measured: What `measure` wrote.
        trained: What `train` wrote, for each student.
        evaluated: What `evaluate` wrote.
        selected: Which student `select` chose.
        winner: The student itself.
        card: What `card` wrote.
        bundle: All of it, as it stands in work/ of a workspace.
    """
    from pathlib import Path

    from polydistill.cluster.bundle import run_bundle

    rooms = {
        "prepared": prepared,
        "heldout": heldout,
        "generated": generated,
        "filtered": filtered,
        "measured": measured,
        "evaluated": evaluated,
        "selected": selected,
    }
    run_bundle(
        cell,
        {name: Path(room.path) for name, room in rooms.items()},
        [Path(model.path) for model in trained],
        Path(winner.path),
        Path(card.path),
        Path(bundle.path),
    )
