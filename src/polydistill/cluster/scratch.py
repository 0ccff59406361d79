"""Where replies and trainings stand that outlive a pod: on a volume that several pods share, where there is one."""

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polydistill.files import explained

log = logging.getLogger(__name__)

VARIABLE = "POLYDISTILL_SCRATCH"
_OF_REPLIES = ("kind", "url", "model", "revision", "max_tokens")
"""The keys of section `teacher` that a reply depends on; the others say how fast it comes."""


def scratch_folder(step: str, cell: str, *inputs: Any) -> Path | None:
    """Return the folder of a step for these inputs (JSON values), the same for each try; None where there is no volume.

    Runs with the same inputs share it, so that what one has paid for the other need not pay for again.
    """
    volume = os.environ.get(VARIABLE)
    if not volume:
        return None
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    return Path(volume, step, *cell.split("/"), key)


@contextmanager
def kept_journal(output: Path, step: str, cell: str, teacher: Mapping[str, Any], *inputs: Any) -> Iterator[None]:
    """Have the journal of a step stand on the volume while the step writes `output`, and in `output` afterwards.

    A pod that asks for the same replies at the same time waits until this one has them.

    Args:
        output: Folder that the step writes, with a folder `journal`.
        step: Name of the step.
        cell: The cell, task/language.
        teacher: Section `teacher` of params.yaml as a struct.
        inputs: What else the replies depend on, as JSON values.
    """
    scratch = scratch_folder(step, cell, [teacher.get(key) for key in _OF_REPLIES], *inputs)
    if scratch is None:
        yield
        return
    with _alone(scratch):
        journal = output / "journal"
        output.mkdir(parents=True, exist_ok=True)
        if journal.is_symlink():  # left by a pod that was ended
            journal.unlink()
        journal.symlink_to(scratch / "journal", target_is_directory=True)
        try:
            yield
        finally:
            journal.unlink()
            shutil.copytree(scratch / "journal", journal)


@contextmanager
def _alone(scratch: Path) -> Iterator[None]:
    """Let one process at a time into the block."""
    with explained(scratch, "write"):
        (scratch / "journal").mkdir(parents=True, exist_ok=True)
        busy = (scratch / "busy").open("ab")
    with busy as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("%s is in use by a pod with the same inputs; waiting for it", scratch)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
