"""What is asked of Kubeflow Pipelines, by the client of the real one, and how its errors read."""

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kfp
import pytest
import yaml

from kubeflow_server import KubeflowServer, Refused, kubeflow_server
from polydistill.cluster.arguments import ablate_arguments, chain_arguments
from polydistill.cluster.following import by_step, failures, follow
from polydistill.cluster.kubeflow import (
    Kubeflow,
    Recurring,
    Version,
    check_arguments,
    compiled_pipeline,
    version_name,
)
from polydistill.cluster.schedule import next_start, pause_schedule, put_schedule, remove_schedule
from polydistill.errors import DataError, ParamsError, PolydistillError
from polydistill.params import ClusterParams, check, load_params
from repositories import ADDRESS
from spaces import settings

ROOT = Path(__file__).parents[2]

PIPELINE = """\
# a comment
pipelineInfo: {name: distill}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
components:
  comp-prepare: {executorLabel: exec-prepare}
  comp-train: {executorLabel: exec-train}
  comp-loop: {dag: {tasks: {train: {componentRef: {name: comp-train}}}}}
deploymentSpec: {executors: {}}
root:
  dag:
    tasks:
      prepare: {componentRef: {name: comp-prepare}}
      for-loop-1: {componentRef: {name: comp-loop}}
  inputDefinitions:
    parameters:
      cells: {parameterType: LIST}
      cluster: {parameterType: STRUCT}
      repository: {parameterType: STRING, isOptional: true}
      revision: {parameterType: STRING, defaultValue: main}
      runs: {parameterType: NUMBER_INTEGER, isOptional: true}
---
platforms: {kubernetes: {deploymentSpec: {executors: {}}}}
"""
ARGUMENTS = {"cells": ["demo/sl"], "cluster": {}}


def cluster(**changes: Any) -> ClusterParams:
    return check(ClusterParams, settings()["cluster"] | {"repository": ADDRESS} | changes, "test")


@pytest.fixture
def server() -> Iterator[KubeflowServer]:
    with kubeflow_server() as running:
        yield running


@pytest.fixture
def kubeflow(server: KubeflowServer) -> Kubeflow:
    return connected(server)


def connected(server: KubeflowServer, **changes: Any) -> Kubeflow:
    kubeflow = Kubeflow(cluster(endpoint=server.url, **changes))
    kubeflow.check()
    return kubeflow


def weekly(version: Version, kubeflow: Kubeflow, **changes: Any) -> Recurring:
    wanted = Recurring(
        id="",
        name="nightly",
        description="polydistill retrain: 0 3 * * 1 of Europe/Ljubljana, read in UTC",
        cron="0 0 2 * * 1",
        is_enabled=True,
        no_catchup=True,
        max_concurrency=1,
        version_id=version.version_id,
        arguments={**ARGUMENTS, "repository": kubeflow.repository},
        experiment_id=kubeflow.ensure_experiment("polydistill"),
        service_account=None,
    )
    return replace(wanted, **changes)


# Pipelines.


@pytest.mark.parametrize("name", ["distill", "retrain", "ablate"])
def test_the_compiled_pipelines_take_the_arguments_that_params_yaml_makes(name: str) -> None:
    params = load_params(ROOT / "params.yaml")
    arguments = (
        ablate_arguments(params, [], "repository", "main")
        if name == "ablate"
        else chain_arguments(params, "repository", "main")
    )
    check_arguments(name, compiled_pipeline(name).read_text("utf-8"), arguments)


def test_the_wheel_brings_the_compiled_pipelines_of_its_version() -> None:
    content = (ROOT / "pyproject.toml").read_text("utf-8")
    folder = compiled_pipeline("distill").parent.relative_to(ROOT).as_posix()
    assert f'"{folder}" = "polydistill/_pipelines"' in content


