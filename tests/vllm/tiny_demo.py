"""The demo, made small enough for a tiny model on a CPU."""

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polydistill.files import read_yaml, write_json

REPOSITORY = Path(__file__).parents[2]

# Small enough for a CPU, nothing of it leaves the machine, and nothing is looked for elsewhere. Threads that wait in a
# loop for each other stand in the way of other programs, and those in theirs.
ENVIRONMENT = {
    **os.environ,
    "OMP_WAIT_POLICY": "passive",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "true",
    "HF_HUB_OFFLINE": "1",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}

# One cell of the demo, as small as it can be and still have all its steps; the tiny model knows no other.
SETTINGS: dict[str, Any] = {
    "cells": ["clinic/sl"],
    "teacher": {"concurrency": 16, "timeout_s": 120, "max_tokens": 700},
    "generate": {"texts_per_label": 20, "texts_per_request": 5, "top_up": 1.0},
    "measure": {"max_texts": 40},
    "train": {"sizes": [10, 20], "runs": 3},
}


@dataclass(frozen=True)
class Server:
    """A vLLM server that runs."""

    url: str

    def metric(self, name: str) -> float:
        """Return the sum of a counter over its labels."""
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/metrics", timeout=10) as answer:
            text = answer.read().decode()
        values = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        assert values, f"no metric {name}"
        return sum(map(float, values))


def write_params(workspace: Path, **teacher: Any) -> None:
    """Write the demo's params.yaml with small sizes and this teacher."""
    params = read_yaml(REPOSITORY / "params.yaml")
    for section, values in SETTINGS.items():
        params[section] = {**params[section], **values} if isinstance(values, Mapping) else values
    params["teacher"] |= teacher
    write_json(workspace / "params.yaml", params)  # JSON is YAML


def run(command: list[str], folder: Path) -> str:
    """Run a command that has to succeed."""
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def wait_for_lines(journal: Path, lines: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the process has written so many lines."""
    deadline = time.monotonic() + 300
    while not journal.exists() or journal.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < deadline, "no replies"
        time.sleep(0.02)
