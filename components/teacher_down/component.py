"""The component that lets go of the teacher, whatever became of the run."""

from kfp import dsl

from components import component


@component
def teacher_down(run: str, cluster: dict, status: dsl.PipelineTaskFinalStatus) -> None:
    """Let go of the teacher; the last run that does scales it down.

    Args:
        run: Id of the run.
        cluster: Section `cluster` of params.yaml; where its `teacher` is null there is nothing to do.
        status: How the run ended, from Kubeflow.
    """
    import logging

    from polydistill.cluster.teacher import run_teacher_down
    from polydistill.params import ClusterParams, check_struct

    logging.getLogger("polydistill").info(
        "run %s, as Kubeflow tells it: %s %s", run, status.state, status.error_message or ""
    )
    teacher = check_struct(ClusterParams, cluster, "cluster").teacher
    if teacher:
        run_teacher_down(teacher, run)
