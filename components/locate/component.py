"""The component of `locate`."""

from typing import NamedTuple

from kfp import dsl

from components import component


@component
def locate(data: dsl.Input[dsl.Dataset], cell: str) -> NamedTuple("Located", [("commit", str), ("digest", str)]):
    """Say of one cell what `fetch` found, where a loop goes over something else than that.

    Args:
        data: What `fetch` wrote.
        cell: The cell, task/language.

    Returns:
        commit: The last that changed the cell.
        digest: That of its data.
    """
    from pathlib import Path

    from polydistill.cluster.fetch import located

    return located(Path(data.path), cell)
