"""Two strategies side by side, as docs/teachers.md tells, with DVC's experiments."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chat_server import chat_server
from polydistill.files import read_json
from polydistill.workspace import render_workspace, write_workspace
from spaces import FACETS, TASK, build_workspace, write_yaml

CELL = "work/demo/sl"


@pytest.mark.slow
def test_two_strategies_stand_side_by_side(tmp_path: Path) -> None:
    with chat_server() as server:
        build_workspace(
            tmp_path, teacher__kind="openai", teacher__url=server.url, generate__texts_per_label=8, train__sizes=[2, 4]
        )
        write_yaml(tmp_path / "data/demo/task.yaml", TASK | {"facets": FACETS})
        write_workspace(tmp_path, {"dvc.yaml": render_workspace("dvc.yaml", recorded=False)})
        call(tmp_path, "git", "add", "--all")
        call(tmp_path, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message=first")
        for strategy in ("plain", "diverse"):
            change = f"generate.strategy={strategy}"
            call(tmp_path, "dvc", "exp", "run", "--quiet", "-n", strategy, "-S", change, "measure", "evaluate")
        prompts = [chat["messages"][0]["content"] for chat in server.chats()]
    assert any("topic: the dentist" in prompt for prompt in prompts)

    diff = json.loads(call(tmp_path, "dvc", "exp", "diff", "--json", "plain", "diverse"))
    assert diff["params"]["params.yaml"]["generate.strategy"] == {"old": "plain", "new": "diverse"}
    diversity = diff["metrics"][f"{CELL}/measured/metrics.json"]
    assert any("synthetic" in name and change.get("diff") for name, change in diversity.items())

    drawn = json.loads(call(tmp_path, "dvc", "plots", "diff", "--json", "plain", "diverse"))
    ((plot,),) = drawn["data"].values()
    lines = {(row["rev"], row["source"]) for row in plot["content"]["data"]["values"]}
    assert lines == {(strategy, source) for strategy in ("plain", "diverse") for source in ("synthetic", "human")}
    encoding = plot["content"]["encoding"]
    assert (encoding["color"]["field"], encoding["strokeDash"]["field"]) == ("rev", "source")
    assert (encoding["x"]["field"], encoding["y"]["field"]) == ("size", "accuracy")


@pytest.mark.slow
def test_variants_of_the_settings_stand_side_by_side_and_nothing_else_changes(tmp_path: Path) -> None:
    build_workspace(tmp_path, train__sizes=[4], filter__too_short={"min_chars": 40})
    write_workspace(tmp_path, {"dvc.yaml": render_workspace("dvc.yaml", recorded=True)})
    call(tmp_path, "git", "add", "--all")
    call(tmp_path, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message=first")
    call(tmp_path, "dvc", "repro", "--quiet", "evaluate")
    before = {name: (tmp_path / name).read_bytes() for name in ("params.yaml", "dvc.lock")}
    evaluated = (tmp_path / CELL / "evaluated/evaluation.json").read_bytes()

    said = call(tmp_path, "polydistill", "ablate", "length", "--vary", "filter.too_short.min_chars=5,40")
    assert "min_chars 40" in said
    folder = tmp_path / "work/ablations/length"
    lines = {line["variant"]: line for line in read_json(folder / "ablation.json")["lines"]}
    assert set(lines) == {"min_chars 5", "min_chars 40"}
    assert (folder / "figure.svg").exists()
    finals = [
        read_json(path)["students"]["linear"]["final"]["size"]
        for path in sorted(folder.with_name("length-variants").rglob("evaluation.json"))
    ]
    assert sorted(finals)[0] < sorted(finals)[1] == 8  # fewer of the eight texts are so long

    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert (tmp_path / CELL / "evaluated/evaluation.json").read_bytes() == evaluated
    assert "length-min-chars-5" in call(tmp_path, "dvc", "exp", "list", "--name-only")


@pytest.mark.slow
def test_variants_of_what_a_teacher_is_asked_pay_for_their_texts_and_for_no_others(tmp_path: Path) -> None:
    with chat_server() as server:
        build_workspace(
            tmp_path, teacher__kind="openai", teacher__url=server.url, generate__texts_per_label=4, train__sizes=[4]
        )
        write_workspace(tmp_path, {"dvc.yaml": render_workspace("dvc.yaml", recorded=False)})
        call(tmp_path, "git", "add", "--all")
        call(tmp_path, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message=first")
        call(tmp_path, "dvc", "repro", "--quiet", "evaluate")
        ablate = ["polydistill", "ablate", "mine", "--vary", "prepare.seeds_per_label=2,0"]
        call(tmp_path, *ablate)
        asked = server.count()
        call(tmp_path, *ablate)
        assert server.count() == asked  # all that was paid for stands in the journals
        journals = sorted(path.name for path in (tmp_path / CELL / "generated/journal").glob("*.jsonl"))
        assert len(journals) == 2 and "plain.jsonl" in journals
        call(tmp_path, "dvc", "repro", "--quiet", "evaluate")
        assert server.count() == asked
    lines = read_json(tmp_path / "work/ablations/mine/ablation.json")["lines"]
    assert {line["variant"] for line in lines} == {"seeds_per_label 2", "seeds_per_label 0"}


def call(workspace: Path, *command: str) -> str:
    environment: dict[str, Any] = {**os.environ, "DVC_NO_ANALYTICS": "true"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout
