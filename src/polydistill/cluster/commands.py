"""The command `polydistill pipeline`: the chain on Kubeflow Pipelines, from this machine."""
# ruff: noqa: PLC0415

import functools
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from polydistill.cli import _common, _spoken
from polydistill.errors import DataError, ParamsError

if TYPE_CHECKING:
    from polydistill.cluster.kubeflow import Kubeflow, Recurring, Run
    from polydistill.params import Params
    from polydistill.workspace import Workspace

log = logging.getLogger(__name__)

_NAMES = ("distill", "retrain", "ablate")
_EXPERIMENT = "polydistill"
_OFTEN = 24
"""Starts a day: with more there is one within the hour, and a run may take longer."""


@dataclass(frozen=True)
class _Asked:
    """The workspace that a command was given, and what options say in place of its section `cluster`."""

    root: Path
    overrides: Mapping[str, Any]

    def workspace(self, **more: Any) -> "Workspace":
        """Return all of the workspace, with what the options say."""
        from polydistill.cluster.arguments import require_cluster
        from polydistill.params import ClusterParams, check
        from polydistill.workspace import Workspace

        workspace = Workspace.open(self.root)
        cluster = check(ClusterParams, require_cluster(workspace.params).model_dump() | self._given(more), "cluster")
        return replace(workspace, params=workspace.params.model_copy(update={"cluster": cluster}))

    def kubeflow(self) -> "Kubeflow":
        """Return Kubeflow for what needs no other section, and works whatever is wrong with those."""
        from polydistill.cluster.kubeflow import Kubeflow
        from polydistill.files import read_yaml
        from polydistill.params import ClusterParams, check

        file = self.root / "params.yaml"
        if not file.exists():
            raise ParamsError(f"{file} is missing; run this in a workspace, or name one with -C")
        content = read_yaml(file)
        section = content.get("cluster") if isinstance(content, dict) else None
        if not isinstance(section, dict):
            raise ParamsError(f"{file} has no section `cluster`; `polydistill init` writes one into a new workspace")
        return Kubeflow(check(ClusterParams, section | self._given({}), f"{file}: cluster"))

    def _given(self, more: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in {**self.overrides, **more}.items() if value is not None}


def _asks_kubeflow(command: Callable[..., None]) -> Callable[..., None]:
    """Take the options that override section `cluster` of params.yaml."""

    @click.option("-C", "--workspace", type=click.Path(path_type=Path), default=".", help="Folder with params.yaml.")
    @_spoken
    @click.option("--endpoint", metavar="URL", help="In place of cluster.endpoint.")
    @click.option("--namespace", help="In place of cluster.namespace.")
    @click.option("--token-file", type=click.Path(), help="In place of cluster.token_file.")
    @functools.wraps(command)
    def wrapped(workspace: Path, **arguments: Any) -> None:
        overrides = {name: arguments.pop(name) for name in ("endpoint", "namespace", "token_file")}
        command(_Asked(workspace, overrides), **arguments)

    return wrapped


def _together(*checks: Callable[[], Any]) -> list[Any]:
    """Return what the checks return; what is wrong is told of all of them at once."""
    returned, problems = [], []
    for check in checks:
        try:
            returned.append(check())
        except (ParamsError, DataError) as exc:
            problems.append(str(exc))
    if problems:
        raise ParamsError("\n".join(problems))
    return returned


def _say(line: str) -> None:
    """Print what -q leaves out."""
    if log.isEnabledFor(logging.INFO):
        click.echo(line)


def _say_id(id: str, line: str) -> None:
    """Print the line about what was made; with -q the id alone, for a script."""
    click.echo(line if log.isEnabledFor(logging.INFO) else id)


def _require_name(option: str, name: str) -> None:
    if not name.strip():
        raise ParamsError(f"{option} is empty; give a name, or leave it out")


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
            partial.write_text(_placed(workspace.params, each), encoding="utf-8")
        click.echo(f"{each}\t{file}")


def _placed(params: "Params", name: str) -> str:
    from polydistill.cluster.kubeflow import compiled_pipeline
    from polydistill.cluster.placement import place

    return place(compiled_pipeline(name).read_text(encoding="utf-8"), params)


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
    asked: _Asked,
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
    workspace = asked.workspace(revision=revision)
    _, kubeflow, prepared = _together(
        lambda: _require_name("--experiment", experiment),
        lambda: _kubeflow(workspace),
        lambda: (
            _prepared_ablation(workspace, cells, question, vary)
            if question is not None
            else _prepared(workspace, name, cells)
        ),
    )
    kubeflow.check()
    if prepared.size:
        _say(prepared.size)
    version = kubeflow.ensure_version(name, prepared.compiled)
    run = kubeflow.start(version, prepared.arguments, f"{name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC", experiment)
    _say(f"pipeline {name}, version {version.name}{' (new)' if version.is_new else ''}")
    _say_id(run, f"run {run}")
    _say(f"page {kubeflow.page_of(run)}")
    if wait:
        _wait(kubeflow, run)


