"""The command `polydistill pipeline`, typed by a person, against a server with Kubeflow's API."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands import run as run_process
from kubeflow_server import KubeflowServer, kubeflow_server
from polydistill import __version__
from polydistill.cli import main
from polydistill.cluster import kubeflow
from polydistill.cluster.arguments import chain_arguments
from polydistill.params import load_params
from repositories import ADDRESS, found_at
from spaces import TASK, build_workspace, write_yaml

Typed = Callable[..., tuple[int, str, str]]

IN_CI = {"user.name": "Jana", "user.email": "jana@example.org", "commit.gpgsign": "false", "init.defaultBranch": "main"}
KINDS = {str: "STRING", list: "LIST", dict: "STRUCT"}
SHOP = "https://git.example.org/team/shop.git"
STORE = "s3://bucket/polydistill"
COMPONENTS = ("prepare", "generate", "train")


@pytest.fixture
def server() -> Iterator[KubeflowServer]:
    with kubeflow_server() as running:
        running.looks = [("SUCCEEDED", {"prepare": "SUCCEEDED"})]
        yield running


@pytest.fixture
def space(tmp_path: Path, server: KubeflowServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace, committed to git, which finds it at the address that params.yaml names; DVC's remote is set."""
    root = tmp_path / "ws"
    found_at(ADDRESS, root, monkeypatch)
    set_params(root, server)
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[core]\nremote = s\n['remote \"s\"']\nurl = s3://bucket/dvc\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "data")
    return root


def set_cells(root: Path, server: KubeflowServer, count: int) -> list[str]:
    """Have a workspace of so many cells, committed; return their names."""
    languages = [f"q{a}{b}" for a, b in product("abcdefghijk", repeat=2)][:count]  # codes for private use
    cells = [f"demo/{language}" for language in languages]
    set_params(root, server, cells=cells)
    write_yaml(root / "data/demo/task.yaml", TASK | {"languages": languages})
    for cell in cells:
        shutil.copytree(root / "data/demo/sl", root / "data" / cell, dirs_exist_ok=True)
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", f"{count} cells")
    return cells


def set_params(root: Path, server: KubeflowServer, **changes: Any) -> None:
    told = {"cluster__endpoint": server.url, "cluster__repository": ADDRESS, "cluster__store": STORE, **changes}
    build_workspace(root, **told)


