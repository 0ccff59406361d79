import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from polydistill.cli import cli
from polydistill.errors import DataError, ParamsError, PolydistillError
from polydistill.params import ACROSS_CELLS, Params, check, load_params
from polydistill.prepare import run_prepare
from polydistill.task import load_task
from polydistill.workspace import Cell, Workspace, new_workspace, render_workspace
from spaces import REPOSITORY, build_workspace

STEPS = ["prepare", "generate", "filter", "measure", "train", "evaluate", "select", "package", "serve", "monitor"]


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither git nor dvc can be found."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")


def test_the_root_of_the_repository_is_the_workspace_of_the_demo() -> None:
    cells = ["clinic/sl", "clinic/sw", "clinic/az"]
    params = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    stages = (REPOSITORY / "dvc.yaml").read_text(encoding="utf-8")
    assert params == render_workspace("params.yaml", cells=cells, preset="demo")
    assert stages == render_workspace("dvc.yaml", recorded=True)
    assert (REPOSITORY / ".dvc/plots/curves.json").read_text(encoding="utf-8") == render_workspace("curves.json")


@pytest.mark.parametrize("preset", ["own", "demo", "paper"])
def test_every_preset_is_a_good_set_of_parameters(preset: str) -> None:
    content = yaml.safe_load(render_workspace("params.yaml", cells=["a/sl", "a/no"], preset=preset, zero_shot=False))
    params = check(Params, content, preset)
    assert (params.cells, params.evaluate.zero_shot) == (["a/sl", "a/no"], False)


@pytest.mark.parametrize("recorded", [True, False])
def test_stages_commands_and_parameters_have_the_same_names(recorded: bool) -> None:
    stages = yaml.safe_load(render_workspace("dvc.yaml", recorded=recorded))["stages"]
    assert [name for name in stages if name in STEPS] == STEPS
    for name, stage in stages.items():
        assert stage["cmd"].split()[:2] == ["polydistill", name]
        assert name in cli.commands
        for key in stage.get("params", []):
            section: Any = Params
            for part in key.replace("${item.student}", "linear").split("."):
                section = section.model_fields[part].annotation
    reads = {name for name, stage in stages.items() if "data/${item.cell}/recording.jsonl" in stage.get("deps", [])}
    assert reads == ({"generate", "evaluate"} if recorded else set())


@pytest.mark.parametrize("recorded", [True, False])
def test_replies_that_were_paid_for_outlive_a_change_of_settings(recorded: bool) -> None:
    stages = yaml.safe_load(render_workspace("dvc.yaml", recorded=recorded))["stages"]
    journals = {
        name: path
        for name in ("generate", "evaluate")
        for out in stages[name]["outs"]
        if isinstance(out, dict)
        for path, how in out.items()
        if how == {"persist": True, "cache": False}
    }
    assert journals == {
        "generate": "work/${item.cell}/generated/journal",
        "evaluate": "work/${item.cell}/evaluated/journal",
    }
    # The filter's settings say what a usable text is; what a run may cost changes no text.
    assert stages["generate"]["params"] == ["filter", "generate", "teacher"]


@pytest.mark.parametrize(
    ("preset", "kind", "top_up", "self_revision"),
    [("own", "openai", 0.5, True), ("demo", "recorded", 0.2, True), ("paper", "recorded", 0, False)],
)
def test_each_preset_asks_the_teacher_that_it_has(preset: str, kind: str, top_up: float, self_revision: bool) -> None:
    content = yaml.safe_load(render_workspace("params.yaml", cells=["a/sl"], preset=preset))
    params = check(Params, content, preset)
    assert (params.teacher.kind, params.generate.strategy) == (kind, "plain")
    assert (params.generate.top_up, params.generate.self_revision) == (top_up, self_revision)
    limits = params.budget
    assert (limits.requests, limits.tokens, limits.cost) == (None, None, None)


def test_no_stage_but_evaluate_reads_the_labelled_test_set() -> None:
    stages = yaml.safe_load(render_workspace("dvc.yaml", recorded=True))["stages"]
    reads = [name for name, stage in stages.items() if any("heldout" in dep for dep in stage.get("deps", []))]
    assert reads == ["evaluate"]


