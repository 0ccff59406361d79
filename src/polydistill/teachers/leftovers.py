"""Waits until a process is gone, then kills what is left of its children: an engine that would hold its GPUs for ever.

    python leftovers.py PID

A program of its own, since a process that is killed at once cannot clean up. Needs psutil, which comes with vLLM.
"""

import os
import sys
import time

import psutil

_EVERY_S = 0.5


def kill_leftovers(parent: psutil.Process) -> None:
    """Note the children of the process as long as it runs, then kill those that are still there."""
    children: dict[int, psutil.Process] = {}
    try:
        while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
            children |= {child.pid: child for child in parent.children(recursive=True) if child.pid != os.getpid()}
            time.sleep(_EVERY_S)
    except psutil.NoSuchProcess:
        pass
    for child in children.values():
        try:
            child.kill()  # psutil makes sure that the number has not gone to another process
        except psutil.NoSuchProcess:
            pass


if __name__ == "__main__":
    kill_leftovers(psutil.Process(int(sys.argv[1])))
