"""The component of `assign`."""

from components import component


@component
def assign(runs: list, found: list) -> list:
    """Give each run of an ablation what `fetch` found of its cell, for a loop cannot look that up.

    Args:
        runs: What to run; `cell` of each names its cell.
        found: What `fetch` returned.

    Returns:
        The runs, each with `commit` and `digest` of its cell.
    """
    of_cell = {row["cell"]: row for row in found}
    return [{**run, **of_cell[run["cell"]]} for run in runs]
