"""The component of `monitor`."""

from kfp import dsl

from components import component


@component
def monitor(
    challenged: dsl.Input[list[dsl.Artifact]],
    champions: dsl.Input[dsl.Artifact],
    served: dsl.Input[dsl.Artifact],
    params: dict,
    monitored: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Say which cells need a retraining.

    Args:
        challenged: What answers in each cell of this run, with the reference that it is held against.
        champions: What answers in all other cells.
        served: The answers of the service.
        params: Section `monitor` of params.yaml.
        monitored: The verdict on each cell.
        metrics: Cells judged, and cells to train again.
    """
    from pathlib import Path

    from polydistill.cluster.challenge import winner_of
    from polydistill.cluster.champions import merged
    from polydistill.monitor import run_monitor
    from polydistill.params import MonitorParams, check_struct

    settings = check_struct(MonitorParams, params, "monitor")
    with merged([winner_of(Path(each.path)) for each in challenged], Path(champions.path), "winner") as winners:
        retrain = run_monitor(winners, Path(served.path, "answers.jsonl"), Path(monitored.path), settings)
    verdicts = list(retrain.values())
    metrics.log_metric("judged", sum(verdict is not None for verdict in verdicts))
    metrics.log_metric("retrain", verdicts.count(True))
