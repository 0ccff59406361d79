"""The component of `fetch`."""

from kfp import dsl

from components import component


@component
def fetch(
    repository: str,
    revision: str,
    cells: list,
    data: dsl.Output[dsl.Dataset],
    only: str = "",
    will_push: bool = True,
) -> list:
    """Read the inputs of the cells at a git revision, from DVC's remote too.

    Args:
        repository: Git URL or folder of the workspace, with #FOLDER after it where it is not at its root.
        revision: Branch, tag or commit; "" of a folder: as it lies there.
        cells: task/language each.
        data: A folder a task, and fetch.json: repository, commit and its time, and of each cell a digest and the commit
            that changed it last.
        only: Some of the cells, with commas between; "" for all.
        will_push: Whether `snapshot` follows: then the right to push, and to write to DVC's remote, is tried first.

    Returns:
        For each cell, in order, {"cell", "commit", "digest"}: when it changed last, and what it is.
    """
    from pathlib import Path

    from polydistill.cluster.fetch import run_fetch

    wanted = only.split(",") if only else cells
    return run_fetch(repository, revision, wanted, Path(data.path), will_push=will_push)
