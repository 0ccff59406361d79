"""Waits until a process is gone, then kills what is left of its children: an engine that would hold its GPUs for ever.

    python leftovers.py PID [PID OF A CHILD TO LEAVE ALONE ...]

A program of its own, since a process that is killed at once cannot clean up.
"""

import os
import sys
import time

import psutil

_EVERY_S = 0.5


def kill_leftovers(parent: psutil.Process, spared: set[int]) -> None:
    """Note the children of the process as long as it runs, then kill those that are still there.

    Args:
        parent: The process to wait for.
        spared: Its children, by process id, that are left alone with all that they started; so is this process.
    """
    spared = {*spared, os.getpid()}
    children: dict[int, psutil.Process] = {}
    try:
        while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
            for child in parent.children():
                if child.pid not in spared:
                    children |= {of.pid: of for of in (child, *child.children(recursive=True))}
            time.sleep(_EVERY_S)
    except psutil.Error:
        pass
    for child in children.values():
        try:
            child.kill()  # psutil makes sure that the number has not gone to another process
        except psutil.Error:
            pass


if __name__ == "__main__":
    of, *others = map(int, sys.argv[1:])
    kill_leftovers(psutil.Process(of), set(others))
