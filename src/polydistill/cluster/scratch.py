"""Where a step works whose pod may be ended: on a volume that outlives it, where there is one."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VARIABLE = "POLYDISTILL_SCRATCH"


def scratch_folder(step: str, cell: str, *inputs: Any) -> Path | None:
    """Return the folder of a step for these inputs (JSON values), the same for each try; None where there is no volume.

    Two runs with the same inputs share it, so that what one has paid for the other need not pay for again.
    """
    volume = os.environ.get(VARIABLE)
    if not volume:
        return None
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    return Path(volume, step, *cell.split("/"), key)


@contextmanager
def outliving(output: Path, scratch: Path | None) -> Iterator[Path]:
    """Yield the folder to work in: that of the volume, which is copied to `output` in the end, or `output` itself."""
    if scratch is None:
        yield output
        return
    scratch.mkdir(parents=True, exist_ok=True)
    yield scratch
    shutil.copytree(scratch, output, dirs_exist_ok=True)
