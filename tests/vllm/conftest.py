"""A real vLLM with a tiny Llama of our own; it lives in an environment of its own, since it wants other versions."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_demo import ENVIRONMENT, REPOSITORY, Server, run

PYTHON = Path(os.environ.get("POLYDISTILL_VLLM_PYTHON", REPOSITORY / ".venv-vllm/bin/python"))
START_S = 300


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    """The interpreter of the environment that has vLLM."""
    if not PYTHON.exists():
        pytest.skip(f"no vLLM at {PYTHON}; `make test-vllm` installs it, POLYDISTILL_VLLM_PYTHON names another")
    return PYTHON


@pytest.fixture(scope="session")
def tiny_llama(vllm_python: Path) -> Path:
    """The folder of the tiny model, which is trained where its script, the prompts or the texts have changed."""
    script = Path(__file__).with_name("tiny_llama.py")
    made_of = [
        script,
        *sorted((REPOSITORY / "src/polydistill/prompts").glob("*.j2")),
        *sorted(path for path in (REPOSITORY / "data/clinic").rglob("*") if path.is_file()),
    ]
    key = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in made_of)).hexdigest()[:16]
    folder = vllm_python.parents[1] / "tiny-llama" / key
    if not (folder / "config.json").exists():
        shutil.rmtree(folder.parent, ignore_errors=True)
        partial = folder.with_name(f"{key}.partial")
        run([str(vllm_python), str(script), str(partial)], REPOSITORY)
        partial.rename(folder)
    return folder


@pytest.fixture(scope="session")
def vllm_server(vllm_python: Path, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the tiny model, for all tests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(vllm_python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(tiny_llama)]
    command += ["--served-model-name", "tiny", "--max-model-len", "2048", "--enforce-eager"]
    # The tiny model's vocabulary makes what prompts share short, and it counts by whole blocks.
    command += ["--block-size", "32"]
    # On a CPU vLLM dies over a request with a seed whose prompt it takes in pieces.
    command += ["--no-enable-chunked-prefill", "--host", "127.0.0.1", "--port", str(port)]
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=log.parent, env=ENVIRONMENT, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}/health", process, log)
        yield Server(f"http://127.0.0.1:{port}/v1")
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the engine is a child of the server
        process.wait()


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:  # not there yet
            time.sleep(0.5)
    pytest.fail(f"vLLM did not start within {START_S} s:\n{log.read_text(errors='replace')[-4000:]}")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """The demo's workspace, of which params.yaml is still missing; see `write_params`."""
    shutil.copytree(REPOSITORY / "data/clinic", tmp_path / "data/clinic")
    shutil.copy(REPOSITORY / "dvc.yaml", tmp_path)
    return tmp_path
