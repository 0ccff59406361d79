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
from typing import Any, get_args

from polydistill import __version__
from polydistill.files import explained
from polydistill.params import StudentKind
from polydistill.prompts import Purpose, prompt_hash

log = logging.getLogger(__name__)

VARIABLE = "POLYDISTILL_SCRATCH"
_OF_REPLIES = ("kind", "url", "model", "revision", "max_tokens")
"""The keys of section `teacher` that a reply depends on; the others say how fast it comes."""
_OF_NO_TRAINING = {"students", "jobs", "sizes", "runs", "sources", *get_args(StudentKind)}
"""The keys of section `train` that no single training depends on, but for the one that is named after its student."""


def scratch_folder(step: str, cell: str, teacher: Mapping[str, Any], *inputs: Any) -> Path | None:
    """Return the folder of a step for these inputs, the same for each try; None where there is no volume.

    Runs with the same inputs share it, so that what one has paid for the other need not pay for again. Another version,
    or another prompt, has a folder of its own: it could not go on with the replies of the one before, and leaves them.

    Args:
        step: Name of the step.
        cell: The cell, task/language.
        teacher: Section `teacher` of params.yaml as a struct.
        inputs: What else the result depends on, as JSON values.
    """
    volume = os.environ.get(VARIABLE)
    if not volume:
        return None
    code = [__version__, *(prompt_hash(purpose) for purpose in get_args(Purpose))]
    told = [code, [teacher.get(key) for key in _OF_REPLIES], inputs]
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
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
    scratch = scratch_folder(step, cell, teacher, *inputs)
    if scratch is None:
        yield
        return
    with _alone(scratch, "journal"):
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
def kept_trainings(
    output: Path, cell: str, student: str, params: Mapping[str, Any], teacher: Mapping[str, Any], *inputs: Any
) -> Iterator[Path]:
    """Yield the folder that keeps what has been trained: on the volume, or beside `output` where there is none.

    A pod that trains the same student on the same texts at the same time waits until this one has ended. One with other
    settings has a folder of its own: they do not wait for each other, and neither deletes what the other has trained.

    Args:
        output: Folder that the step writes.
        cell: The cell, task/language.
        student: Kind of student.
        params: Section `train` of params.yaml as a struct.
        teacher: Section `teacher` of params.yaml as a struct.
        inputs: What else the trainings depend on, as JSON values.
    """
    own = {key: value for key, value in params.items() if key == student or key not in _OF_NO_TRAINING}
    scratch = scratch_folder("train", cell, teacher, student, own, *inputs)
    if scratch is None:
        yield Path(f"{output}-finished")
        return
    with _alone(scratch, "finished"):
        yield scratch / "finished"


@contextmanager
def _alone(scratch: Path, kept: str) -> Iterator[None]:
    """Let one process at a time into the block; the folder `kept` is there then."""
    with explained(scratch, "write"):
        (scratch / kept).mkdir(parents=True, exist_ok=True)
        busy = (scratch / "busy").open("ab")
    with busy as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("%s is in use by a pod with the same inputs; waiting for it", scratch)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
