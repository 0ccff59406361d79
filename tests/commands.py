"""Runs the command `polydistill` as a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

INTERRUPTED = "error: interrupted; run the same again to go on from there"
MAIN = "from polydistill.cli import main; main()"
# Root may read and write anything; without these two capabilities it may do what a user may.
AS_USER = f"""
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
    if ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
        sys.exit(77)
os.execv(sys.executable, [sys.executable, "-c", {MAIN!r}, *sys.argv[1:]])
"""


def start(workspace: Path, *arguments: str, code: str = MAIN) -> subprocess.Popen[str]:
    """Start `polydistill` with these arguments in the workspace."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, cwd=workspace, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(workspace: Path, *arguments: str, code: str = MAIN) -> tuple[int, str]:
    """Return the exit code and what stands on stderr."""
    process = start(workspace, *arguments, code=code)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def as_user(workspace: Path, *arguments: str) -> tuple[int, str]:
    """Run without the rights that only root has."""
    if os.geteuid() != 0:
        return run(workspace, *arguments)
    code, said = run(workspace, *arguments, code=AS_USER)
    if code == 77:
        pytest.skip("root cannot give up its right to read and write everything here")
    return code, said


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"it did not come to that: {process.communicate()}")
        time.sleep(0.005)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
