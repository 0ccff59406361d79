"""The component of `due`."""

from kfp import dsl

from components import component


@component
def due(
    cluster: dict,
    cells: list,
    due: dsl.Output[dsl.Artifact],
    summary: dsl.Output[dsl.Markdown],
    repository: str = "",
    revision: str = "",
) -> str:
    """Say which cells to train again.

    Args:
        cluster: Section `cluster` of params.yaml.
        cells: The cells of params.yaml.
        due: Which cells are due, and why.
        summary: The same, to read.
        repository: Git repository with data/, as the pods reach it; "": whether data changed is not looked at.
        revision: Branch, tag or commit to read it at.

    Returns:
        The cells that are due, with commas between; "" where none is, which a condition of Kubeflow can compare.
    """
    import shutil
    import tempfile
    from pathlib import Path

    from polydistill.cluster.due import run_due
    from polydistill.params import ClusterParams, check_struct

    settings = check_struct(ClusterParams, cluster, "cluster")

    def digests(of: list[str]) -> dict[str, str]:
        from polydistill.cluster.fetch import run_fetch

        if not repository:
            return {}
        with tempfile.TemporaryDirectory(prefix="polydistill-due-") as scratch:
            fetched = run_fetch(repository, revision, of, Path(scratch, "data"))
        return {found["cell"]: found["digest"] for found in fetched}

    found = run_due(settings.store, cells, settings.retrain, Path(due.path), digests)
    shutil.copyfile(Path(due.path, "due.md"), summary.path)
    return ",".join(found)