def test_a_pipeline_that_is_nowhere_is_said() -> None:
    with pytest.raises(PolydistillError, match=r"train\.yaml is missing in .*pipelines/compiled"):
        compiled_pipeline("train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"cells": "demo/sl"}, "`cells` must be of type LIST, and is str", id="wrong type"),
        pytest.param({"cluster": None}, "`cluster` must be of type STRUCT, and is NoneType", id="null"),
        pytest.param({"runs": True}, "`runs` must be of type NUMBER_INTEGER, and is bool", id="truth value"),
        pytest.param({"runs": 2.5}, "`runs` must be of type NUMBER_INTEGER, and is float", id="half"),
        pytest.param({"celsl": []}, "takes no parameter `celsl`", id="unknown"),
    ],
)
def test_arguments_that_a_pipeline_does_not_take_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        check_arguments("distill", PIPELINE, ARGUMENTS | change)


def test_arguments_that_argo_could_not_keep_with_their_quotes_escaped_are_refused() -> None:
    check_arguments("distill", PIPELINE, {**ARGUMENTS, "cells": ["demo/sl"] * 7_000})
    cells = ["demo/sl"] * 8_000
    assert len(json.dumps(cells)) < 96 * 1024
    with pytest.raises(ParamsError, match="arguments take 101 KiB, .* 96; name fewer cells with --cell"):
        check_arguments("distill", PIPELINE, {**ARGUMENTS, "cells": cells})


def test_a_missing_argument_is_refused_and_one_with_a_default_is_not() -> None:
    check_arguments("distill", PIPELINE, ARGUMENTS)
    with pytest.raises(ParamsError, match="needs the parameter `cluster`"):
        check_arguments("distill", PIPELINE, {"cells": []})


def test_the_same_content_is_uploaded_once(server: KubeflowServer, kubeflow: Kubeflow) -> None:
    first = kubeflow.ensure_version("distill", PIPELINE)
    again = kubeflow.ensure_version("distill", PIPELINE)
    assert (first.is_new, again.is_new) == (True, False)
    assert again.version_id == first.version_id and first.name == version_name(PIPELINE)
    changed = kubeflow.ensure_version("distill", PIPELINE.replace("a comment", "another"))
    assert changed.pipeline_id == first.pipeline_id and changed.version_id != first.version_id
    assert len(server.pipelines) == 1 and len(server.versions) == 2


def test_both_documents_of_a_pipeline_arrive(server: KubeflowServer, kubeflow: Kubeflow) -> None:
    version = kubeflow.ensure_version("distill", PIPELINE)
    pipeline, platform = yaml.safe_load_all(PIPELINE)
    kept = server.versions[version.version_id]["pipeline_spec"]
    assert kept == {"pipeline_spec": pipeline, "platform_spec": platform}


