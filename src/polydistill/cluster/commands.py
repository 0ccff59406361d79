"""The command `polydistill pipeline`: the chain on Kubeflow Pipelines, from this machine."""
# ruff: noqa: PLC0415

import functools
import logging
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polydistill.cli import _common
from polydistill.errors import ParamsError

if TYPE_CHECKING:
    from polydistill.cluster.kubeflow import Kubeflow, Recurring, Run
    from polydistill.workspace import Workspace

log = logging.getLogger(__name__)

_NAMES = ("distill", "retrain", "ablate")
_EXPERIMENT = "polydistill"


def _asks_kubeflow(command: Callable[..., None]) -> Callable[..., None]:
    """Take the options that override section `cluster` of params.yaml."""

    @_common
    @click.option("--endpoint", metavar="URL", help="In place of cluster.endpoint.")
    @click.option("--namespace", help="In place of cluster.namespace.")
    @click.option("--token-file", type=click.Path(), help="In place of cluster.token_file.")
    @functools.wraps(command)
    def wrapped(workspace: Any, **arguments: Any) -> None:
        overrides = {name: arguments.pop(name) for name in ("endpoint", "namespace", "token_file")}
        command(_with(workspace, overrides), **arguments)

    return wrapped


def _with(workspace: Any, overrides: dict[str, Any]) -> Any:
    """Return the workspace with settings of section `cluster` that options give."""
    from dataclasses import replace

    from polydistill.cluster.arguments import require_cluster
    from polydistill.params import ClusterParams, check

    given = {name: value for name, value in overrides.items() if value is not None}
    section = require_cluster(workspace.params).model_dump() | given
    cluster = check(ClusterParams, section, "cluster")
    return replace(workspace, params=workspace.params.model_copy(update={"cluster": cluster}))


_cells = click.option("--cell", "cells", multiple=True, metavar="TASK/LANGUAGE", help="Repeatable; all where left out.")
_revision = click.option("--revision", help="Branch, tag or commit of the data; in place of cluster.revision.")
_experiment = click.option("--experiment", default=_EXPERIMENT, show_default=True, help="Groups runs in Kubeflow.")


@click.command("compile")
@_common
@click.argument("name", type=click.Choice(_NAMES), required=False)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write; for one pipeline."
)
def compile_pipelines(workspace: Any, name: str | None, output: Path | None) -> None:
    """Write the YAML of a pipeline, or of all.

    It is what `submit` uploads: the compiled pipeline, with the images, resources, nodes and secrets that section
    `cluster` of params.yaml gives its pods.
    """
    from polydistill.files import new_file

    if output is not None and name is None:
        raise ParamsError("-o takes one pipeline; name it")
    for each in (name,) if name else _NAMES:
        file = output or workspace.across("pipelines") / f"{each}.yaml"
        with new_file(file) as partial:
            partial.write_text(_placed(workspace, each), encoding="utf-8")
        click.echo(f"{each}\t{file}")


def _placed(workspace: Any, name: str) -> str:
    from polydistill.cluster.kubeflow import compiled_pipeline
    from polydistill.cluster.placement import place

    return place(compiled_pipeline(name).read_text(encoding="utf-8"), workspace.params)


@click.command()
@_asks_kubeflow
@click.argument("name", type=click.Choice(_NAMES))
@_cells
@_revision
@_experiment
@click.option("--wait", is_flag=True, help="Follow the run to its end; exit 1 if it fails.")
@click.option("--question", help="Of `ablate`: seeds, strategy, filter, source, or a name of your own with --vary.")
@click.option("--vary", multiple=True, metavar="KEY=VALUE,VALUE", help="Of `ablate`; repeatable.")
def submit(
    workspace: Any,
    name: str,
    cells: tuple[str, ...],
    revision: str | None,
    experiment: str,
    wait: bool,
    question: str | None,
    vary: tuple[str, ...],
) -> None:
    """Check everything, and start a run.

    The pipeline is uploaded where Kubeflow does not have it yet: its version is named after its content.
    """
    if (name == "ablate") != (question is not None) or (vary and name != "ablate"):
        raise ParamsError("`submit ablate` needs --question, and the other pipelines take neither that nor --vary")
    workspace = _with(workspace, {"revision": revision})
    kubeflow = _kubeflow(workspace)
    compiled, arguments = _prepared(workspace, name, cells, question, vary)
    kubeflow.check()
    version = kubeflow.ensure_version(name, compiled)
    run = kubeflow.start(version, arguments, f"{name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC", experiment)
    click.echo(f"pipeline {name}, version {version.name}{' (new)' if version.is_new else ''}")
    click.echo(f"run {run}")
    click.echo(f"page {kubeflow.page_of(run)}")
    if wait:
        _wait(kubeflow, run)


def _prepared(
    workspace: Any, name: str, cells: Sequence[str], question: str | None = None, vary: Sequence[str] = ()
) -> tuple[str, dict[str, Any]]:
    """Return a pipeline and its arguments, once all that can be checked without Kubeflow is."""
    from polydistill.ablate.variants import read_vary, variants_of
    from polydistill.cluster.arguments import ablate_arguments, chain_arguments, require_cluster
    from polydistill.cluster.kubeflow import check_arguments
    from polydistill.cluster.preflight import check_run

    chosen = workspace.cells(cells)
    params = workspace.params.model_copy(update={"cells": [cell.name for cell in chosen]})
    check_run(name, params, chosen)
    cluster = require_cluster(params)
    where = (str(cluster.repository), cluster.revision)
    if question is None:
        arguments = chain_arguments(params, *where)
    else:
        arguments = ablate_arguments(params, variants_of(question, read_vary(vary)), *where)
    compiled = _placed(workspace, name)
    check_arguments(name, compiled, arguments)
    return compiled, arguments


def _kubeflow(workspace: "Workspace") -> "Kubeflow":
    from polydistill.cluster.arguments import require_cluster
    from polydistill.cluster.kubeflow import Kubeflow

    return Kubeflow(require_cluster(workspace.params))


def _wait(kubeflow: "Kubeflow", run: str) -> None:
    from polydistill.cluster.following import between, follow

    try:
        ended = follow(kubeflow, run)
    except KeyboardInterrupt:
        click.echo(f"interrupted; the run goes on: `polydistill pipeline status {run}`", err=True)
        sys.exit(130)
    click.echo(f"{ended.state.lower()} after {between(ended.created, ended.ended)}")


@click.command()
@_asks_kubeflow
@click.argument("pipeline", type=click.Choice(("retrain", "distill")))
@click.option("--cron", help="Minute, hour, day of month, month, weekday, such as '0 3 * * 1'.")
@click.option("--time-zone", default="UTC", show_default=True, help="Zone of --cron, such as Europe/Ljubljana.")
@click.option(
    "--server-time-zone",
    default="UTC",
    show_default=True,
    help="Zone in which Kubeflow reads all cron lines: CRON_SCHEDULE_TIMEZONE of its scheduled-workflow controller.",
)
@click.option("--paused", is_flag=True, help="Have it there, but start nothing.")
@click.option("--name", help="Of the schedule.  [default: polydistill-PIPELINE]")
@click.option("--remove", is_flag=True, help="Delete it.")
@_cells
@_revision
@_experiment
def schedule(
    workspace: Any,
    pipeline: str,
    cron: str | None,
    time_zone: str,
    server_time_zone: str,
    paused: bool,
    name: str | None,
    remove: bool,
    cells: tuple[str, ...],
    revision: str | None,
    experiment: str,
) -> None:
    """Have a pipeline started by the clock.

    There is one schedule of a name: the same command again changes nothing, another one replaces it. Runs that were
    missed are not made up for, and none starts while one goes on.
    """
    from polydistill.cluster.schedule import put_schedule, remove_schedule

    name = name or f"polydistill-{pipeline}"
    if remove == (cron is not None):
        raise ParamsError("give --cron, such as --cron '0 3 * * 1', or --remove")
    if cron is None:
        kubeflow = _kubeflow(workspace)
        kubeflow.check()
        remove_schedule(kubeflow, name)
        click.echo(f"removed schedule {name}")
        return

    from polydistill.cluster.cron import Schedule, read_all_in, read_zone
    from polydistill.cluster.kubeflow import Recurring
    from polydistill.cluster.schedule import describe

    now = datetime.now(UTC)
    planned = Schedule.plan(cron, read_zone(time_zone), read_zone(server_time_zone), now)
    workspace = _with(workspace, {"revision": revision})
    kubeflow = _kubeflow(workspace)
    compiled, arguments = _prepared(workspace, pipeline, cells)
    kubeflow.check()
    version = kubeflow.ensure_version(pipeline, compiled)
    wanted = Recurring(
        id="",
        name=name,
        description=describe(pipeline, cron, planned),
        cron=str(planned.sent),
        is_enabled=not paused,
        no_catchup=True,
        max_concurrency=1,
        version_id=version.version_id,
        arguments=arguments,
        experiment_id=kubeflow.ensure_experiment(experiment),
        service_account=workspace.params.cluster.service_account,
    )
    kept, done = put_schedule(kubeflow, wanted, version)
    click.echo(f"schedule {name} ({kept.id}): {done}, {'active' if kept.is_enabled else 'paused'}")
    click.echo(f"`{cron}` of {time_zone}; Kubeflow has `{kept.cron}` and reads it in {server_time_zone}")
    for at in planned.next_times(now, 3):
        click.echo(f"next {_in_zones(at, planned.zone)}")
    surprises = planned.surprises(now)
    for told in surprises:
        log.warning("%s", told)
    if surprises and time_zone != server_time_zone:
        log.warning(
            "give this command again then; or have Kubeflow read all its schedules in %s: %s",
            time_zone,
            read_all_in(planned.zone),
        )


