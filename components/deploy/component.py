"""The component that rolls a promoted bento out."""

from kfp import dsl

from components import component


@component
def deploy(
    run: str,
    cluster: dict,
    promoted: dsl.Input[dsl.Artifact],
    challenged: dsl.Input[list[dsl.Artifact]],
    deployed: dsl.Output[dsl.Artifact],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Roll the promoted bento out, and go back to the one before where it does not answer as its winners did.

    Args:
        run: Id of the run.
        cluster: Section `cluster` of params.yaml.
        promoted: What `promote` wrote, with the bento.
        challenged: The winner of each cell of the run, with its known answers.
        deployed: What is served.
        summary: The same for the Kubeflow UI.
    """
    from pathlib import Path

    from polydistill.cluster.challenge import winner_of
    from polydistill.cluster.deploy import run_deploy, to_markdown
    from polydistill.files import read_json
    from polydistill.gather import gathered
    from polydistill.params import ClusterParams, check_struct

    serving = check_struct(ClusterParams, cluster, "cluster").serving
    content = read_json(Path(promoted.path, "promoted.json"))
    bento = content["bento"] and {**content["bento"], "serial": content["serial"]}
    with gathered([winner_of(Path(each.path)) for each in challenged], "winner.json") as winners:
        facts = run_deploy(serving, bento, winners, Path(deployed.path), run=run)
    Path(summary.path).write_text(to_markdown(facts), encoding="utf-8")
