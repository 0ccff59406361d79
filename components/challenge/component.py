"""The component of `challenge`."""

from kfp import dsl

from components import component


@component
def challenge(
    cell: str,
    cluster: dict,
    registry: dsl.Input[dsl.Artifact],
    prepared: dsl.Input[dsl.Dataset],
    winner: dsl.Input[dsl.Model],
    card: dsl.Input[dsl.Artifact],
    data: dsl.Input[dsl.Dataset],
    challenged: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Hold the winner of a cell against its champion, on validation texts.

    Args:
        cell: The cell, task/language.
        cluster: Section `cluster` of params.yaml.
        registry: What `champions` wrote as that: by it the champion of this cell is fetched.
        prepared: What `prepare` wrote.
        winner: The winner of this run.
        card: Its card.
        data: What `fetch` wrote.
        challenged: The verdict and what it rests on, and which of the two is to serve, with its card.
        metrics: The score of each, and whether the challenger is promoted.
        summary: The verdict, to read.
    """
    import shutil
    from pathlib import Path

    from polydistill.cluster.challenge import run_challenge
    from polydistill.cluster.champions import champion_of
    from polydistill.files import read_json
    from polydistill.params import ClusterParams, check_struct

    fetched = read_json(Path(data.path, "fetch.json"))
    settings = check_struct(ClusterParams, cluster, "cluster")
    with champion_of(cell, Path(registry.path), settings.store) as champions:
        run_challenge(
            cell,
            champions,
            Path(prepared.path),
            Path(winner.path),
            Path(card.path),
            {"commit": fetched["commit"], "committed_at": fetched["committed_at"], "digest": fetched["cells"][cell]},
            settings.retrain,
            Path(challenged.path),
        )
    record = read_json(Path(challenged.path, "challenge.json"))
    metrics.log_metric("promoted", int(record["promoted"]))
    for side in ("challenger", "champion"):
        if record[side] and record[side]["score"] is not None:
            metrics.log_metric(f"{side}_{record['metric']}", record[side]["score"])
    shutil.copyfile(Path(challenged.path, "challenge.md"), summary.path)