def _in_zones(at: datetime, zone: Any) -> str:
    in_utc = f"{at:%a %Y-%m-%d %H:%M} UTC"
    return in_utc if zone.key == "UTC" else f"{at.astimezone(zone):%a %Y-%m-%d %H:%M} {zone.key} = {in_utc}"


@click.command()
@_asks_kubeflow
@click.argument("run", required=False)
@click.option("-n", "--last", type=click.IntRange(1, 100), default=10, show_default=True, help="Runs to list.")
def status(workspace: Any, run: str | None, last: int) -> None:
    """List the last runs and all schedules, or show one run.

    RUN is the id of a run.
    """
    kubeflow = _kubeflow(workspace)
    kubeflow.check()
    if run is not None:
        _show(kubeflow, kubeflow.run(run))
        return
    runs, schedules = kubeflow.runs(last), kubeflow.schedules()
    if not runs and not schedules:
        click.echo("no runs, and no schedules")
    for each in runs:
        click.echo("\t".join((each.id, each.state.lower(), _took(each), each.name, each.error)).rstrip())
    for recurring in schedules:
        click.echo("\t".join((recurring.id, *_about(recurring))))


def _show(kubeflow: "Kubeflow", run: "Run") -> None:
    from polydistill.cluster.following import by_step, failures

    click.echo(f"{run.id}\t{run.state.lower()}\t{_took(run)}\t{run.name}")
    for step, states, span in by_step(run.tasks):
        click.echo(f"{step}\t{states}\t{span}".rstrip())
    if run.has_ended and run.state not in ("SUCCEEDED", "SKIPPED"):
        for line in failures(kubeflow, run):
            click.echo(line)
    click.echo(f"page {kubeflow.page_of(run.id)}")


def _took(run: "Run") -> str:
    from polydistill.cluster.following import between

    return between(run.created, run.ended)


def _about(recurring: "Recurring") -> tuple[str, str, str]:
    from polydistill.cluster.schedule import next_start, read_description

    at, described = next_start(recurring, datetime.now(UTC)), read_description(recurring.description)
    if not recurring.is_enabled:
        return ("paused", "", recurring.name)
    if at is None:
        return ("active", f"`{recurring.cron}`", recurring.name)
    return (
        "active",
        f"next {_in_zones(at, described.zone) if described else f'{at:%a %Y-%m-%d %H:%M} UTC'}",
        recurring.name,
    )


COMMANDS = {"compile": compile_pipelines, "submit": submit, "schedule": schedule, "status": status}
