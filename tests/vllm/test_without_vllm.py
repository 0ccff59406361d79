"""The engine in the process where vLLM is not installed."""

import importlib.util
import subprocess
from pathlib import Path

import pytest
from tiny_demo import ENVIRONMENT, run, write_params

pytestmark = pytest.mark.skipif(importlib.util.find_spec("vllm.engine") is not None, reason="vLLM is installed")


def test_the_extra_is_named(workspace: Path) -> None:
    write_params(workspace, kind="vllm", model="some/model")
    run(["polydistill", "prepare"], workspace)
    command = ["polydistill", "generate"]
    done = subprocess.run(command, cwd=workspace, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'polydistill[vllm]'" in done.stderr
    assert "Traceback" not in done.stderr