def test_a_version_that_another_uploads_at_the_same_time_is_taken(
    server: KubeflowServer, kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = kubeflow.ensure_version("distill", PIPELINE)
    look, looks = server.list_versions, []

    def blind_at_first(*arguments: Any, **more: Any) -> Any:
        looks.append(1)
        return {} if len(looks) == 1 else look(*arguments, **more)

    monkeypatch.setattr(server, "list_versions", blind_at_first)
    assert kubeflow.ensure_version("distill", PIPELINE).version_id == first.version_id
    assert len(server.versions) == 1 and len(looks) == 2


def test_more_than_a_page_is_read(server: KubeflowServer, kubeflow: Kubeflow) -> None:
    version = kubeflow.ensure_version("distill", PIPELINE)
    for number in range(101):
        kubeflow.add_schedule(weekly(version, kubeflow, name=f"of-team-{number}"), version)
    assert len(kubeflow.schedules()) == 101


def test_the_client_of_kubeflow_itself_works_with_the_server_of_these_tests(
    server: KubeflowServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.warns(FutureWarning, match="only works with Kubeflow Pipeline v2"):
        client = kfp.Client(host=server.url)
    file = tmp_path / "distill.yaml"
    file.write_text(PIPELINE)
    pipeline = client.upload_pipeline(str(file), pipeline_name="distill")
    version = client.upload_pipeline_version(str(file), pipeline_version_name="second", pipeline_name="distill")
    assert client.get_pipeline_id("distill") == pipeline.pipeline_id
    ids = {"pipeline_id": pipeline.pipeline_id, "version_id": version.pipeline_version_id}
    experiment = client.create_experiment("polydistill")
    run = client.run_pipeline(experiment.experiment_id, "run", params=ARGUMENTS, **ids)
    assert client.get_run(run.run_id).state == "PENDING"
    recurring = client.create_recurring_run(
        experiment.experiment_id, "job", cron_expression="0 0 3 * * 1", no_catchup=True, params=ARGUMENTS, **ids
    )
    client.disable_recurring_run(recurring.recurring_run_id)
    assert client.get_recurring_run(recurring.recurring_run_id).status == "DISABLED"
    with pytest.raises(Exception, match="Expected 5 to 6 fields, found 7"):
        client.create_recurring_run(
            experiment.experiment_id, "job", cron_expression="CRON_TZ=UTC 0 0 3 * * 1", params=ARGUMENTS, **ids
        )
    capsys.readouterr()


# Runs.


def test_a_run_starts_with_its_arguments(server: KubeflowServer, kubeflow: Kubeflow) -> None:
    version = kubeflow.ensure_version("distill", PIPELINE)
    id = kubeflow.start(version, ARGUMENTS, "first", "texts")
    (run,) = server.runs.values()
    assert run["run_id"] == id and run["runtime_config"]["parameters"] == ARGUMENTS
    assert server.experiments[run["experiment_id"]]["display_name"] == "texts"
    kubeflow.start(version, ARGUMENTS, "second", "texts")
    assert len(server.experiments) == 1
    assert [run.name for run in kubeflow.runs(10)] == ["second", "first"]


def test_the_service_account_of_params_yaml_runs_it(server: KubeflowServer) -> None:
    kubeflow = connected(server, service_account="polydistill-runner")
    kubeflow.start(kubeflow.ensure_version("distill", PIPELINE), ARGUMENTS, "run", "texts")
    (run,) = server.runs.values()
    assert run["service_account"] == "polydistill-runner"


def test_an_experiment_that_another_makes_at_the_same_time_is_taken(
    server: KubeflowServer, kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = kubeflow.ensure_experiment("texts")
    look, looks = server.list_experiments, []

    def blind_at_first(*arguments: Any, **more: Any) -> Any:
        looks.append(1)
        return {} if len(looks) == 1 else look(*arguments, **more)

    monkeypatch.setattr(server, "list_experiments", blind_at_first)
    assert kubeflow.ensure_experiment("texts") == first and len(server.experiments) == 1


def test_an_archived_experiment_is_refused(server: KubeflowServer, kubeflow: Kubeflow) -> None:
    server.experiments[kubeflow.ensure_experiment("texts")]["storage_state"] = "ARCHIVED"
    with pytest.raises(ParamsError, match="experiment texts is archived, .* another with --experiment"):
        kubeflow.ensure_experiment("texts")


def test_a_run_is_found_by_the_beginning_of_its_id(
    server: KubeflowServer, kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = started(kubeflow)
    assert kubeflow.full_id(id[:8]) == id and kubeflow.full_id("nosuch") == "nosuch"
    server.runs[f"{id[:8]}-2"] = {**server.runs[id], "run_id": f"{id[:8]}-2"}
    assert kubeflow.full_id(id) == id
    with pytest.raises(ParamsError, match=f"{id[:8]} is the beginning of 2 runs: .*; give more of the id"):
        kubeflow.full_id(id[:8])


def started(kubeflow: Kubeflow) -> str:
    return kubeflow.start(kubeflow.ensure_version("distill", PIPELINE), ARGUMENTS, "run", "polydistill")


def test_only_the_steps_of_a_run_are_told(server: KubeflowServer, kubeflow: Kubeflow) -> None:
    id = started(kubeflow)
    server.looks = [("RUNNING", {"prepare": "SUCCEEDED", "train": "SUCCEEDED", "train#2": "RUNNING"})]
    steps = {name: states for name, states, _ in by_step(kubeflow.run(id).tasks)}
    assert steps == {"prepare": "succeeded", "train": "1 succeeded, 1 running"}


def test_a_run_is_followed_to_its_end(
    server: KubeflowServer, kubeflow: Kubeflow, caplog: pytest.LogCaptureFixture
) -> None:
    id = started(kubeflow)
    server.looks = [
        ("PENDING", {}),
        ("RUNNING", {"prepare": "RUNNING"}),
        ("RUNNING", {"prepare": "RUNNING"}),
        ("SUCCEEDED", {"prepare": "SUCCEEDED"}),
    ]
    with caplog.at_level(logging.INFO):
        assert follow(kubeflow, id, poll_s=0).state == "SUCCEEDED"
    assert [record.message for record in caplog.records] == ["pending", "prepare: running", "prepare: succeeded"]


def test_a_failed_run_names_the_step_and_the_command_for_its_log(server: KubeflowServer, kubeflow: Kubeflow) -> None:
    id = started(kubeflow)
    server.looks = [("RUNNING", {}), ("FAILED", {"prepare": "SUCCEEDED", "train": "FAILED"})]
    with pytest.raises(PolydistillError) as failure:
        follow(kubeflow, id, poll_s=0)
    (line,) = str(failure.value).splitlines()
    assert line.startswith(f"run {id} failed in train; its log: kubectl -n kubeflow get pods -l pipeline/runid={id}")


def test_a_step_that_could_not_even_start_is_named(server: KubeflowServer, kubeflow: Kubeflow) -> None:
    id = started(kubeflow)
    server.looks = [("FAILED", {"train-driver": "FAILED"})]
    assert "failed in train;" in failures(kubeflow, kubeflow.run(id))[0]


@pytest.mark.parametrize(("state", "said"), [("CANCELED", "was canceled"), ("FAILED", "failed")])
def test_a_run_that_ends_without_a_failed_step_shows_its_page(
    server: KubeflowServer, kubeflow: Kubeflow, state: str, said: str
) -> None:
    id = started(kubeflow)
    server.looks = [(state, {"prepare": "SUCCEEDED"})]
    with pytest.raises(PolydistillError, match=rf"run {id} {said}; see http.*#/runs/details/{id}"):
        follow(kubeflow, id, poll_s=0)


def test_a_server_that_is_away_for_a_while_does_not_end_the_waiting(
    server: KubeflowServer, kubeflow: Kubeflow, caplog: pytest.LogCaptureFixture
) -> None:
    id = started(kubeflow)
    server.looks = [("SUCCEEDED", {})]
    server.answer, server.only_next = (503, "text/plain", "no healthy upstream"), 3
    with caplog.at_level(logging.INFO):
        assert follow(kubeflow, id, poll_s=0).state == "SUCCEEDED"
    away, back, ended = (record.message for record in caplog.records)
    assert "503" in away and away.endswith("; looking again for 10 minutes")
    assert (back, ended) == (f"{server.url} answers again", "succeeded")


def test_a_server_that_is_away_again_is_told_again(
    server: KubeflowServer, kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    id = started(kubeflow)
    look, looks = server.get_run, iter((503, None, 503, None))

    def now_and_then(*arguments: Any, **more: Any) -> Any:
        if status := next(looks):
            raise Refused(status, "no healthy upstream")
        return look(*arguments, **more)

    monkeypatch.setattr(server, "get_run", now_and_then)
    server.looks = [("PENDING", {}), ("SUCCEEDED", {})]
    assert follow(kubeflow, id, poll_s=0).state == "SUCCEEDED"
    assert caplog.text.count("looking again for 10 minutes") == 2


def test_a_server_that_stays_away_ends_it_and_the_run_is_named(server: KubeflowServer, kubeflow: Kubeflow) -> None:
    id = started(kubeflow)
    server.answer = (503, "text/plain", "no healthy upstream")
    with pytest.raises(PolydistillError, match=f"503.*polydistill pipeline status {id}"):
        follow(kubeflow, id, poll_s=0, patience_s=0)


def test_a_token_that_runs_out_ends_the_waiting_at_once(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    with kubeflow_server(token="secret") as server:
        kubeflow = connected(server, token_file=str(tmp_path / "token"))
        id = started(kubeflow)
        server.token = "another"
        with pytest.raises(PolydistillError, match=f"refuses the token .*polydistill pipeline status {id}"):
            follow(kubeflow, id, poll_s=3600)


def test_an_unknown_run_is_said(kubeflow: Kubeflow) -> None:
    with pytest.raises(ParamsError, match="has no run nosuch"):
        kubeflow.run("nosuch")


def test_the_page_of_a_run_is_where_pages_are() -> None:
    with kubeflow_server(pages=True) as with_pages, kubeflow_server() as api_alone:
        assert connected(with_pages).page_of("r1") == f"{with_pages.url}/#/runs/details/r1"
        assert "kubectl -n kubeflow port-forward svc/ml-pipeline-ui 8080:80" in connected(api_alone).page_of("r1")


# Schedules.


def test_a_schedule_is_put_once_however_often_it_is_asked_for(server: KubeflowServer, kubeflow: Kubeflow) -> None:
    version = kubeflow.ensure_version("distill", PIPELINE)
    kept, done = put_schedule(kubeflow, weekly(version, kubeflow), version)
    again, done_again = put_schedule(kubeflow, weekly(version, kubeflow), version)
    assert (done, done_again) == ("created", "unchanged") and again.id == kept.id
    (recurring,) = server.recurring.values()
    assert recurring["no_catchup"] is True and recurring["max_concurrency"] == "1"
    assert recurring["trigger"] == {"cron_schedule": {"cron": "0 0 2 * * 1"}} and recurring["mode"] == "ENABLE"


def test_another_schedule_of_that_name_takes_its_place(server: KubeflowServer, kubeflow: Kubeflow) -> None:
    version = kubeflow.ensure_version("distill", PIPELINE)
    before, _ = put_schedule(kubeflow, weekly(version, kubeflow), version)
    after, done = put_schedule(kubeflow, weekly(version, kubeflow, cron="0 0 4 * * *"), version)
    assert done == "changed (cron)" and after.id != before.id and list(server.recurring) == [after.id]


def test_a_pause_is_changed_in_place(server: KubeflowServer, kubeflow: Kubeflow) -> None:
    version = kubeflow.ensure_version("distill", PIPELINE)
    kept, _ = put_schedule(kubeflow, weekly(version, kubeflow, is_enabled=False), version)
    assert server.recurring[kept.id]["mode"] == "DISABLE"
    assert put_schedule(kubeflow, weekly(version, kubeflow), version)[1] == "no longer paused"
    assert put_schedule(kubeflow, weekly(version, kubeflow, is_enabled=False), version)[1] == "paused"
    assert list(server.recurring) == [kept.id] and server.recurring[kept.id]["mode"] == "DISABLE"


def test_doing_again_what_was_ended_halfway_leaves_one(
    server: KubeflowServer, kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = kubeflow.ensure_version("distill", PIPELINE)
    put_schedule(kubeflow, weekly(version, kubeflow), version)
    changed = weekly(version, kubeflow, cron="0 0 4 * * *")
    with monkeypatch.context() as ended:
        ended.setattr(Kubeflow, "delete_schedule", lambda *_: None)
        put_schedule(kubeflow, changed, version)
    assert len(server.recurring) == 2
    put_schedule(kubeflow, changed, version)
    (recurring,) = server.recurring.values()
    assert recurring["trigger"]["cron_schedule"]["cron"] == "0 0 4 * * *"


@pytest.mark.parametrize(
    ("forgets", "what"),
    [
        pytest.param({"no_catchup": False}, "no_catchup", id="catch-up"),
        pytest.param({"max_concurrency": "10"}, "max_concurrency", id="concurrency"),
        pytest.param({"mode": "DISABLE", "status": "DISABLED"}, "paused", id="pause"),
    ],
)
def test_what_kubeflow_does_not_keep_is_found_and_the_old_schedule_stays(
    server: KubeflowServer, kubeflow: Kubeflow, forgets: dict[str, Any], what: str
) -> None:
    version = kubeflow.ensure_version("distill", PIPELINE)
    old, _ = put_schedule(kubeflow, weekly(version, kubeflow), version)
    server.forgets = forgets
    with pytest.raises(PolydistillError, match=rf"\({what} differ\); the old one stays"):
        put_schedule(kubeflow, weekly(version, kubeflow, cron="0 0 4 * * *"), version)
    assert list(server.recurring) == [old.id]


def test_a_schedule_of_somebody_else_is_left_alone(server: KubeflowServer, kubeflow: Kubeflow) -> None:
    version = kubeflow.ensure_version("distill", PIPELINE)
    kubeflow.add_schedule(weekly(version, kubeflow, description="by hand"), version)
    with pytest.raises(ParamsError, match="was not made by polydistill"):
        put_schedule(kubeflow, weekly(version, kubeflow), version)
    with pytest.raises(ParamsError, match="was not made by polydistill"):
        remove_schedule(kubeflow, "nightly")
    assert len(server.recurring) == 1


def test_a_schedule_of_another_workspace_is_left_alone(server: KubeflowServer, kubeflow: Kubeflow) -> None:
    version = kubeflow.ensure_version("distill", PIPELINE)
    kept, _ = put_schedule(kubeflow, weekly(version, kubeflow), version)
    shop = connected(server, repository="https://git.example.org/team/shop.git")
    told = rf"nightly \({kept.id}\) is of another workspace .*{ADDRESS}, .* is \S+/shop\.git; take another --name"
    for change in (
        lambda: put_schedule(shop, weekly(version, shop), version),
        lambda: pause_schedule(shop, "nightly"),
        lambda: remove_schedule(shop, "nightly"),
    ):
        with pytest.raises(ParamsError, match=told):
            change()
    with pytest.raises(ParamsError, match=r"cluster\.repository here is not set"):
        remove_schedule(connected(server, repository=None), "nightly")
    assert [recurring["mode"] for recurring in server.recurring.values()] == ["ENABLE"]
    put_schedule(shop, weekly(version, shop, name="of-the-shop"), version)
    assert len(server.recurring) == 2


def test_what_changes_is_told_by_the_section(kubeflow: Kubeflow) -> None:
    version = kubeflow.ensure_version("distill", PIPELINE)
    put_schedule(kubeflow, weekly(version, kubeflow), version)
    again = weekly(version, kubeflow, arguments={**ARGUMENTS, "repository": ADDRESS, "cells": ["demo/az"]})
    assert put_schedule(kubeflow, again, version)[1] == "changed (params.yaml: cells)"
    newer = kubeflow.ensure_version("distill", PIPELINE.replace("a comment", "another"))
    again = replace(again, version_id=newer.version_id)
    assert put_schedule(kubeflow, again, newer)[1] == "changed (pipeline)"


def test_a_schedule_is_paused_by_its_name(server: KubeflowServer, kubeflow: Kubeflow) -> None:
    version = kubeflow.ensure_version("distill", PIPELINE)
    kept, _ = put_schedule(kubeflow, weekly(version, kubeflow), version)
    assert [of.is_enabled for of in pause_schedule(kubeflow, "nightly")] == [False]
    assert server.recurring[kept.id]["mode"] == "DISABLE"
    with pytest.raises(ParamsError, match="no schedule weekly; there are: nightly"):
        pause_schedule(kubeflow, "weekly")


def test_a_schedule_is_removed_and_a_missing_one_is_said(server: KubeflowServer, kubeflow: Kubeflow) -> None:
    version = kubeflow.ensure_version("distill", PIPELINE)
    put_schedule(kubeflow, weekly(version, kubeflow), version)
    with pytest.raises(ParamsError, match="no schedule weekly; there are: nightly"):
        remove_schedule(kubeflow, "weekly")
    remove_schedule(kubeflow, "nightly")
    assert server.recurring == {}


def test_a_schedule_knows_when_it_starts_next(kubeflow: Kubeflow) -> None:
    version = kubeflow.ensure_version("distill", PIPELINE)
    kept, _ = put_schedule(kubeflow, weekly(version, kubeflow), version)
    now = datetime(2026, 11, 26, 12, tzinfo=UTC)
    assert next_start(kept, now) == datetime(2026, 11, 30, 2, tzinfo=UTC)
    in_ljubljana = replace(kept, description="polydistill retrain: 0 2 * * 1 of UTC, read in Europe/Ljubljana")
    assert next_start(in_ljubljana, now) == datetime(2026, 11, 30, 1, tzinfo=UTC)


# Who may ask, and what else can answer.


def test_in_multi_user_mode_everything_is_in_the_namespace(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    with kubeflow_server(token="secret", multi_user=True) as server:
        kubeflow = connected(server, namespace="team", token_file=str(tmp_path / "token"))
        started(kubeflow)
        (pipeline,), (experiment,) = server.pipelines.values(), server.experiments.values()
        assert pipeline["namespace"] == experiment["namespace"] == "team"
        asked = r"is cluster\.namespace \(others\) that of your profile\? See `kubectl auth can-i create .* -n others`$"
        with pytest.raises(ParamsError, match=asked):
            connected(server, namespace="others", token_file=str(tmp_path / "token"))


def test_a_renewed_token_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    with kubeflow_server(token="first") as server:
        kubeflow = connected(server, token_file=str(file))
        server.token = "second"
        file.write_text("second")
        assert kubeflow.runs(1) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(None, "wants a token: name its file in cluster.token_file, and make it: `kubectl -n ", id="none"),
        pytest.param("wrong-secret", "refuses the token in .*token; make a new one: `kubectl", id="wrong"),
    ],
)
def test_a_token_that_is_missing_or_wrong_is_said_but_never_shown(
    tmp_path: Path, given: str | None, message: str
) -> None:
    (tmp_path / "token").write_text(given or "")
    with kubeflow_server(token="secret") as server, pytest.raises(ParamsError, match=message) as failure:
        connected(server, token_file=str(tmp_path / "token") if given else None)
    assert "secret" not in str(failure.value)


def test_a_token_that_the_server_repeats_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("very-secret")
    with kubeflow_server() as server:
        kubeflow = connected(server, token_file=str(tmp_path / "token"))
        server.answer = (500, "application/json", '{"message": "bad header Bearer very-secret"}')
        with pytest.raises(PolydistillError, match=r"bad header Bearer \*\*\*") as failure:
            kubeflow.runs(1)
    assert "very-secret" not in str(failure.value)


def test_no_endpoint_and_no_token_file_are_said_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="no endpoint .*port-forward svc/ml-pipeline-ui 8080:80"):
        Kubeflow(cluster(endpoint=None))
    file = tmp_path / "token"
    with pytest.raises(DataError, match=f"token is missing; make one: `kubectl .*create token .* > {file}`"):
        Kubeflow(cluster(endpoint="http://localhost:1", token_file=str(file)))
    file.write_text(" \n")
    with pytest.raises(DataError, match=f"token is empty; write a token to it: `kubectl .*create token .* > {file}`"):
        Kubeflow(cluster(endpoint="http://localhost:1", token_file=str(file)))


def test_the_token_to_make_is_that_of_the_profile(server: KubeflowServer) -> None:
    server.token = "secret"
    make = r"`kubectl -n team create token default-editor --audience pipelines\.kubeflow\.org --duration 24h > FILE`$"
    with pytest.raises(ParamsError, match=make):
        connected(server, namespace="team")
    with pytest.raises(ParamsError, match="-n team create token runner "):
        connected(server, namespace="team", service_account="runner")
    with pytest.raises(ParamsError, match="-n NAMESPACE .*, and cluster.namespace too, is that of your profile"):
        connected(server)


def test_an_endpoint_with_a_wrong_path_is_said(server: KubeflowServer) -> None:
    with pytest.raises(ParamsError, match=r"/pipelines has no API of Kubeflow Pipelines 2 \(404\); is its path right"):
        Kubeflow(cluster(endpoint=f"{server.url}/pipelines")).check()


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        pytest.param((200, "text/html", "<!doctype html>"), ParamsError, "not as the API of Kubeflow", id="page"),
        pytest.param((200, "text/plain", "ok"), ParamsError, "not as the API of Kubeflow", id="text"),
        pytest.param((200, "application/json", "[]"), ParamsError, "not as the API of Kubeflow", id="list"),
        pytest.param((200, "application/json", "{}"), PolydistillError, "the API .* behind it does not", id="nothing"),
        pytest.param((404, "text/plain", "nothing here"), ParamsError, r"no API .*\(404\)", id="no such path"),
        pytest.param(
            (502, "text/html", "<html>"), PolydistillError, "502: Bad Gateway.*logs deployment/ml-pip", id="502"
        ),
        pytest.param(
            (500, "application/json", '{"error": "db"}'),
            PolydistillError,
            "failed to check its health .500: db",
            id="500",
        ),
        pytest.param((500, "application/xml", "<?xml ?><Error/>"), ParamsError, "or another service", id="storage"),
        pytest.param((403, "text/html", "no"), ParamsError, "may not|nobody without a token", id="403"),
    ],
)
def test_what_else_answers_is_said_in_one_line(
    server: KubeflowServer, answer: tuple[int, str, str], error: type[PolydistillError], message: str
) -> None:
    server.answer = answer
    with pytest.raises(error, match=message) as failure:
        connected(server)
    assert len(str(failure.value).splitlines()) == 1 and failure.value.exit_code == error.exit_code


@pytest.mark.parametrize("pages", [True, False])
def test_one_that_is_too_old_for_the_pods_is_refused_and_one_that_tells_no_version_is_not(pages: bool) -> None:
    with kubeflow_server(pages=pages) as server:
        for tag in ("2.14.4", "2.2.0", "v1.8.5"):
            server.tag = tag
            with pytest.raises(ParamsError, match=rf"is Kubeflow Pipelines {tag}, .* upgrade it to 2\.15 or newer"):
                connected(server)
        for tag in ("2.15.0", "2.16.1-rc.1", "3.0.0", "unknown", "master", ""):
            server.tag = tag
            connected(server)


@pytest.mark.parametrize("call", ["create_pipeline", "upload_version", "create_experiment", "create_run"])
def test_a_run_without_an_id_has_not_started(
    server: KubeflowServer, kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(server, call, lambda **_: {})
    with pytest.raises(ParamsError, match="not as the API of Kubeflow Pipelines"):
        started(kubeflow)


def test_a_schedule_without_an_id_is_none(
    server: KubeflowServer, kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = kubeflow.ensure_version("distill", PIPELINE)
    monkeypatch.setattr(server, "create_recurring", lambda **_: {})
    with pytest.raises(ParamsError, match="not as the API of Kubeflow Pipelines"):
        put_schedule(kubeflow, weekly(version, kubeflow), version)


def test_a_refused_connection_names_the_command_that_forwards_the_port() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(PolydistillError, match=r"cannot be reached: Connection refused.*port-forward") as failure:
        Kubeflow(cluster(endpoint=f"http://127.0.0.1:{port}")).check()
    assert failure.value.exit_code == 1 and len(str(failure.value).splitlines()) == 1


def test_an_unknown_host_is_said() -> None:
    with pytest.raises(PolydistillError, match=r"http://kubeflow\.invalid cannot be reached"):
        Kubeflow(cluster(endpoint="http://kubeflow.invalid")).check()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and its certificate for 127.0.0.1, signed by itself."""
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(file), "-out", f"{file}.crt", "-days", "2"]
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", "req", "-x509", *key, *name], check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


def test_a_certificate_of_an_own_ca_is_refused_until_it_is_named(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with kubeflow_server(certificate=certificate) as server:
        with pytest.raises(ParamsError, match="no TLS with .*certificate verify failed.*SSL_CERT_FILE") as failure:
            connected(server)
        assert len(str(failure.value).splitlines()) == 1
        monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
        connected(server)


def test_tls_with_a_server_that_has_none_is_said(server: KubeflowServer) -> None:
    with pytest.raises(ParamsError, match="no TLS with https.*write http://"):
        Kubeflow(cluster(endpoint=server.url.replace("http:", "https:"))).check()


def test_nothing_is_written_beside_what_is_asked(tmp_path: Path, server: KubeflowServer) -> None:
    code = f"""
from polydistill.cluster.kubeflow import Kubeflow
from polydistill.params import ClusterParams, check
params = check(ClusterParams, {settings()["cluster"] | {"endpoint": server.url}!r}, "test")
kubeflow = Kubeflow(params)
kubeflow.check()
kubeflow.ensure_version("distill", {PIPELINE!r})
kubeflow.ensure_experiment("polydistill")
"""
    environment = os.environ | {"HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
