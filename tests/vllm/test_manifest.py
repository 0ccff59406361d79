"""The teacher of the manifests, as its pod starts it: vLLM takes its arguments, and has the figures of its alerts."""

import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import promql_parser
import pytest
from kustomized import built, of_kind, one
from tiny_demo import ENVIRONMENT, Server

pytestmark = pytest.mark.vllm

START_S = 300
# What a CPU and a tiny model need besides; see conftest.py.
ON_CPU = ["--enforce-eager", "--block-size=32", "--no-enable-chunked-prefill"]


@pytest.fixture(scope="module")
def teacher(vllm_python: Path, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of the teacher's pod, with the tiny model in place of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    objects = built("gpu")
    (container,) = one(objects, "Deployment", "teacher")["spec"]["template"]["spec"]["containers"]
    config = next(c for c in of_kind(objects, "ConfigMap") if c["metadata"]["name"].startswith("teacher-model-"))
    values = config["data"] | {"MODEL": str(tiny_llama), "MAX_MODEL_LEN": "1024"}
    arguments = [re.sub(r"\$\((\w+)\)", lambda name: values[name[1]], given) for given in container["args"]]
    given = [f"--port={port}" if argument == "--port=8000" else argument for argument in arguments]
    assert given != arguments
    folder = tmp_path_factory.mktemp("teacher")
    with (folder / "server.log").open("wb") as log:
        command = [str(vllm_python), *container["command"][1:], *given, *ON_CPU]
        process = subprocess.Popen(
            command, cwd=folder, env=ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_S
        path = container["startupProbe"]["httpGet"]["path"]
        while not answers(f"http://127.0.0.1:{port}{path}"):
            told = (folder / "server.log").read_text(errors="replace")[-3000:]
            assert process.poll() is None, told
            assert time.monotonic() < deadline, told
            time.sleep(0.5)
        yield Server(f"http://127.0.0.1:{port}/v1")
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the engine is a child of the server
        process.wait()


def answers(url: str) -> bool:
    """Say whether there is a server that finds itself well."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def test_it_serves_the_model_under_its_name(teacher: Server, tiny_llama: Path) -> None:
    with urllib.request.urlopen(f"{teacher.url}/models", timeout=30) as response:
        assert f'"id":"{tiny_llama}"' in response.read().decode()


def test_the_alerts_ask_for_figures_that_it_has(teacher: Server) -> None:
    names: set[str] = set()

    def note(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            names.add(str(node.name))

    (rules,) = of_kind(built("production"), "PrometheusRule")
    for group in rules["spec"]["groups"]:
        for rule in group["rules"]:
            promql_parser.walk(promql_parser.parse(rule["expr"]), pre_visit=note)
    of_vllm = {name for name in names if name.startswith("vllm:")}
    assert len(of_vllm) == 3
    for name in of_vllm:
        assert teacher.metric(name) >= 0
