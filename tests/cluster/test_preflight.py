"""What is found out before a run is started."""

import logging
import subprocess
from pathlib import Path
from typing import Any

import pytest

from polydistill.cluster.preflight import check_run
from polydistill.errors import ParamsError
from polydistill.params import Params, check
from polydistill.workspace import Workspace
from spaces import build_workspace, settings

ON_DEMAND = {
    "namespace": "polydistill",
    "deployment": "teacher",
    "replicas": 1,
    "ready_within_s": 600,
    "hold_within_s": 3600,
}
SERVED = {"teacher__kind": "openai", "teacher__url": "http://teacher.polydistill:8000/v1"}


@pytest.fixture
def space(tmp_path: Path) -> Path:
    return commit(build_workspace(tmp_path / "ws"))


def commit(root: Path) -> Path:
    identity = ["-c", "user.name=Jana", "-c", "user.email=jana@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "init", "--quiet", "--initial-branch", "main"], cwd=root, check=True)
    subprocess.run(["git", "add", "."], cwd=root, check=True)
    subprocess.run(["git", *identity, "commit", "--quiet", "--message", "data"], cwd=root, check=True)
    return root


def check_with(root: Path, **changes: Any) -> None:
    content = settings(**{"cluster__repository": str(root), **changes})
    space = Workspace(root, check(Params, content, "test"))
    check_run(space.params, space.cells())


def refused(root: Path, **changes: Any) -> str:
    with pytest.raises(ParamsError) as failure:
        check_with(root, **changes)
    return str(failure.value)


def test_a_workspace_that_fits_passes(space: Path) -> None:
    check_with(space)
    check_with(space, **SERVED, cluster__teacher=ON_DEMAND)
    check_with(space, train__students=["linear", "encoder", "lora"], teacher__kind="vllm", teacher__model="a/b")


def test_a_cell_that_is_not_committed_is_named(space: Path) -> None:
    (space / "data/demo/az").mkdir()
    (space / "data/demo/az/seeds.csv").write_text("text,label\n")
    told = refused(space, cells=["demo/sl", "demo/az"])
    assert told.startswith(f"cell demo/az has no data in {space} at main: commit and push it; there are demo/sl")


def test_a_cell_that_is_only_at_the_revision_passes(space: Path) -> None:
    for file in (space / "data/demo/sl").iterdir():
        file.unlink()
    (space / "data/demo/sl").rmdir()
    check_with(space)


@pytest.mark.parametrize("pointer", ["data.dvc", "data/demo.dvc", "data/demo/sl.dvc"])
def test_what_dvc_keeps_counts_as_there(tmp_path: Path, pointer: str) -> None:
    root = build_workspace(tmp_path / "ws")
    folder = root / pointer.removesuffix(".dvc")
    folder.rename(tmp_path / "moved")
    (root / pointer).parent.mkdir(exist_ok=True)
    (root / pointer).write_text("outs: []\n")
    check_with(commit(root))


def test_a_repository_out_of_reach_is_a_warning_and_data_here_are_looked_at(
    space: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        content = settings(cluster__repository=str(space / "nosuch.git"))
        workspace = Workspace(space, check(Params, content, "test"))
        check_run(workspace.params, workspace.cells())
    assert "only data/ here was looked at" in caplog.text
    content["cells"] = ["demo/az"]
    with pytest.raises(ParamsError, match="cell demo/az has no data in .*data; there are demo/sl"):
        check_run(check(Params, content, "test"), Workspace(space, check(Params, content, "test")).cells())


def test_a_password_in_the_address_is_refused_and_not_shown(space: Path) -> None:
    told = refused(space, cluster__repository="https://jana:very-secret@git.example.org/texts.git")
    assert "leave it out" in told and "very-secret" not in told


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"train__students": ["lora"], "cluster__size": "cpu"}, "train.students has lora", id="LoRA without GPU"
        ),
        pytest.param(
            {"teacher__kind": "vllm", "teacher__model": "a/b", "cluster__size": "cpu"},
            "teacher.kind: vllm runs the LLM in the pod of `generate`, and cluster.size: cpu gives it no GPU",
            id="vLLM without GPU",
        ),
        pytest.param(
            {"cluster__teacher": ON_DEMAND}, "which teacher.kind: recorded never asks", id="recorded teacher scaled up"
        ),
        pytest.param({**SERVED, "teacher__url": "http://127.0.0.1:8000/v1"}, "is this machine", id="teacher here"),
        pytest.param(
            {**SERVED, "cluster__teacher": {**ON_DEMAND, "namespace": "other"}},
            "is a Service in namespace polydistill, and cluster.teacher scales up teacher in namespace other",
            id="other namespace",
        ),
        pytest.param(
            {**SERVED, "teacher__url": "http://teacher:8000/v1", "cluster__teacher": ON_DEMAND},
            "is a Service in namespace kubeflow",
            id="no namespace",
        ),
    ],
)
def test_what_cannot_go_well_is_refused(space: Path, changes: dict[str, Any], message: str) -> None:
    assert message in refused(space, **changes)


def test_a_teacher_outside_of_the_cluster_is_nobodys_namespace(space: Path) -> None:
    check_with(space, **{**SERVED, "teacher__url": "https://llm.example.org/v1"}, cluster__teacher=ON_DEMAND)


def test_students_on_a_gpu_beside_a_teacher_on_demand_need_one_more(
    space: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        check_with(space, **SERVED, cluster__teacher=ON_DEMAND)
        assert caplog.text == ""
        check_with(space, **SERVED, cluster__teacher=ON_DEMAND, train__students=["encoder", "lora"])
    assert "encoder and lora train on one more" in caplog.text


def test_all_reasons_are_told_at_once(space: Path) -> None:
    told = refused(space, train__students=["encoder"], cluster__size="cpu", cluster__teacher=ON_DEMAND)
    assert len(told.splitlines()) == 2
