"""The component that has the teacher started for a run."""

from components import component


@component
def teacher_up(run: str, cluster: dict) -> None:
    """Hold the teacher for this run, and end once it is ready.

    Args:
        run: Id of the run.
        cluster: Section `cluster` of params.yaml; where its `teacher` is null there is nothing to do.
    """
    from polydistill.cluster.placement import placements
    from polydistill.cluster.teacher import run_teacher_up
    from polydistill.params import ClusterParams, check_struct

    settings = check_struct(ClusterParams, cluster, "cluster")
    if settings.teacher:
        run_teacher_up(settings.teacher, run, sum(of.timeout_s for of in placements(settings)))
