"""The program that kills what a killed process leaves behind, without vLLM."""

import subprocess
import sys
import time
from pathlib import Path

import psutil

from polydistill import teachers

PROGRAM = Path(teachers.__file__).with_name("leftovers.py")
# A process with two children: one that it had before the program began, and one of after.
HOST = f"""
import subprocess, sys
child = [sys.executable, "-c", "import time; time.sleep(60)"]
before = subprocess.Popen(child)
watcher = subprocess.Popen([sys.executable, "-I", {str(PROGRAM)!r}, sys.argv[1], str(before.pid)])
after = subprocess.Popen(child)
print(before.pid, after.pid, watcher.pid, flush=True)
sys.stdin.read()
"""


def test_only_what_came_after_is_killed_when_a_process_is_killed() -> None:
    # The host tells its own number to the program, so it is started by a shell that takes its place.
    command = ["sh", "-c", f'exec "{sys.executable}" -c "$0" $$', HOST]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        before, after, watcher = (psutil.Process(int(pid)) for pid in host.stdout.readline().split())
        try:
            wait_until_seen(watcher)
            host.kill()
            host.wait()
            psutil.wait_procs([after, watcher], timeout=30)
            assert (before.is_running(), alive(after), alive(watcher)) == (True, False, False)
        finally:
            before.kill()


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def wait_until_seen(watcher: psutil.Process) -> None:
    """Wait until the program has gone round a few times: it takes processor time only then."""
    deadline = time.monotonic() + 30
    switches = watcher.num_ctx_switches().voluntary
    while watcher.num_ctx_switches().voluntary < switches + 4 and time.monotonic() < deadline:
        time.sleep(0.05)
