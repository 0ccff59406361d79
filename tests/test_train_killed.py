"""Trainings that are killed, and gone on with."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from commands import INTERRUPTED, run, start, wait_for
from polydistill.files import digest
from spaces import build_workspace

pytestmark = pytest.mark.slow

CELL = "work/demo/sl"
RUNS = 40


def build(root: Path) -> Path:
    """Build a workspace in which all steps before `train` have run."""
    build_workspace(root, train__runs=RUNS, train__jobs=2)
    for step in ("prepare", "generate", "filter"):
        code, said = run(root, step)
        assert code == 0, said
    return root


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of what a training leaves that nothing disturbs."""
    workspace = build(tmp_path_factory.mktemp("whole"))
    code, said = run(workspace, "train")
    assert code == 0, said
    return digest(workspace / CELL / "trained/linear")


def ended(workspace: Path) -> int:
    journal = workspace / CELL / "finished/linear/runs.jsonl"
    return journal.read_bytes().count(b'"key"') if journal.exists() else 0


def children_of(process: subprocess.Popen[str]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    try:
        # A zombie has ended; only its parent has not heard of it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("after", [1, 30, 100])
def test_what_has_ended_is_not_trained_again_after_a_kill(tmp_path: Path, whole: str, after: int) -> None:
    workspace = build(tmp_path)
    process = start(workspace, "train")
    wait_for(lambda: ended(workspace) >= after, process)
    children = children_of(process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (workspace / CELL / "trained/linear").exists()
    kept = ended(workspace)
    assert kept >= after
    deadline = time.monotonic() + 30
    while not all(gone(child) for child in children):  # they see for themselves that they are alone
        assert time.monotonic() < deadline
        time.sleep(0.05)
    code, said = run(workspace, "train")
    assert code == 0, said
    assert f"{kept} of {4 * RUNS + 1} runs have ended before, and are not trained again" in said.replace("\n", " ")
    assert digest(workspace / CELL / "trained/linear") == whole


def test_ctrl_c_ends_all_processes_and_loses_nothing(tmp_path: Path, whole: str) -> None:
    workspace = build(tmp_path)
    process = start(workspace, "train")
    wait_for(lambda: ended(workspace) >= 10, process)
    children = children_of(process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()[-1]) == (130, INTERRUPTED)
    assert "Traceback" not in said
    assert all(gone(child) for child in children)
    code, said = run(workspace, "train")
    assert code == 0, said
    assert digest(workspace / CELL / "trained/linear") == whole


SHORT = """
from polydistill.train.side_by_side import side_by_side
for number, _ in enumerate(side_by_side(abs, range(2000), 2, forks=True)):
    if number == 20:
        print("under way", flush=True)
"""


@pytest.mark.parametrize("after_ms", range(0, 100, 20))
def test_ctrl_c_ends_many_short_trainings_at_once(tmp_path: Path, after_ms: int) -> None:
    process = start(tmp_path, code=SHORT)
    assert process.stdout and process.stdout.readline() == "under way\n"
    time.sleep(after_ms / 1000)  # any moment will do
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert said.splitlines()[-1] == "KeyboardInterrupt"


def test_a_process_that_is_killed_is_told_and_the_run_can_go_on(tmp_path: Path, whole: str) -> None:
    workspace = build(tmp_path)
    process = start(workspace, "train")
    wait_for(lambda: ended(workspace) >= 10, process)
    children = children_of(process)
    os.kill(children[0], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "a training was killed, perhaps for want of memory; lower params.yaml:train.jobs" in said
    code, said = run(workspace, "train")
    assert code == 0, said
    assert digest(workspace / CELL / "trained/linear") == whole