def test_a_new_workspace_can_be_filled_in_and_run(tmp_path: Path) -> None:
    new_workspace(tmp_path / "ws", "shop", ["sl", "no", "pt-BR", "sl"])
    workspace = Workspace.open(tmp_path / "ws")
    assert [cell.name for cell in workspace.cells()] == ["shop/sl", "shop/no", "shop/pt-BR"]
    assert workspace.params.teacher.kind == "openai"
    assert load_task(tmp_path / "ws" / "data" / "shop" / "task.yaml").languages == ["sl", "no", "pt-BR"]
    cell = workspace.cells(["shop/no"])[0]
    with pytest.raises(DataError, match=r"seeds\.csv:1: no text below the header line"):
        run_prepare(cell.task_folder, "no", cell.room("prepared"), cell.room("heldout"), workspace.params.prepare)
    listed = run_in(tmp_path / "ws", "dvc", "stage", "list", "--name-only").split()
    assert [name for name in listed if name.startswith("prepare")] == [
        "prepare@shop/sl",
        "prepare@shop/no",
        "prepare@shop/pt-BR",
    ]
    assert run_in(tmp_path / "ws", "git", "rev-parse", "--show-toplevel").strip() == str(tmp_path / "ws")
    assert run_in(tmp_path / "ws", "dvc", "config", "core.analytics").strip() == "false"
    assert run_in(tmp_path / "ws", "git", "check-ignore", "work/x").strip() == "work/x"
    assert workspace.params.cluster is not None
    branch = run_in(tmp_path / "ws", "git", "symbolic-ref", "--short", "HEAD").strip()
    assert branch == workspace.params.cluster.revision == "main"


def run_in(folder: Path, *command: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "true"}
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout


def test_within_a_git_repository_there_is_no_second_one(tmp_path: Path) -> None:
    run_in(tmp_path, "git", "init", "--quiet")
    new_workspace(tmp_path / "deep" / "ws", "shop", ["sl"])
    assert not (tmp_path / "deep" / "ws" / ".git").exists()
    assert (tmp_path / "deep" / "ws" / ".dvc" / "config").exists()
    assert (tmp_path / "deep" / "ws" / ".dvc" / "plots" / "curves.json").exists()


@pytest.mark.usefixtures("no_programs")
def test_without_git_and_dvc_the_files_are_there_and_what_to_do_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    new_workspace(tmp_path, "shop", ["sl"])
    assert load_params(tmp_path / "params.yaml").cells == ["shop/sl"]
    assert [message.partition(";")[0] for message in caplog.messages] == [
        "git is not installed",
        "dvc is not installed",
    ]


@pytest.mark.parametrize("there", ["params.yaml", "dvc.yaml", "data/shop/sl/seeds.csv"])
def test_nothing_is_overwritten(tmp_path: Path, there: str) -> None:
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).write_text("mine")
    with pytest.raises(DataError, match=f"already holds {there}; choose another folder"):
        new_workspace(tmp_path, "shop", ["sl"])
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [tmp_path / there]
    assert (tmp_path / there).read_text() == "mine"


@pytest.mark.parametrize(
    ("task", "languages", "message"),
    [
        pytest.param("My Task", ["sl"], "task `My Task`: a name is of small letters", id="task name"),
        pytest.param("_x", ["sl"], "task `_x`: a name is of small letters, digits, - and _, begins with a", id="start"),
        pytest.param("../up", ["sl"], "task `../up`", id="path"),
        pytest.param("shop\n", ["sl"], "task `shop", id="line break"),
        pytest.param("winners", ["sl"], "is none of winners, cards", id="name of ours"),
        pytest.param("shop", ["Slovenian"], "language `Slovenian` is no BCP 47 tag", id="no tag"),
        pytest.param("shop", ["sl", "pt_BR", "qzq"], "language `qzq` is no BCP 47 tag", id="all said"),
    ],
)
def test_names_that_cannot_be_used_are_refused(tmp_path: Path, task: str, languages: list[str], message: str) -> None:
    with pytest.raises(ParamsError) as error:
        new_workspace(tmp_path / "ws", task, languages)
    assert message in str(error.value)
    assert not (tmp_path / "ws").exists()


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "ws").write_text("mine")
    with pytest.raises(PolydistillError, match=r"cannot write .*params\.yaml"):
        new_workspace(tmp_path / "ws", "shop", ["sl"])


