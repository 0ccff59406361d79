"""The engine in the process, driven as `polydistill generate` drives it."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
from tiny_demo import ENVIRONMENT, run, wait_for_lines, write_params

from polydistill.files import read_json

pytestmark = pytest.mark.vllm

GENERATED = "work/clinic/sl/generated"
VLLM = {"tensor_parallel_size": 1, "quantization": None, "max_model_len": 2048, "gpu_memory_utilization": 0.2}


def test_it_goes_on_after_a_kill_and_after_ctrl_c(workspace: Path, vllm_python: Path, tiny_llama: Path) -> None:
    generate = [str(vllm_python.with_name("polydistill")), "generate"]
    write_params(workspace, kind="vllm", model=str(tiny_llama), vllm=VLLM, concurrency=1)
    run(["polydistill", "prepare"], workspace)
    journal = workspace / GENERATED / "journal/plain.jsonl"
    kept = b""
    for stop, lines in ((_kill, 6), (_ctrl_c, 12)):
        with subprocess.Popen(generate, cwd=workspace, env=ENVIRONMENT, start_new_session=True) as process:
            wait_for_lines(journal, lines, process)
            engine = psutil.Process(process.pid).children(recursive=True)
            stop(process)
            assert process.wait(60) != 0
        _, alive = psutil.wait_procs(engine, timeout=30)
        assert not alive
        assert journal.read_bytes().startswith(kept)
        kept = journal.read_bytes().rpartition(b"\n")[0]

    run(generate, workspace)
    assert journal.read_bytes().startswith(kept)
    usage = read_json(workspace / GENERATED / "usage.json")
    assert usage["teacher"]["kind"] == "vllm"
    assert usage["teacher"]["structured"] is True
    assert usage["texts"]["usable"] > usage["texts"]["wanted"] / 2
    assert usage["purposes"]["generate"]["completion_tokens"] > 0
    assert (workspace / GENERATED / "samples.parquet").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param({"model": "no/such-folder"}, "no/such-folder", id="no such model"),
        pytest.param({"vllm": VLLM | {"max_model_len": 1_000_000}}, "max_model_len", id="longer than the model"),
    ],
)
def test_a_model_that_cannot_be_run_is_said_on_one_line(
    workspace: Path, vllm_python: Path, tiny_llama: Path, settings: dict[str, Any], said: str
) -> None:
    write_params(workspace, **({"kind": "vllm", "model": str(tiny_llama), "vllm": VLLM} | settings))
    run(["polydistill", "prepare"], workspace)
    command = [str(vllm_python.with_name("polydistill")), "generate"]
    done = subprocess.run(command, cwd=workspace, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "vLLM cannot run the model" in error
    assert said in error


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()


def _ctrl_c(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all processes in it