class _Prepared(NamedTuple):
    """What is uploaded and started; `size`: how much it is to do, where that is not plain."""

    compiled: str
    arguments: dict[str, Any]
    size: str = ""


def _prepared(workspace: "Workspace", name: str, cells: Sequence[str], *, scheduled: bool = False) -> _Prepared:
    """Return a pipeline and its arguments, once all that can be checked without Kubeflow is."""
    from polydistill.cluster.arguments import chain_arguments, require_cluster
    from polydistill.cluster.kubeflow import check_arguments
    from polydistill.cluster.preflight import check_run

    chosen = workspace.cells(cells)
    params = workspace.params.model_copy(update={"cells": [cell.name for cell in chosen]})
    check_run(name, params, chosen, scheduled=scheduled)
    cluster = require_cluster(params)
    arguments = chain_arguments(params, str(cluster.repository), cluster.revision)
    compiled = _placed(params, name)
    check_arguments(name, compiled, arguments)
    return _Prepared(compiled, arguments)


def _prepared_ablation(workspace: "Workspace", cells: Sequence[str], question: str, vary: Sequence[str]) -> _Prepared:
    """Return the same for `ablate`, whose pods get what any of the variants needs."""
    from polydistill.ablate.variants import read_vary, variants_of
    from polydistill.cluster.arguments import ablate_arguments, require_cluster
    from polydistill.cluster.kubeflow import check_arguments
    from polydistill.cluster.preflight import check_run
    from polydistill.cluster.variants import each_of, for_all, told_size
    from polydistill.workspace import Cell

    params = workspace.params.model_copy(update={"cells": [cell.name for cell in workspace.cells(cells)]})
    variants = variants_of(question, read_vary(vary))
    each = each_of(params, variants)
    names = dict.fromkeys(name for of in each for name in of.cells)
    chosen = [Cell(workspace.root, *name.split("/")) for name in names]
    shared, _ = _together(lambda: for_all(each), lambda: check_run("ablate", params, chosen, variants=each))
    cluster = require_cluster(params)
    arguments = ablate_arguments(params, variants, str(cluster.repository), cluster.revision)
    compiled = _placed(shared, "ablate")
    check_arguments("ablate", compiled, arguments)
    return _Prepared(compiled, arguments, f"ablate {question}: {told_size(each)}")


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
    _say(f"{ended.state.lower()} after {between(ended.created, ended.ended)}")


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
@click.option("--paused", is_flag=True, help="Have it there, but start nothing; without --cron: pause what is there.")
@click.option("--name", help="Of the schedule.  [default: polydistill-PIPELINE]")
@click.option("--remove", is_flag=True, help="Delete it.")
@_cells
@_revision
@_experiment
def schedule(
    asked: _Asked,
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

    There is one schedule of a name: the same command again changes nothing, another one replaces it. That of another
    workspace is left alone. It starts params.yaml as it is now. None starts while one goes on, and of the starts
    that were missed the last one alone is made up for.
    """
    name = f"polydistill-{pipeline}" if name is None else name
    if (remove and (paused or cron is not None)) or not (remove or paused or cron is not None):
        raise ParamsError(
            "give --cron, such as --cron '0 3 * * 1', or --remove, or --paused alone for the one that is there"
        )
    _require_name("--name", name)
    if cron is None:
        _change_schedule(asked.kubeflow(), name, remove)
        return

    from polydistill.cluster.cron import Schedule, read_all_in, read_zone
    from polydistill.cluster.kubeflow import Recurring
    from polydistill.cluster.schedule import describe, ours_of, put_schedule

    now = datetime.now(UTC)
    workspace = asked.workspace(revision=revision)
    _, planned, kubeflow, prepared = _together(
        lambda: _require_name("--experiment", experiment),
        lambda: Schedule.plan(cron, read_zone(time_zone), read_zone(server_time_zone), now),
        lambda: _kubeflow(workspace),
        lambda: _prepared(workspace, pipeline, cells, scheduled=True),
    )
    kubeflow.check()
    ours_of(kubeflow, name)  # before anything is uploaded
    version = kubeflow.ensure_version(pipeline, prepared.compiled)
    wanted = Recurring(
        id="",
        name=name,
        description=describe(pipeline, cron, planned),
        cron=str(planned.sent),
        is_enabled=not paused,
        no_catchup=True,
        max_concurrency=1,
        version_id=version.version_id,
        arguments=prepared.arguments,
        experiment_id=kubeflow.ensure_experiment(experiment),
        service_account=kubeflow.service_account,
    )
    kept, done = put_schedule(kubeflow, wanted, version)
    _say_id(kept.id, f"schedule {name} ({kept.id}): {done}, {'active' if kept.is_enabled else 'paused'}")
    _say("it starts params.yaml as it is now; after a change of it give this command again")
    _say(f"`{cron}` of {time_zone}; Kubeflow has `{kept.cron}` and reads it in {server_time_zone}")
    for at in planned.next_times(now, 3):
        _say(f"next {_in_zones(at, planned.zone)}")
    if planned.wanted.starts_a_day > _OFTEN:
        log.warning(
            "on its days it starts %d times, so one run follows the other, and GPUs are hardly given back between "
            "them; is that meant? `0 3 * * 1` is once a week",
            planned.wanted.starts_a_day,
        )
    surprises = planned.surprises(now)
    for told in surprises:
        log.warning("%s", told)
    if surprises and time_zone != server_time_zone:
        log.warning(
            "give this command again then; or have Kubeflow read all its schedules in %s: %s",
            time_zone,
            read_all_in(planned.zone),
        )


def _change_schedule(kubeflow: "Kubeflow", name: str, remove: bool) -> None:
    from polydistill.cluster.schedule import pause_schedule, remove_schedule

    kubeflow.check()
    if remove:
        remove_schedule(kubeflow, name)
        _say(f"removed schedule {name}")
        return
    for kept in pause_schedule(kubeflow, name):
        _say(f"schedule {name} ({kept.id}): paused")


def _in_zones(at: datetime, zone: Any) -> str:
    in_utc = f"{at:%a %Y-%m-%d %H:%M} UTC"
    return in_utc if zone.key == "UTC" else f"{at.astimezone(zone):%a %Y-%m-%d %H:%M} {zone.key} = {in_utc}"


@click.command()
@_asks_kubeflow
@click.argument("run", required=False)
@click.option("-n", "--last", type=click.IntRange(1, 100), default=10, show_default=True, help="Runs to list.")
def status(asked: _Asked, run: str | None, last: int) -> None:
    """List the last runs and all schedules, or show one run.

    RUN is the id of a run, or its beginning.
    """
    kubeflow = asked.kubeflow()
    kubeflow.check()
    if run is not None:
        _show(kubeflow, kubeflow.run(kubeflow.full_id(run)))
        return
    runs, schedules = kubeflow.runs(last), kubeflow.schedules()
    if not runs and not schedules:
        click.echo("no runs, and no schedules")
    if runs:
        click.echo("run\tstate\ttook\tname\terror")
    for each in runs:
        click.echo("\t".join((each.id, each.state.lower(), _took(each), each.name, each.error)).rstrip())
    if schedules:
        click.echo("schedule\tstate\tnext\tcron\tname")
    for recurring in schedules:
        click.echo("\t".join((recurring.id, *_about(recurring))))


def _show(kubeflow: "Kubeflow", run: "Run") -> None:
    from polydistill.cluster.following import by_step, failures

    click.echo(f"run\tstate\ttook\tname\n{run.id}\t{run.state.lower()}\t{_took(run)}\t{run.name}")
    if run.tasks:
        click.echo("step\tstate\ttook")
    elif run.has_ended:
        click.echo("Kubeflow names no step of this run; its page may")
    for step, states, span in by_step(run.tasks):
        click.echo(f"{step}\t{states}\t{span}".rstrip())
    page = kubeflow.page_of(run.id)
    told = failures(kubeflow, run) if run.has_ended and run.state not in ("SUCCEEDED", "SKIPPED") else []
    for line in told:
        click.echo(line)
    if not any(page in line for line in told):
        click.echo(f"page {page}")


def _took(run: "Run") -> str:
    from polydistill.cluster.following import between

    return between(run.created, run.ended)


def _about(recurring: "Recurring") -> tuple[str, str, str, str]:
    """Return the state of a schedule, when it starts next, its cron line, and its name."""
    from polydistill.cluster.schedule import next_start, read_description

    at, described = next_start(recurring, datetime.now(UTC)), read_description(recurring.description)
    cron = f"`{described.line}` of {described.zone.key}" if described else f"`{recurring.cron}` as Kubeflow has it"
    if not recurring.is_enabled:
        return ("paused", "", cron, recurring.name)
    if at is None:
        return ("active", "", cron, recurring.name)
    told = _in_zones(at, described.zone) if described else f"{at:%a %Y-%m-%d %H:%M} UTC"
    return ("active", told, cron, recurring.name)


COMMANDS = {"compile": compile_pipelines, "submit": submit, "schedule": schedule, "status": status}