def git(folder: Path, *arguments: str) -> None:
    settings = [part for key, value in IN_CI.items() for part in ("-c", f"{key}={value}")]
    subprocess.run(["git", *settings, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def pipelines(tmp_path: Path, space: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small pipelines that take the arguments of the real ones, where an installed library has those."""
    arguments = chain_arguments(load_params(space / "params.yaml"), "repository", "main")
    folder = tmp_path / "library" / "_pipelines"
    folder.mkdir(parents=True)
    for name in ("distill", "retrain"):
        tasks = {step: {"componentRef": {"name": f"comp-{step}"}} for step in COMPONENTS}
        wanted = {key: {"parameterType": KINDS[type(value)]} for key, value in arguments.items()}
        pipeline = {
            "pipelineInfo": {"name": name},
            "components": {f"comp-{step}": {"executorLabel": f"exec-{step}"} for step in COMPONENTS},
            "deploymentSpec": {"executors": {f"exec-{step}": {"container": {}} for step in COMPONENTS}},
            "root": {"dag": {"tasks": tasks}, "inputDefinitions": {"parameters": wanted}},
        }
        (folder / f"{name}.yaml").write_text(f"# PIPELINE DEFINITION\n{yaml.safe_dump(pipeline)}")
    monkeypatch.setattr(kubeflow, "LIBRARY", folder.parent)
    return folder


@pytest.fixture
def typed(
    space: Path, pipelines: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Typed]:
    """Run `polydistill pipeline ...` in the workspace: exit code, stdout, stderr."""

    def type_it(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["polydistill", "pipeline", *arguments])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as exc:
            code = int(exc.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    monkeypatch.chdir(space)
    before = signal.getsignal(signal.SIGTERM)
    yield type_it
    signal.signal(signal.SIGTERM, before)


# compile


def test_compile_writes_the_pipeline_with_the_placement_of_the_workspace(
    typed: Typed, space: Path, server: KubeflowServer
) -> None:
    set_params(space, server, cluster__registry="registry.example.org/team")
    code, _, _ = typed("compile", "distill", "-o", "mine.yaml")
    pipeline, platforms = yaml.safe_load_all((space / "mine.yaml").read_text("utf-8"))
    image = pipeline["deploymentSpec"]["executors"]["exec-prepare"]["container"]["image"]
    assert code == 0 and image == f"registry.example.org/team/polydistill:{__version__}"
    assert "exec-prepare" in platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def test_compile_needs_no_kubeflow_and_writes_below_work(typed: Typed, space: Path, server: KubeflowServer) -> None:
    set_params(space, server, cluster__endpoint=None)
    assert typed("compile", "retrain")[:2] == (0, "retrain\twork/pipelines/retrain.yaml\n")
    assert (space / "work/pipelines/retrain.yaml").exists() and server.requests == []


def test_one_file_is_for_one_pipeline(typed: Typed) -> None:
    assert typed("compile", "-o", "mine.yaml") == (2, "", "error: -o takes one pipeline; name it\n")


# submit


def test_submit_uploads_starts_and_says_where_to_look(typed: Typed, server: KubeflowServer) -> None:
    code, out, _ = typed("submit", "distill")
    (id,), (version,) = server.runs, server.versions.values()
    assert code == 0
    assert re.fullmatch(rf"{__version__}-[0-9a-f]{{12}}", version["display_name"])
    pipeline, run, page = out.splitlines()
    assert pipeline == f"pipeline distill, version {version['display_name']} (new)"
    assert run == f"run {id}" and page.startswith(f"page http://localhost:8080/#/runs/details/{id} ")
    parameters = server.runs[id]["runtime_config"]["parameters"]
    assert parameters["cells"] == ["demo/sl"] and parameters["revision"] == "main"


def test_the_same_pipeline_is_uploaded_once_and_a_changed_placement_is_a_version(
    typed: Typed, space: Path, server: KubeflowServer
) -> None:
    typed("submit", "distill")
    assert "(new)" not in typed("submit", "distill")[1]
    set_params(space, server, cluster__tag="mine")
    assert "(new)" in typed("submit", "distill")[1]
    assert (len(server.pipelines), len(server.versions), len(server.runs)) == (1, 2, 3)


def test_options_override_params_yaml(typed: Typed, space: Path, server: KubeflowServer) -> None:
    set_params(space, server, cluster__endpoint=None)
    git(space, "branch", "texts")
    code, _, _ = typed("submit", "distill", "--endpoint", server.url, "--revision", "texts", "--experiment", "trial")
    (run,), (experiment,) = server.runs.values(), server.experiments.values()
    assert code == 0 and experiment["display_name"] == "trial"
    assert run["runtime_config"]["parameters"]["revision"] == "texts"


def test_wait_follows_the_run_to_its_end(typed: Typed) -> None:
    code, out, _ = typed("submit", "distill", "--wait")
    assert code == 0 and out.splitlines()[-1].startswith("succeeded after ")


def test_wait_fails_with_the_run_and_names_the_step(typed: Typed, server: KubeflowServer) -> None:
    server.looks = [("FAILED", {"prepare": "SUCCEEDED", "train": "FAILED"})]
    code, _, err = typed("submit", "distill", "--wait")
    assert code == 1
    assert re.search(r"error: run \S+ failed in train; its log: kubectl -n kubeflow get pods -l pipeline/runid=", err)


def test_interrupting_the_wait_says_that_the_run_goes_on(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(kubeflow.Kubeflow, "run", interrupted)
    code, _, err = typed("submit", "distill", "--wait")
    assert code == 130 and re.search(r"the run goes on: `polydistill pipeline status \S+`", err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--cell", "demo/xx"], "cell demo/xx is not in params.yaml:cells, which holds demo/sl", id="cell"),
        pytest.param(["--revision", "nosuch"], "revision nosuch is not in .*, which has main", id="revision"),
        pytest.param(["--endpoint", "localhost:8080"], "cluster: endpoint: .* is not allowed", id="endpoint"),
        pytest.param(["--namespace", "No_Name"], "cluster: namespace: 'No_Name' is not allowed", id="namespace"),
        pytest.param(["--token-file", "nosuch"], "nosuch is missing", id="token file"),
        pytest.param(["--experiment", ""], "--experiment is empty; give a name", id="experiment"),
        pytest.param(["--question", "seeds"], "the other pipelines take neither", id="question"),
    ],
)
def test_a_wrong_option_is_refused_and_nothing_is_sent(
    typed: Typed, server: KubeflowServer, arguments: list[str], message: str
) -> None:
    code, out, err = typed("submit", "distill", *arguments)
    assert (code, out) == (2, "") and re.search(f"^error: .*{message}", err, re.MULTILINE)
    assert "Traceback" not in err and server.requests == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"train__runs": "many"}, "train.runs: 'many' is not allowed", id="type"),
        pytest.param({"cluster__endpoint": None}, "no endpoint of Kubeflow Pipelines is set", id="no endpoint"),
        pytest.param({"cluster__repository": None}, "cluster.repository is not set", id="no repository"),
        pytest.param({"cells": ["demo/sl", "demo/az"]}, "cell demo/az has no data .* there are demo/sl", id="no data"),
        pytest.param(
            {"train__students": ["linear", "encoder"], "cluster__size": "cpu"},
            "train.students has encoder, .*size: cpu gives `train` no GPU",
            id="no GPU",
        ),
        pytest.param(
            {"teacher__kind": "openai", "teacher__url": "http://localhost:8000/v1"},
            "teacher.url: http://localhost:8000/v1 is this machine",
            id="teacher here",
        ),
    ],
)
def test_wrong_settings_are_refused_and_nothing_is_sent(
    typed: Typed, space: Path, server: KubeflowServer, changes: dict[str, Any], message: str
) -> None:
    set_params(space, server, **changes)
    code, out, err = typed("submit", "distill")
    assert (code, out) == (2, "") and re.search(f"^error: .*{message}", err, re.MULTILINE)
    assert server.requests == []


def test_all_that_is_wrong_is_told_at_once(typed: Typed, space: Path, server: KubeflowServer) -> None:
    set_params(space, server, cluster__endpoint=None, measure__embedding_model="a/b")
    code, _, err = typed("schedule", "distill", "--cron", "0 3 * *", "--experiment", "")
    assert code == 2 and len(err.splitlines()) == 4
    for fault in ("--experiment is empty", "five fields", "no endpoint", "measure.embedding_model"):
        assert fault in err


def test_a_retraining_by_the_clock_wants_a_store(typed: Typed, space: Path, server: KubeflowServer) -> None:
    set_params(space, server, cluster__store=None)
    assert typed("submit", "retrain")[0] == 0
    code, _, err = typed(*WEEKLY)
    assert code == 2 and "without cluster.store nothing is promoted" in err


def test_more_cells_than_kubeflow_can_take_are_refused(typed: Typed, space: Path, server: KubeflowServer) -> None:
    cells = set_cells(space, server, 101)
    told = "has 101 cells, and Kubeflow can take 100 in one run; name some with --cell, and"
    of_submit = f"error: distill {told} start a run for the others\n"
    of_schedule = f"error: retrain {told} the others in further schedules, each with its own --name\n"
    assert typed("submit", "distill") == (2, "", of_submit)
    assert typed(*WEEKLY) == (2, "", of_schedule)
    assert server.requests == []
    first = [part for cell in cells[:100] for part in ("--cell", cell)]
    assert typed("submit", "distill", *first)[0] == 0
    assert typed(*WEEKLY, "--name", "first", *first)[0] == 0
    assert typed(*WEEKLY, "--name", "second", "--cell", cells[100])[0] == 0
    assert len(server.recurring) == 2


@pytest.fixture
def ablate(pipelines: Path) -> None:
    content = yaml.safe_load((pipelines / "distill.yaml").read_text())
    content["root"]["inputDefinitions"]["parameters"] = {
        **dict.fromkeys(("repository", "revision"), {"parameterType": "STRING"}),
        **dict.fromkeys(("cells", "runs"), {"parameterType": "LIST"}),
        "cluster": {"parameterType": "STRUCT"},
    }
    (pipelines / "ablate.yaml").write_text(yaml.safe_dump(content))


@pytest.mark.usefixtures("ablate")
def test_an_ablation_says_how_much_it_is(typed: Typed, server: KubeflowServer) -> None:
    code, out, _ = typed("submit", "ablate", "--question", "seeds")
    # 4 variants of 1 cell with 1 student, 2 sources, 2 sizes and 2 runs.
    size = "ablate seeds: 4 variants in 1 cell, 4 chains of steps with at most 32 trainings"
    assert code == 0 and out.splitlines()[0] == size
    (run,) = server.runs.values()
    assert len(run["runtime_config"]["parameters"]["runs"]) == 4


@pytest.mark.usefixtures("ablate")
def test_the_cells_of_an_ablation_count_for_each_variant(typed: Typed, space: Path, server: KubeflowServer) -> None:
    set_cells(space, server, 26)
    code, out, err = typed("submit", "ablate", "--question", "seeds")  # 4 variants
    assert (code, out) == (2, "") and "ablate has 104 cells, counted for each variant, and Kubeflow can take 100" in err
    assert "name some cells with --cell, or compare fewer variants" in err and server.requests == []


@pytest.mark.usefixtures("ablate")
def test_the_variants_of_an_ablation_are_checked_and_placed(typed: Typed, space: Path, server: KubeflowServer) -> None:
    vary = ("submit", "ablate", "--question", "kinds", "--vary", "train.students=[linear],[encoder]")
    assert typed(*vary)[0] == 0
    (version,) = server.versions.values()
    executors = version["pipeline_spec"]["pipeline_spec"]["deploymentSpec"]["executors"]
    assert executors["exec-train"]["container"]["image"].startswith("polydistill-train:")
    set_params(space, server, cluster__size="cpu")
    code, _, err = typed(*vary)
    assert code == 2 and "train.students has encoder, which a CPU trains for days" in err


def test_what_a_pipeline_does_not_take_is_refused(typed: Typed, pipelines: Path, server: KubeflowServer) -> None:
    file = pipelines / "distill.yaml"
    file.write_text(
        file.read_text().replace("cells:\n        parameterType: LIST", "cells:\n        parameterType: STRING")
    )
    code, _, err = typed("submit", "distill")
    assert code == 2 and "parameter `cells` must be of type STRING, and is list" in err
    assert server.requests == []


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        pytest.param((401, "application/json", '{"message": "no"}'), 2, "wants a token", id="401"),
        pytest.param((200, "text/html", "<html>"), 2, "not as the API of Kubeflow", id="proxy"),
        pytest.param((503, "text/plain", "down"), 1, "503", id="503"),
    ],
)
def test_an_error_of_the_server_is_one_line(
    typed: Typed, server: KubeflowServer, answer: tuple[int, str, str], code: int, message: str
) -> None:
    server.answer = answer
    got, _, err = typed("submit", "distill")
    assert got == code and len(err.splitlines()) == 1 and err.startswith("error: ") and message in err


# schedule

WEEKLY = ("schedule", "retrain", "--cron", "0 3 * * 1", "--time-zone", "Europe/Ljubljana")


def test_a_schedule_is_told_in_both_zones(typed: Typed, server: KubeflowServer) -> None:
    code, out, err = typed(*WEEKLY)
    (recurring,) = server.recurring.values()
    first, frozen, second, *times = out.splitlines()
    assert frozen == "it starts params.yaml as it is now; after a change of it give this command again"
    assert code == 0 and first == f"schedule polydistill-retrain ({recurring['recurring_run_id']}): created, active"
    cron = recurring["trigger"]["cron_schedule"]["cron"]
    assert second == f"`0 3 * * 1` of Europe/Ljubljana; Kubeflow has `{cron}` and reads it in UTC"
    assert cron in ("0 0 1 * * 1", "0 0 2 * * 1")  # by the season
    assert len(times) == 3
    hour = cron.split()[2]
    told = rf"next Mon (\d{{4}}-\d\d-\d\d) 03:00 Europe/Ljubljana = Mon \1 0{hour}:00 UTC"
    assert re.fullmatch(told, times[0])
    assert "not at 03:00" in err and "CRON_SCHEDULE_TIMEZONE=Europe/Ljubljana" in err


def test_kubeflow_that_reads_in_the_zone_gets_the_line_as_it_is(typed: Typed, server: KubeflowServer) -> None:
    code, out, err = typed(*WEEKLY, "--server-time-zone", "Europe/Ljubljana")
    assert code == 0 and "Kubeflow has `0 0 3 * * 1` and reads it in Europe/Ljubljana" in out
    assert "warning" not in err


def test_without_a_zone_it_is_utc_and_says_so(typed: Typed) -> None:
    _, out, err = typed("schedule", "retrain", "--cron", "0 3 * * 1")
    assert "`0 3 * * 1` of UTC; Kubeflow has `0 0 3 * * 1` and reads it in UTC" in out
    assert re.search(r"^next Mon \S+ 03:00 UTC$", out, re.MULTILINE) and "warning" not in err


def test_the_same_command_again_leaves_one_schedule_and_another_replaces_it(
    typed: Typed, server: KubeflowServer
) -> None:
    typed(*WEEKLY)
    assert ": unchanged, active" in typed(*WEEKLY)[1]
    assert ": paused, paused" in typed(*WEEKLY, "--paused")[1]
    assert ": changed (cron), active" in typed("schedule", "retrain", "--cron", "30 4 * * *")[1]
    (recurring,) = server.recurring.values()
    assert recurring["trigger"]["cron_schedule"]["cron"] == "0 30 4 * * *"
    assert (recurring["no_catchup"], recurring["max_concurrency"]) == (True, "1")


def test_the_schedule_of_another_workspace_is_left_alone(
    typed: Typed, space: Path, server: KubeflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(*WEEKLY)
    before = (list(server.recurring), list(server.versions))
    (recurring,) = server.recurring.values()
    set_params(space, server, cluster__repository=found_at(SHOP, space, monkeypatch), cluster__tag="of-the-shop")
    for arguments in (WEEKLY, ("schedule", "retrain", "--paused"), ("schedule", "retrain", "--remove")):
        code, out, err = typed(*arguments)
        assert (code, out) == (2, "") and f"its repository is {ADDRESS}" in err and "--name" in err
    assert (list(server.recurring), list(server.versions)) == before and recurring["mode"] == "ENABLE"
    assert ": created, active" in typed(*WEEKLY, "--name", "shop")[1]
    assert len(server.recurring) == 2


def test_changed_settings_reach_the_schedule(typed: Typed, space: Path, server: KubeflowServer) -> None:
    typed(*WEEKLY)
    set_params(space, server, generate__temperature=0.5)
    assert ": changed (params.yaml: generate), active" in typed(*WEEKLY)[1]
    (recurring,) = server.recurring.values()
    assert recurring["runtime_config"]["parameters"]["generate"]["temperature"] == 0.5


def test_a_schedule_is_paused_without_its_cron_line(typed: Typed, server: KubeflowServer) -> None:
    typed(*WEEKLY)
    (recurring,) = server.recurring.values()
    told = f"schedule polydistill-retrain ({recurring['recurring_run_id']}): paused\n"
    assert typed("schedule", "retrain", "--paused")[:2] == (0, told)
    assert recurring["mode"] == "DISABLE"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        pytest.param("*/5 * * * *", "on its days it starts 288 times", id="all the time"),
        pytest.param("* 3 * * 1", "on its days it starts 60 times", id="a star for the minute"),
        pytest.param("*/20 9-17 * * *", "on its days it starts 27 times", id="in office hours"),
        pytest.param("0 * * * *", None, id="hourly"),
        pytest.param("0,30 3 * * 1", None, id="two close together, once a week"),
        pytest.param("0,30 3 1 1 *", None, id="two close together, once a year"),
    ],
)
def test_a_schedule_whose_runs_follow_each_other_is_a_warning(typed: Typed, line: str, told: str | None) -> None:
    code, _, err = typed("schedule", "retrain", "--cron", line)
    assert code == 0 and (told in err if told else err == "")


def test_a_schedule_is_removed_by_its_name(typed: Typed, server: KubeflowServer) -> None:
    typed(*WEEKLY, "--name", "weekly")
    assert typed("schedule", "retrain", "--remove")[0] == 2
    assert typed("schedule", "retrain", "--remove", "--name", "weekly")[:2] == (0, "removed schedule weekly\n")
    assert server.recurring == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "give --cron", id="neither"),
        pytest.param(["--paused", "--remove"], "give --cron", id="pause and remove"),
        pytest.param(["--cron", "0 3 * * 1", "--name", ""], "--name is empty", id="no name"),
        pytest.param(["--cron", "0 3 * * 1", "--remove"], "give --cron", id="both"),
        pytest.param(["--cron", "0 3 * *"], "wanted five fields", id="cron"),
        pytest.param(["--cron", "0 3 * * 1", "--time-zone", "CEST+1"], "`CEST\\+1` is no time zone", id="zone"),
        pytest.param(
            ["--cron", "0 0 1 * *", "--time-zone", "Europe/Ljubljana"], "cannot be written for UTC", id="other day"
        ),
    ],
)
def test_a_wrong_schedule_is_refused_and_nothing_is_sent(
    typed: Typed, server: KubeflowServer, arguments: list[str], message: str
) -> None:
    code, _, err = typed("schedule", "retrain", *arguments)
    assert code == 2 and re.search(message, err) and server.requests == []


# status


def test_status_lists_runs_and_schedules(typed: Typed, server: KubeflowServer) -> None:
    assert typed("status") == (0, "no runs, and no schedules\n", "")
    typed("submit", "distill")
    typed(*WEEKLY)
    typed("schedule", "distill", "--cron", "0 0 * * *", "--paused")
    code, out, _ = typed("status")
    (id,) = server.runs
    of_runs, run, of_schedules, weekly, paused = (line.split("\t") for line in out.splitlines())
    assert code == 0 and run[:2] == [id, "pending"] and run[3].startswith("distill 20")
    assert of_runs == ["run", "state", "took", "name", "error"]
    assert of_schedules == ["schedule", "state", "next", "cron", "name"]
    assert weekly[1] == "active" and re.match(r"Mon \S+ 03:00 Europe/Ljubljana = ", weekly[2])
    assert weekly[3:] == ["`0 3 * * 1` of Europe/Ljubljana", "polydistill-retrain"]
    assert paused[1:] == ["paused", "", "`0 0 * * *` of UTC", "polydistill-distill"]


def test_status_shows_the_steps_of_a_run_and_why_it_failed(typed: Typed, server: KubeflowServer) -> None:
    typed("submit", "distill")
    (id,) = server.runs
    server.looks = [("FAILED", {"prepare": "SUCCEEDED", "train": "FAILED", "train#2": "SUCCEEDED"})]
    code, out, _ = typed("status", id[:8])
    of_run, told, of_steps, prepare, train, why, page = out.splitlines()
    assert code == 0 and told.startswith(f"{id}\tfailed\t")
    assert (of_run, of_steps) == ("run\tstate\ttook\tname", "step\tstate\ttook")
    assert prepare.startswith("prepare\tsucceeded\t")
    assert train.startswith("train\t1 failed, 1 succeeded\t")
    assert "failed in train; its log: kubectl" in why and page.startswith("page http")


def test_the_page_of_a_run_is_told_once(typed: Typed, server: KubeflowServer) -> None:
    typed("submit", "distill")
    (id,) = server.runs
    server.looks = [("FAILED", {})]
    assert typed("status", id)[1].count("/#/runs/details/") == 1


@pytest.mark.parametrize(
    ("state", "tasks", "is_told"),
    [
        pytest.param("SUCCEEDED", {}, True, id="ended"),
        pytest.param("RUNNING", {}, False, id="not begun"),
        pytest.param("SUCCEEDED", {"prepare": "SUCCEEDED"}, False, id="steps"),
    ],
)
def test_a_run_that_ended_without_any_step_is_said(
    typed: Typed, server: KubeflowServer, state: str, tasks: dict[str, str], is_told: bool
) -> None:
    typed("submit", "distill")
    (id,) = server.runs
    server.looks = [(state, tasks)]
    assert ("Kubeflow names no step of this run; its page may\n" in typed("status", id)[1]) == is_told


def test_an_unknown_run_is_said(typed: Typed) -> None:
    code, _, err = typed("status", "nosuch")
    assert code == 2 and "has no run nosuch; `polydistill pipeline status` lists the last ones" in err


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["status"], id="status"),
        pytest.param(["schedule", "retrain", "--paused"], id="pause"),
        pytest.param(["schedule", "retrain", "--remove"], id="remove"),
    ],
)
def test_what_needs_the_section_cluster_alone_works_beside_a_wrong_one(
    typed: Typed, space: Path, server: KubeflowServer, arguments: list[str]
) -> None:
    typed(*WEEKLY)
    set_params(space, server, train__runs="many")
    assert typed("submit", "distill")[0] == 2
    assert typed(*arguments)[0] == 0


# All of them


def test_quietly_only_the_id_is_printed(typed: Typed, server: KubeflowServer) -> None:
    code, out, err = typed("submit", "distill", "-q", "--wait")
    assert (code, out, err) == (0, f"{next(iter(server.runs))}\n", "")
    code, out, err = typed("schedule", "distill", "--cron", "0 3 * * 1", "-q")
    assert (code, out, err) == (0, f"{next(iter(server.recurring))}\n", "")


def test_outside_of_a_workspace_it_says_so(typed: Typed, tmp_path: Path) -> None:
    code, _, err = typed("status", "-C", str(tmp_path / "nosuch"))
    assert code == 2 and "nosuch/params.yaml is missing; run this in a workspace" in err


def test_a_workspace_without_the_section_is_told_what_is_missing(typed: Typed, space: Path) -> None:
    content = yaml.safe_load((space / "params.yaml").read_text("utf-8"))
    del content["cluster"]
    (space / "params.yaml").write_text(yaml.safe_dump(content))
    for arguments in (("compile", "distill"), ("submit", "distill"), ("status",)):
        code, _, err = typed(*arguments)
        assert code == 2 and "params.yaml has no section `cluster`" in err


def test_what_is_not_installed_is_named_with_its_extra(space: Path) -> None:
    code = "import sys; sys.modules['kfp_server_api'] = None\nfrom polydistill.cli import main; main()"
    got, err = run_process(space, "pipeline", "status", code=code)
    assert got == 2 and "pip install 'polydistill[cluster]'" in err
