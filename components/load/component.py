"""The component of `load`."""

from kfp import dsl

from components import component


@component
def load(repository: str, cell: str, commit: str, digest: str, data: dsl.Output[dsl.Dataset]) -> str:
    """Read the inputs of one cell as `fetch` found them.

    `fetch` looks at the repository anew in each run. This is in Kubeflow's cache as long as the texts are the same, and
    so is all that comes after it.

    Args:
        repository: As of `fetch`.
        cell: The cell, task/language.
        commit: The last that changed it, as `fetch` returns it.
        digest: As `fetch` returns it.
        data: As `fetch` writes it, of this cell alone.

    Returns:
        The digest.
    """
    from pathlib import Path

    from polydistill.cluster.fetch import run_load

    return run_load(repository, cell, commit, digest, Path(data.path))