def test_cells_have_their_rooms(tmp_path: Path) -> None:
    cell = Cell(tmp_path, "shop", "pt-BR")
    assert cell.name == "shop/pt-BR"
    assert cell.recording == tmp_path / "data" / "shop" / "pt-BR" / "recording.jsonl"
    assert cell.room("prepared") == tmp_path / "work" / "shop" / "pt-BR" / "prepared"
    assert cell.trained("linear") == tmp_path / "work" / "shop" / "pt-BR" / "trained" / "linear"
    assert cell.gathered("winners") == tmp_path / "work" / "winners" / "shop" / "pt-BR"


def test_tasks_are_those_of_the_cells(tmp_path: Path) -> None:
    params = load_params(build_workspace(tmp_path) / "params.yaml")
    workspace = Workspace(tmp_path, params.model_copy(update={"cells": ["demo/sl", "shop/sl", "demo/az"]}))
    assert [task.name for task in workspace.tasks()] == ["demo", "shop"]
    (shop,) = workspace.tasks(["shop"])
    assert shop.file == tmp_path / "data" / "shop" / "task.yaml"
    assert shop.facets_journal == tmp_path / "work" / "shop" / "facets.jsonl"
    with pytest.raises(ParamsError, match=r"no cell of params\.yaml:cells is of the task mail; there are demo, shop"):
        workspace.tasks(["mail"])


def test_a_cell_that_is_not_listed_is_said(tmp_path: Path) -> None:
    workspace = Workspace.open(build_workspace(tmp_path, cells=["demo/sl", "demo/az"]))
    assert [cell.name for cell in workspace.cells(["demo/az"])] == ["demo/az"]
    with pytest.raises(ParamsError, match=r"cell demo/sw is not in params\.yaml:cells, which holds demo/sl, demo/az"):
        workspace.cells(["demo/sw"])


def test_no_task_can_take_a_folder_of_all_cells() -> None:
    stages = yaml.safe_load(render_workspace("dvc.yaml", recorded=True))["stages"]
    paths = [path if isinstance(path, str) else next(iter(path)) for stage in stages.values() for path in stage["outs"]]
    across = {path.split("/")[1] for path in paths if not path.startswith("work/${item.cell}")}
    assert across | {"monitored-traffic", "ablations", "pipelines"} == set(ACROSS_CELLS)


def test_a_gitignore_that_is_there_is_kept_and_extended(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.log", encoding="utf-8")
    new_workspace(tmp_path, "mail", ["sl"])
    assert (tmp_path / ".gitignore").read_text(encoding="utf-8") == "*.log\n/work/\n"


def test_a_cell_that_was_taken_out_is_gathered_no_more(tmp_path: Path) -> None:
    for cell in ("demo/sl", "demo/az"):
        folder = tmp_path / "work/winners" / cell
        folder.mkdir(parents=True)
        task, language = cell.split("/")
        (folder / "winner.json").write_text(f'{{"task": "{task}", "language": "{language}"}}', encoding="utf-8")
    params = load_params(build_workspace(tmp_path / "space") / "params.yaml")
    both = Workspace(tmp_path, params.model_copy(update={"cells": ["demo/sl", "demo/az"]}))
    one = Workspace(tmp_path, params.model_copy(update={"cells": ["demo/sl"]}))
    for workspace, wanted in ((both, ["az", "sl"]), (one, ["sl"])):
        with workspace.gathered("winners") as winners:
            assert sorted(path.name for path in (winners / "demo").iterdir()) == wanted
    missing = Workspace(tmp_path, params.model_copy(update={"cells": ["demo/sw"]}))
    with pytest.raises(DataError, match="run `polydistill select` first"), missing.gathered("winners"):
        pass
